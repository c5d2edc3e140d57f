"""Several processes run steps: each step once, in the order asked for, and a killed process costs one of them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest

from distracted_pipeline.assets import lease
from distracted_pipeline.operations.missing import Step
from distracted_pipeline.operations.workers import THREADS, Workers, _adopt, default_workers, worker_count
from distracted_pipeline.settings import PER_GPU


def serve_notes(pipe, config: Mapping[str, str], variables: dict[str, str]) -> None:  # type: ignore[no-untyped-def]
    """Write a file for each step, with what the process was told; the label says what else happens."""
    try:
        while True:
            for step in pipe.recv():
                note = Path(config["folder"]) / f"{step.label.split()[0]}-{time.monotonic_ns()}"
                note.write_text(f"{os.getpid()} {variables}")
                killed = len(list(note.parent.glob(f"{step.label.split()[0]}-*")))
                if "killed" in step.label and killed <= int(step.label[-1]):
                    os.kill(os.getpid(), signal.SIGKILL)
                if "long" in step.label:
                    time.sleep(600)
                pipe.send("it failed" if "fails" in step.label else None)
    except EOFError:
        return


def serve_runs(pipe, config: Mapping[str, str], variables: dict[str, str]) -> None:  # type: ignore[no-untyped-def]
    """Report steps of one run only once all of them are done; die in the first run that holds more than one."""
    try:
        while True:
            item = pipe.recv()
            if len(item) > 1 and item[0].together:
                os.kill(os.getpid(), signal.SIGKILL)
            for _ in item:
                pipe.send(None)
    except EOFError:
        return


def steps(*labels: str) -> list[tuple[Step, ...]]:
    return [(Step(("trained_model",), label),) for label in labels]


def notes(folder: Path, label: str) -> list[str]:
    return [path.read_text() for path in sorted(folder.glob(f"{label}-*"))]


def test_two_processes_share_the_steps_and_one_that_fails_costs_no_other(tmp_path: Path) -> None:
    with Workers(2, {"folder": str(tmp_path)}, 3, print, serve=serve_notes) as workers:  # type: ignore[dict-item]
        items = [*steps("a", "b", "c fails", "d"), (*steps("e")[0], *steps("f")[0])]
        outcomes = {step.label: reason for step, reason in workers.run(items)}
        assert not list(workers.run([]))
    assert outcomes == {"a": None, "b": None, "c fails": "it failed", "d": None, "e": None, "f": None}
    told = [text for label in "abcdef" for text in notes(tmp_path, label)]
    assert len(told) == 6
    assert len({text.split()[0] for text in told}) == 2
    assert notes(tmp_path, "e")[0].split()[0] == notes(tmp_path, "f")[0].split()[0]  # an item stays together
    assert all(f"'{PER_GPU}': '3'" in text for text in told)
    assert all(THREADS in text for text in told)


def test_a_killed_process_is_replaced_and_its_step_begins_again_once(tmp_path: Path) -> None:
    said: list[str] = []
    with Workers(1, {"folder": str(tmp_path)}, 1, said.append, serve=serve_notes) as workers:  # type: ignore[dict-item]
        outcomes = [
            (step.label, reason) for step, reason in workers.run(steps("once killed 1", "twice killed 2", "after"))
        ]
    assert [label for label, _ in outcomes] == ["once killed 1", "twice killed 2", "after"]
    assert outcomes[0][1] is None
    assert outcomes[1][1] is not None
    assert "exit code -9, 2 times" in outcomes[1][1]
    assert outcomes[2][1] is None
    assert [line.partition(":")[0] for line in said] == ["once killed 1", "twice killed 2"]


def test_steps_of_one_run_begin_again_one_by_one_after_their_process_was_killed(tmp_path: Path) -> None:
    said: list[str] = []
    item = tuple(Step(("features",), label, label, "features") for label in ("a", "b killed 1", "c"))
    with Workers(1, {"folder": str(tmp_path)}, 1, said.append, serve=serve_runs) as workers:  # type: ignore[dict-item]
        outcomes = [(step.label, step.together, reason) for step, reason in workers.run([item])]
    assert outcomes == [("a", "", None), ("b killed 1", "", None), ("c", "", None)]
    assert said == ["a and 2 more: its process ended with exit code -9; they begin again one by one"]


def test_whoever_stops_waiting_leaves_no_process_behind(tmp_path: Path) -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        Workers(1, {"folder": str(tmp_path)}, 1, print, serve=serve_notes) as workers,  # type: ignore[dict-item]
    ):
        for _ in workers.run(steps("a", "b long")):
            while not notes(tmp_path, "b"):
                time.sleep(0.02)
            raise KeyboardInterrupt
    with pytest.raises(ProcessLookupError):
        os.kill(int(notes(tmp_path, "b")[0].split()[0]), 0)


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="signals another way")
def test_no_signal_of_a_terminal_meets_the_imports_of_the_first_process() -> None:
    program = """
import signal
from multiprocessing import forkserver
from distracted_pipeline.interrupts import held

with held():
    forkserver.ensure_running()
    print(sorted(number.name for number in signal.pthread_sigmask(signal.SIG_BLOCK, ())))
print(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
"""
    printed = subprocess.run([sys.executable, "-c", program], text=True, capture_output=True, check=True).stdout
    assert printed.splitlines() == ["['SIGHUP', 'SIGINT']", "set()"]


def test_a_forked_process_takes_over_its_crew_s_environment_whatever_the_server_s_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "environ", {"DISTRACTED_DATA": "/first", "OF_THE_FIRST": "1", THREADS: "7"})
    threads: list[int] = []
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(set_num_threads=threads.append))
    crew = {"DISTRACTED_DATA": "/second", THREADS: "2"}
    _adopt(crew)
    assert os.environ == crew
    for odd in ("0", "4,2", "abc"):  # OpenMP's to judge; torch would refuse it
        _adopt({THREADS: odd})
    assert threads == [2]


def test_no_more_processes_start_than_the_machine_is_good_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(lease.VISIBLE, "")
    monkeypatch.setattr("distracted_pipeline.operations.workers.cores", lambda: 2)
    said: list[str] = []
    assert [worker_count(asked, 1, said.append) for asked in (0, 1, 4)] == [1, 1, 4]
    assert said == []
    assert worker_count(1000, 1, said.append) == 4
    assert said == ["--workers 1000: 4 processes are all that 2 cores and 0 GPUs are good for"]
    monkeypatch.setenv(lease.VISIBLE, "0,1")
    assert worker_count(1000, 3, said.append) == 6


def test_there_is_a_process_for_each_share_of_a_gpu_and_one_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(lease.VISIBLE, "")
    assert default_workers() == default_workers(per_gpu=3) == 1
    monkeypatch.setenv(lease.VISIBLE, "0,1")
    assert default_workers() == 2
    assert default_workers(per_gpu=3) == 6
