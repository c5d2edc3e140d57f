"""A signal ends a command with the code of the signal, and its run counts as canceled; nothing is tried again."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import dagster as dg
import pytest

from distracted_pipeline.assets.compute import TRAIN
from distracted_pipeline.interrupts import interrupt
from distracted_pipeline.operations import stopping

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals another way")

PROGRAM = """
import os, signal, sys, threading, time
import dagster as dg
from distracted_pipeline.assets.compute import TRAIN
from distracted_pipeline.operations import executors, stopping

number, manner = signal.Signals[sys.argv[1]], sys.argv[2]

def kill():
    print("signal", flush=True)
    os.kill(os.getpid(), number)

@dg.op(retry_policy=TRAIN.options()["retry_policy"])
def long_work():
    print("begun", flush=True)
    kill()
    if manner == "deaf":  # as in C code that does not return
        signal.pthread_sigmask(signal.SIG_BLOCK, {number})
        blocked = threading.Lock()
        blocked.acquire()
        while True:
            try:
                blocked.acquire(timeout=60)
            except BaseException:
                pass
    time.sleep(60)

@dg.job(executor_def=executors.executor_from_environment())
def alone():
    long_work()

def run_all():
    with dg.DagsterInstance.get() as instance:
        if manner == "bare":
            result = instance and dg.execute_job(dg.reconstructable(job), instance)
        else:
            with stopping.stoppable_run(instance) as run_id:
                alone.execute_in_process(instance=instance, run_id=run_id)

def job():
    return alone

if __name__ == "__main__":
    if manner == "bare":
        run_all()
        sys.exit(1)  # what the dagster command does after a run that did not succeed
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever runs the tests under nohup ignores it
    with stopping.listening():
        try:
            run_all()
        except KeyboardInterrupt:
            stopping.say_stopped()
            sys.exit(stopping.exit_code())
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "manner", "executor"),
    [
        ("SIGINT", "own", ""),
        ("SIGHUP", "own", ""),
        ("SIGTERM", "deaf", ""),
        ("SIGTERM", "bare", "in_process"),
    ],
)
def test_one_signal_ends_a_run_which_counts_as_canceled_and_is_not_tried_again(
    number: str, manner: str, executor: str, tmp_path: Path
) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")
    environment = {**os.environ, "DAGSTER_HOME": str(tmp_path), "DISTRACTED_EXECUTOR": executor}
    ended = subprocess.run(
        [sys.executable, program, number, manner], env=environment, cwd=tmp_path, text=True, capture_output=True
    )
    assert ended.returncode == 128 + signal.Signals[number], ended.stderr
    assert stopping.MESSAGE in ended.stderr
    assert ended.stdout.count("begun") == 1
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        (run,) = instance.get_runs()
        assert run.status == dg.DagsterRunStatus.CANCELED
        kinds = {entry.dagster_event.event_type for entry in instance.all_logs(run.run_id) if entry.dagster_event}
        assert dg.DagsterEventType.STEP_UP_FOR_RETRY not in kinds
        assert dg.DagsterEventType.RUN_FAILURE not in kinds


@pytest.mark.parametrize("error", [KeyboardInterrupt, dg.DagsterExecutionInterruptedError])
@pytest.mark.parametrize(("executor", "again"), [("", False), ("multiprocess", False), ("k8s", True), ("ray", True)])
def test_an_interruption_is_tried_again_on_clusters_alone(
    error: type[BaseException], executor: str, again: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTRACTED_EXECUTOR", executor)
    policy = TRAIN.options()["retry_policy"]
    try:
        raise error
    except error:
        assert bool(policy) is again
    try:
        raise OSError("a device that hiccups")
    except OSError:
        assert policy


def test_within_an_import_a_signal_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception within one of torch's imports would abort the process."""
    (tmp_path / "slow_to_import.py").write_text(
        "import signal\nsignal.raise_signal(signal.SIGTERM)\nWHOLE = True\n", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(tmp_path)
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        import slow_to_import  # type: ignore[import-not-found]

        assert slow_to_import.WHOLE
        with pytest.raises(KeyboardInterrupt):
            threading.Event().wait(60)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_listening_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    with stopping.listening():
        assert signal.getsignal(signal.SIGTERM) is interrupt
        assert stopping.received() is None
    assert [signal.getsignal(number) for number in numbers] == before
    assert signal.set_wakeup_fd(-1) == -1


def test_with_nohup_a_hangup_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stopping.listening():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
