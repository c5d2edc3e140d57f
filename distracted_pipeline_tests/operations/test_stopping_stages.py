"""A signal in any stage of a run: its exit code, a canceled run, nothing tried again, in one process or several."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from distracted_pipeline.interrupts import let_go
from distracted_pipeline.operations import stopping
from distracted_pipeline.operations.instance import open_instance
from distracted_pipeline_tests.forked import run_twice, start
from distracted_pipeline_tests.toy import write_short_toy_root

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="signals another way")]

STAGES = {
    "features": ("features.taps:TapStore._compute", "features/*/subject=ann/*"),
    "predictions": ("evaluation.predict:_probabilities", "predictions/*/0.parquet"),
    "class_accuracy": ("evaluation.tables:_tables", "evaluation/*.parquet"),
    "gradcam": ("explanation.explain:_explain", "evaluation/gradcam/top_only/*"),
    "report": ("reports.build:write_site", "reports/latest/*.html"),
    "champion": ("serving.champion:_registered", "evaluation/champion.json"),
}
"""Where each stage is struck, and what has to be missing for it to run."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root in which nothing is missing."""
    data = write_short_toy_root(tmp_path_factory.mktemp("stopping") / "data", replicates=1)
    _, failed, _ = run_twice({"DISTRACTED_DATA": str(data)})
    assert failed == {}
    return data


@pytest.fixture
def lacking(finished: Path, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """The data root without what a stage makes, which is put back afterwards."""
    _, pattern = STAGES[request.param]
    taken = [(path, path.read_bytes()) for path in finished.glob(pattern) if path.is_file()]
    assert taken
    for path, _ in taken:
        path.unlink()
    yield finished
    for path, content in taken:
        path.write_bytes(content)


def struck(environment: dict[str, str], stage: str, number: signal.Signals, delay: float = 0.0) -> None:
    """Type `distracted run`; once the stage is at work, the signal comes."""
    os.environ.update(environment)
    home = Path(environment["DAGSTER_HOME"])
    os.chdir(home)
    for name, descriptor in (("out", 1), ("err", 2)):
        os.dup2(os.open(home / name, os.O_WRONLY | os.O_CREAT), descriptor)
    module, _, name = STAGES[stage][0].partition(":")
    owner = import_module(f"distracted_pipeline.{module}")
    *parents, name = name.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    real = getattr(owner, name)

    def strike(*args: Any, **options: Any) -> Any:
        with (home / "struck").open("a") as note:
            print(time.monotonic(), file=note)
        os.kill(os.getpid(), number)
        return real(*args, **options)

    setattr(owner, name, strike)
    # As in a terminal, whatever the tests run under, and whichever of them started the server that forks.
    let_go()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    from distracted_pipeline.cli import main

    main(["run"])


@pytest.mark.parametrize(
    ("lacking", "number"),
    [
        ("features", signal.SIGHUP),
        ("predictions", signal.SIGTERM),
        ("class_accuracy", signal.SIGINT),
        ("gradcam", signal.SIGINT),
        ("report", signal.SIGTERM),
        ("champion", signal.SIGHUP),
    ],
    indirect=["lacking"],
)
def test_a_signal_in_any_stage_ends_the_run(
    lacking: Path, number: signal.Signals, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    stage = request.node.callspec.params["lacking"]
    environment = {"DISTRACTED_DATA": str(lacking), "DAGSTER_HOME": str(tmp_path)}
    process = start(struck, environment, stage, number)
    process.join()
    assert process.exitcode == 128 + number
    errors = (tmp_path / "err").read_text()
    assert stopping.MESSAGE in errors
    assert "Traceback" not in errors
    assert len((tmp_path / "struck").read_text().splitlines()) == 1, "it was tried again"
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        last, *before = instance.get_runs()
        assert last.status == dg.DagsterRunStatus.CANCELED
        assert {run.status for run in before} == {dg.DagsterRunStatus.SUCCESS}


def wait_for_a_step(process: "subprocess.Popen[str]", instance: dg.DagsterInstance) -> None:
    """Return once a step is at work on anything but what every run begins with.

    A run counts as started a moment before its executor is, which listens to signals.
    """
    first = [{dg.AssetKey("images")}, {dg.AssetKey("masks")}]
    while True:
        assert process.poll() is None
        at_work = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
        rest = [run.run_id for run in at_work if run.asset_selection not in first]
        if any(instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_START) for run_id in rest):
            return
        time.sleep(0.1)


@pytest.mark.parametrize("lacking", ["predictions"], indirect=True)
@pytest.mark.parametrize(
    ("words", "number"),
    [
        (("distracted", "run", "--workers", "2"), signal.SIGINT),
        (("dagster", "asset", "materialize", "--select", "predictions", "--partition", "0|top_only"), signal.SIGTERM),
        (("dagster", "job", "execute", "-m", "distracted_pipeline.definitions", "-j", "make_report"), signal.SIGINT),
    ],
    ids=["workers", "asset materialize", "job execute"],
)
def test_a_signal_ends_every_process_of_a_run(
    lacking: Path, words: tuple[str, ...], number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTRACTED_DATA", str(lacking))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.setenv("DAGSTER_CLI_ASSET_MATERIALIZE_MODULE_NAME", "distracted_pipeline.definitions")
    command = [str(Path(sys.executable).with_name(words[0])), *words[1:]]
    pipes: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    with (
        open_instance(tmp_path) as instance,
        subprocess.Popen(command, cwd=tmp_path, text=True, start_new_session=True, **pipes) as process,
    ):
        wait_for_a_step(process, instance)
        os.killpg(process.pid, number)  # as a terminal does
        _, errors = process.communicate(timeout=60)
        statuses = {run.status for run in instance.get_runs()}
    assert process.returncode == 128 + number, errors
    assert stopping.MESSAGE in errors
    assert dg.DagsterRunStatus.CANCELED in statuses
    assert statuses <= {dg.DagsterRunStatus.CANCELED, dg.DagsterRunStatus.SUCCESS}
