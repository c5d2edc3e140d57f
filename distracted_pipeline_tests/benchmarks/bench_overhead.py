"""What Dagster adds: to the steps of the demo, and to a single partition by executor.

    python -m distracted_pipeline_tests.benchmarks.bench_overhead
    python -m distracted_pipeline_tests.benchmarks.bench_overhead steps      # the demo's steps alone
    python -m distracted_pipeline_tests.benchmarks.bench_overhead ray        # starts two nodes on this machine

`steps` is the demo's whole graph with assets that do nothing but log and record, once with a run for each step and once
with the runs that two processes share out; it exits with 1 where the second costs more than half.

The others are one step that does nothing. A run starts from nothing, as `dagster asset materialize` does: a process,
and what its executor starts. `loop` is `distracted run` instead, further partitions in one process. CPU is that of all
these processes; on Ray the cluster's own count too, with what an idle cluster takes in the same time. Linux only.
"""

import ctypes
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    import dagster as dg

REPEATS = 3
IN_LOOP = 20
STEPS = "steps"
STEPS_BAR = 0.5
PR_SET_CHILD_SUBREAPER = 36
MODULE = "distracted_pipeline_tests.benchmarks.bench_overhead"

_ONE_STEP = """
import dagster as dg
from distracted_pipeline_tests.benchmarks.bench_overhead import trivial
with dg.DagsterInstance.get() as instance:
    assert dg.execute_job(dg.reconstructable(trivial), instance, raise_on_error=True).success
"""
_LOOP = f"""
import time, dagster as dg
from distracted_pipeline_tests.benchmarks.bench_overhead import trivial
with dg.DagsterInstance.get() as instance:
    job = trivial()
    job.execute_in_process(instance=instance)
    wall, cpu = time.monotonic(), time.process_time()
    for _ in range({IN_LOOP}):
        job.execute_in_process(instance=instance)
    print((time.monotonic() - wall) / {IN_LOOP}, (time.process_time() - cpu) / {IN_LOOP})
"""


def trivial() -> object:
    """Return a job of one step that does nothing, in a process that holds the project's definitions."""
    import dagster as dg

    import distracted_pipeline.definitions  # noqa: F401  (every step process pays for them)
    from distracted_pipeline.assets.compute import LIGHT
    from distracted_pipeline.operations.executors import executor_from_environment

    @dg.op(tags=LIGHT.op_tags())
    def nothing() -> None:
        pass

    @dg.job(executor_def=executor_from_environment())
    def one_step() -> None:
        nothing()

    return one_step


def hollow() -> "dg.Definitions":
    """Return the whole graph with assets that log two lines and record what the real ones record."""
    import dagster as dg

    from distracted_pipeline.assets import graph
    from distracted_pipeline.assets.step import Events, each_partition
    from distracted_pipeline.operations.console import plain_console

    def like(real: dg.AssetsDefinition) -> dg.AssetsDefinition:
        spec, checks = next(iter(real.specs)), list(real.check_specs)

        def result(log: Callable[[str], None], partition: str) -> dg.MaterializeResult:
            log(f"{partition}: begun")
            log(f"{partition}: done")
            found = [
                dg.AssetCheckResult(passed=True, check_name=one.name, description="as it should") for one in checks
            ]
            facts = {"path": dg.MetadataValue.path("data"), "images": 50, "picture": dg.MetadataValue.md("x" * 2_000)}
            return dg.MaterializeResult(metadata=facts, check_results=found, data_version=dg.DataVersion(partition))

        def many(context: dg.AssetExecutionContext) -> Events:
            yield from each_partition(context, lambda settings, partition: result(context.log.info, partition))

        def single(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
            return result(context.log.info, "all")

        make = dg.asset(
            key=spec.key,
            deps=list(spec.deps),
            partitions_def=real.partitions_def,
            check_specs=checks,
            code_version=spec.code_version,
            output_required=real.partitions_def is None,
        )
        return make(single if real.partitions_def is None else many)

    whole = graph.definitions()
    assets = [like(one) if isinstance(one, dg.AssetsDefinition) else one for one in whole.assets or ()]
    return dg.Definitions(assets=assets, loggers={"console": plain_console})  # type: ignore[list-item]


def run_steps(workers: int) -> tuple[int, float, float]:
    """Run the demo's steps in this process, shared out among `workers` (0: a run each): runs, wall and CPU seconds."""
    import dagster as dg

    from distracted_pipeline.operations import missing
    from distracted_pipeline.operations.run import shared_out
    from distracted_pipeline.operations.step_runner import StepRunner
    from distracted_pipeline.scopes import FOLDS
    from distracted_pipeline.settings import load_settings

    settings = load_settings()
    entries = missing.chosen_variants(settings, ())
    subjects = settings.subjects()
    together = "yes" if workers else ""
    drivers = [name for name in subjects if not name.startswith("test")]
    trained = ("trained_model", "predictions")
    stages = [
        [missing.Step(("images",), "images")],
        # With one process, `masks` makes them.
        [missing.Step(("subject_masks",), name, name, together) for name in subjects if workers],
        [missing.MASKS],
        [missing.Step(("features",), name, name, together) for name in drivers],
        [missing.Step(trained, name, f"{fold}|{name}", together and name) for name in entries for fold in FOLDS],
        [missing.Step(("class_accuracy",), "class_accuracy")],
        [
            *(missing.Step(("gradcam",), name, name, together) for name in entries),
            missing.Step(("champion",), "champion"),
        ],
        [missing.Step(("report",), "report")],
    ]
    with dg.DagsterInstance.get() as instance:
        runner = StepRunner(instance, {}, hollow())
        assert runner.run(missing.MASKS) is None  # creates the schema
        before = instance.get_runs_count()
        wall, cpu = time.monotonic(), time.process_time() + _children()
        for item in chain.from_iterable(shared_out(stage, max(workers, 1)) for stage in stages):
            assert all(reason is None for _, reason in runner.run_item(item))
        cpu = time.process_time() + _children() - cpu  # Dagster starts four processes to capture what a step prints
        return instance.get_runs_count() - before, time.monotonic() - wall, cpu


def compare_steps() -> bool:
    """Print what the demo's steps cost with a run each, and shared out; return whether that is under the bar."""
    from distracted_pipeline.demo.dataset import VARIANTS, VARIANTS_FILE
    from distracted_pipeline.demo.drivers import demo_drivers

    costs = []
    for workers in (0, 2):
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, VARIANTS_FILE).write_text(VARIANTS, encoding="utf-8")
            Path(folder, "subjects.txt").write_text("\n".join([*demo_drivers(18), "test-000"]) + "\n", encoding="utf-8")
            variables = {"DISTRACTED_DATA": folder, "DISTRACTED_VARIANTS": VARIANTS_FILE}
            env = {**os.environ, **variables, "DAGSTER_HOME": tempfile.mkdtemp(dir=folder)}
            code = f"from {MODULE} import run_steps; print(*run_steps({workers}))"
            said = subprocess.run([sys.executable, "-c", code], env=env, check=True, capture_output=True, text=True)
        runs, wall, cpu = said.stdout.splitlines()[-1].split()
        costs.append(float(cpu))
        how = "shared out to two" if workers else "a run each"
        print(f"demo, {how:18} {int(runs):4} runs {float(wall):8.1f} s {float(cpu):8.1f} CPU s", flush=True)
    ratio = costs[1] / costs[0]
    print(f"shared out / a run each: {ratio:.2f} in CPU seconds (bar {STEPS_BAR})", flush=True)
    return ratio < STEPS_BAR


def measure(name: str, environment: dict[str, str], cluster: list[int]) -> tuple[float, float]:
    """Return wall and CPU seconds of one run of one step with an executor, the least of three."""
    with tempfile.TemporaryDirectory() as home:
        if name == "loop":
            env = {**os.environ, "DISTRACTED_EXECUTOR": "in_process", "DAGSTER_HOME": home}
            said = subprocess.run([sys.executable, "-c", _LOOP], env=env, check=True, capture_output=True, text=True)
            wall, cpu = map(float, said.stdout.split())
            return wall, cpu
        env = {**os.environ, **environment, "DISTRACTED_EXECUTOR": name, "DAGSTER_HOME": home}
        results = []
        for _ in range(REPEATS + 1):  # the first one creates the schema
            before, start = _children() + _cpu(cluster), time.monotonic()
            subprocess.run([sys.executable, "-c", _ONE_STEP], env=env, check=True, capture_output=True)
            wall = time.monotonic() - start
            _reap()
            results.append((wall, _children() + _cpu(cluster) - before))
    return min(wall for wall, _ in results[1:]), min(cpu for _, cpu in results[1:])


def _reap() -> None:
    """Collect the processes that outlived the one that started them, as a fork server does, so that they count."""
    time.sleep(1)
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                return
        except ChildProcessError:
            return


def _children() -> float:
    times = os.times()
    return times.children_user + times.children_system


def _cpu(pids: list[int]) -> float:
    """Return the CPU seconds of processes, of those below them, and of those that ended below them."""
    total = 0.0
    for pid in pids:
        top = psutil.Process(pid)
        for process in [top, *top.children(recursive=True)]:
            try:
                total += sum(process.cpu_times()[:4])
            except psutil.NoSuchProcess:
                continue
    return total


@contextmanager
def _cluster(wanted: bool) -> Iterator[tuple[dict[str, str], list[int]]]:
    if not wanted:
        yield {}, []
        return
    from distracted_pipeline_tests.cluster.services import running_ray

    with tempfile.TemporaryDirectory(prefix="dp-") as folder, running_ray(Path(folder), {}) as ray:
        yield dict(ray.environment), list(ray.nodes.values())


def main(names: list[str]) -> None:
    """Print tables; exit with 1 where a bar is missed."""
    missed = STEPS in names and not compare_steps()
    names = [name for name in names if name != STEPS]
    if not names:
        sys.exit(missed)
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    print(f"{'executor':14} {'wall s':>8} {'CPU s':>8}   one run of one trivial step, least of {REPEATS}")
    for name in names:
        with _cluster(name == "ray") as (environment, pids):
            wall, cpu = measure(name, environment, pids)
        print(f"{name:14} {wall:8.2f} {cpu:8.2f}", flush=True)
    sys.exit(missed)


if __name__ == "__main__":
    main(sys.argv[1:] or [STEPS, "loop", "in_process", "multiprocess"])
