"""What Dagster adds to a partition: wall and CPU seconds of a step that does nothing, by executor.

    python -m distracted_pipeline_tests.benchmarks.bench_overhead
    python -m distracted_pipeline_tests.benchmarks.bench_overhead ray        # starts two nodes on this machine

A run starts from nothing, as `dagster asset materialize` does: a process, and what its executor starts. `loop` is
`distracted run` instead, further partitions in one process. CPU is that of all these processes; on Ray the
cluster's own count too, with what an idle cluster takes in the same time. Linux only.
"""

import ctypes
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

REPEATS = 3
IN_LOOP = 20
PR_SET_CHILD_SUBREAPER = 36

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
    """Print a table."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    print(f"{'executor':14} {'wall s':>8} {'CPU s':>8}   one run of one trivial step, least of {REPEATS}")
    for name in names:
        with _cluster(name == "ray") as (environment, pids):
            wall, cpu = measure(name, environment, pids)
        print(f"{name:14} {wall:8.2f} {cpu:8.2f}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:] or ["loop", "in_process", "multiprocess"])
