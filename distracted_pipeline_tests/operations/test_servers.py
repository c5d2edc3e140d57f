"""One command starts the three servers, and its end is the end of all of them."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from multiprocessing import resource_tracker
from pathlib import Path

import psutil
import pytest

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.operations import servers
from distracted_pipeline.operations.servers import HOST, serve_all
from distracted_pipeline.settings import Settings


def _free_ports() -> int:
    """Return a port after which two more are free, for now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex((HOST, port)) == 0


def test_a_taken_port_is_named_with_another_to_try(settings: Settings) -> None:
    with socket.socket() as holder:
        holder.bind((HOST, 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(DistractedError, match=rf"port {port} .* `distracted ui --port {port + 10}`"):
            serve_all(settings, port=port, log=print)


def _child(code: str) -> "subprocess.Popen[bytes]":
    """A child that leads its own group, as the servers do, and has said that it is ready."""
    command = [sys.executable, "-c", f"import signal, time, sys; {code}"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"
    return child


@pytest.mark.skipif(os.name == "nt", reason="signals another way")
def test_a_server_that_does_not_end_by_itself_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "GRACE_S", 0.0)
    deaf = _child("signal.signal(signal.SIGINT, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)")
    servers._stop([deaf], print)
    assert deaf.returncode == -signal.SIGKILL


@pytest.mark.skipif(os.name == "nt", reason="signals another way")
def test_a_run_of_the_ui_has_time_to_write_down_that_it_was_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = tmp_path / "written"
    run = _child(
        f"signal.signal(signal.SIGINT, lambda *_: (time.sleep(0.3), open({str(written)!r}, 'w'), sys.exit())); "
        "print('ready', flush=True); time.sleep(600)"
    )
    monkeypatch.setattr(servers, "GRACE_S", 0.0)
    monkeypatch.setattr(servers, "_runs_of", lambda pid: [psutil.Process(pid)])
    said: list[str] = []
    servers._stop([run], said.append)
    assert written.exists()
    assert said == ["a run is ending; what it finished is kept"]


def test_what_a_server_says_is_passed_on_until_it_is_being_ended(
    settings: Settings, capfd: pytest.CaptureFixture[str]
) -> None:
    def errors(stopping: threading.Event) -> str:
        words = "[MLflow] Security middleware enabled with default settings\nno such table"
        child, reader = servers._start([sys.executable, "-c", f"import sys; sys.exit({words!r})"], settings, stopping)
        child.wait()
        reader.join()
        return capfd.readouterr().err

    stopping = threading.Event()
    assert errors(stopping) == "no such table\n"
    stopping.set()
    assert errors(stopping) == ""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals another way")
def test_ending_the_command_ends_every_server(settings: Settings, tmp_path: Path) -> None:
    """Before there is a report, too: its server waits for one."""
    port = _free_ports()
    command = [sys.executable, "-m", "distracted_pipeline.cli", "ui", "--port", str(port)]
    environment = {**os.environ, "DISTRACTED_DATA": str(settings.data), "DAGSTER_HOME": str(tmp_path / "home")}
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, text=True, **pipes) as ui:  # type: ignore[call-overload]
        deadline = time.monotonic() + 120
        while not all(_answers(port + offset) for offset in range(3)):
            assert ui.poll() is None
            assert time.monotonic() < deadline, "the servers did not come up"
            time.sleep(0.5)
        ui.send_signal(signal.SIGINT)
        _, errors = ui.communicate(timeout=60)
        assert ui.returncode == 0
    assert errors == ""  # neither warnings of the start nor tracebacks of the end
    assert not any(_answers(port + offset) for offset in range(3))


def test_the_bookkeeper_that_python_leaves_behind_is_no_run_to_wait_for() -> None:
    resource_tracker.ensure_running()
    tracker = psutil.Process(resource_tracker._resource_tracker._pid)  # type: ignore[attr-defined]
    end = time.monotonic() + 20
    while not tracker.cmdline() and time.monotonic() < end:  # it is still being made
        time.sleep(0.01)
    assert servers._is_tracker(tracker)
    assert not servers._is_tracker(psutil.Process())
