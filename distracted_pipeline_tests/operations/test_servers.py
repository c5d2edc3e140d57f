"""One command starts the three servers, and its end is the end of all of them."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from distracted_pipeline.errors import DistractedError
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


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals another way")
def test_ending_the_command_ends_every_server(settings: Settings, tmp_path: Path) -> None:
    """Before there is a report, too: its server waits for one."""
    port = _free_ports()
    command = [sys.executable, "-m", "distracted_pipeline.cli", "ui", "--port", str(port)]
    environment = {**os.environ, "DISTRACTED_DATA": str(settings.data), "DAGSTER_HOME": str(tmp_path / "home")}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL) as ui:
        deadline = time.monotonic() + 120
        while not all(_answers(port + offset) for offset in range(3)):
            assert ui.poll() is None
            assert time.monotonic() < deadline, "the servers did not come up"
            time.sleep(0.5)
        ui.send_signal(signal.SIGINT)
        assert ui.wait(60) == 0
    assert not any(_answers(port + offset) for offset in range(3))
