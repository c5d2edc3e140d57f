"""`distracted ui`: Dagster, MLflow and the report server as three children of one command.

All listen on loopback only. Serving reports itself is `reports.serve`.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

from distracted_pipeline.addresses import HOST, Ports, local, remember_ports
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.files import write_text
from distracted_pipeline.operations.activation import CODE_LOCATION, MODULE, WARNINGS
from distracted_pipeline.operations.instance import dagster_home, prepare_home
from distracted_pipeline.operations.stopping import take_your_time
from distracted_pipeline.progress import Log
from distracted_pipeline.settings import Settings
from distracted_pipeline.training.tracking import shown

if TYPE_CHECKING:
    import psutil

GRACE_S = 1.5
"""How long a server may take to end; none of them holds anything that would be lost."""

RUN_GRACE_S = 10.0
"""How long runs that were started in the UI may take to write down that they were interrupted."""

_PAGES = {
    "Dagster": "/asset-groups",
    "MLflow": "/#/experiments?workflowType=machine_learning",  # it opens on language models otherwise
    "report": "/latest/",
}
_NOISE = "[MLflow] Security middleware enabled"
"""Begins the line by which MLflow says that it listens on loopback only; it has no option against it."""

_MLFLOW = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # eight more processes, for language models
}


def serve_all(settings: Settings, *, port: int, log: Log) -> None:
    """Run the three servers until Ctrl-C, or until one of them ends by itself.

    Raises:
        DistractedError: A port is taken, or a server ended by itself.
    """
    ports = Ports.from_first(port)
    for candidate in (ports.dagster, ports.mlflow, ports.report):
        _require_free(candidate)
    prepare_home(dagster_home())
    remember_ports(settings.data, ports)
    commands = _commands(settings, ports)
    if settings.mlflow:
        log(f"MLflow   {shown(settings.mlflow)}   (DISTRACTED_MLFLOW)")
    stopping = threading.Event()
    children = {name: _start(command, settings, stopping)[0] for name, (_, command) in commands.items()}
    take_your_time()
    try:
        log("Ctrl-C ends all of them; a line says when each answers, Dagster last")
        silent = list(commands)
        while True:
            for name in [name for name in silent if _answers(commands[name][0])]:
                log(f"{name:8} {local(commands[name][0])}{_PAGES[name]}")
                silent.remove(name)
            for name, child in children.items():
                if child.poll() is not None:
                    raise DistractedError(
                        f"{name} ended with exit code {child.returncode}; its last lines above say why."
                    )
            time.sleep(0.5)
    except KeyboardInterrupt:
        log("stopping")
    finally:
        stopping.set()
        # Another Ctrl-C would leave servers behind that nobody ends.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        _stop(list(children.values()), log)


def _commands(settings: Settings, ports: Ports) -> dict[str, tuple[int, list[str]]]:
    """Return port and command of each server; MLflow's only where the store is the data root's own."""
    python = sys.executable
    dagster = [
        *(python, "-m", "dagster", "dev", "-w", str(_workspace()), "--log-level", "warning"),
        *("-h", HOST, "-p", str(ports.dagster)),
    ]
    mlflow = [
        *(python, "-m", "mlflow", "ui", "--host", HOST, "--port", str(ports.mlflow), "--workers", "1"),
        *("--backend-store-uri", settings.mlflow_uri, "--registry-store-uri", settings.mlflow_uri),
        *("--default-artifact-root", settings.mlflow_artifacts.as_uri()),
        *("--uvicorn-opts", "--log-level warning"),
    ]
    report = [python, "-m", "distracted_pipeline.cli", "report", "serve", "--port", str(ports.report), "--beside-ui"]
    commands = {"Dagster": (ports.dagster, dagster), "MLflow": (ports.mlflow, mlflow), "report": (ports.report, report)}
    if settings.mlflow:
        del commands["MLflow"]
    return commands


def _workspace() -> Path:
    """Write the file that gives Dagster the code under the name that the history knows, and return it."""
    path = dagster_home() / "workspace.yaml"
    module = f"{{module_name: {MODULE}, location_name: {CODE_LOCATION}}}"
    write_text(path, f"# Written by `distracted ui`.\nload_from:\n  - python_module: {module}\n")
    return path


def _start(
    command: list[str], settings: Settings, stopping: threading.Event
) -> tuple["subprocess.Popen[bytes]", threading.Thread]:
    """Start a server as the leader of a group, so that its own children (Dagster has several) end with it.

    Its greetings, on standard output, are dropped; what it says on standard error is passed on until `stopping`: how
    a server falls apart that is being ended is nobody's concern.
    """
    activated = os.environ.get("PYTHONWARNINGS") or WARNINGS
    quiet = {"PYTHONWARNINGS": f"{activated},ignore:starlette.middleware.wsgi is deprecated:UserWarning"}
    child = subprocess.Popen(
        command,
        env={**_MLFLOW, **os.environ, **quiet, "DISTRACTED_DATA": str(settings.data)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert child.stderr is not None
    reader = threading.Thread(target=_pass_on, args=(child.stderr, stopping), daemon=True)
    reader.start()
    return child, reader


def _pass_on(lines: IO[bytes], stopping: threading.Event) -> None:
    for line in lines:
        text = line.decode(errors="replace")
        if not stopping.is_set() and not text.startswith(_NOISE):
            sys.stderr.write(text)
            sys.stderr.flush()


def _stop(children: list["subprocess.Popen[bytes]"], log: Log) -> None:
    start, said = time.monotonic(), False
    runs = [run for child in children for run in _runs_of(child.pid)]
    for child in children:
        _signal(child, signal.SIGINT)
    while time.monotonic() - start < RUN_GRACE_S:
        ending = any(map(_is_alive, runs))
        if not ending and (time.monotonic() - start > GRACE_S or all(child.poll() is not None for child in children)):
            break
        if ending and not said and time.monotonic() - start > GRACE_S:
            log("a run is ending; what it finished is kept")
            said = True
        time.sleep(0.05)
    for child in children:
        _signal(child, signal.SIGTERM if os.name == "nt" else signal.SIGKILL)
        child.wait()


def _runs_of(pid: int) -> "list[psutil.Process]":
    """Return the processes of runs that were started in the UI: children of Dagster's code server."""
    import psutil

    found = []
    with suppress(psutil.Error):
        for process in psutil.Process(pid).children(recursive=True):
            with suppress(psutil.Error):
                if process.cmdline()[1:5] == ["-m", "dagster", "api", "grpc"]:
                    found += [child for child in process.children() if not _is_tracker(child)]
    return found


def _is_tracker(process: "psutil.Process") -> bool:
    """Tell whether a process is Python's own bookkeeper, which stays after a run and minds no Ctrl-C."""
    import psutil

    with suppress(psutil.Error):
        return any("multiprocessing.resource_tracker" in word for word in process.cmdline())
    return False


def _is_alive(process: "psutil.Process") -> bool:
    import psutil

    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _signal(child: "subprocess.Popen[bytes]", number: int) -> None:
    if os.name == "nt":  # no process groups there, and SIGINT cannot be sent
        child.terminate()
        return
    with suppress(ProcessLookupError):
        os.killpg(child.pid, number)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex((HOST, port)) == 0


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise DistractedError(
                f"port {port} on {HOST} is taken ({error.strerror}). Type `distracted ui --port {port + 10}`."
            ) from error
