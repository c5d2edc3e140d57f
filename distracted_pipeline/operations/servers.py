"""`distracted ui`: Dagster, MLflow and the report server as three children of one command.

All listen on loopback only. Serving reports itself is `reports.serve`.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.operations.activation import MODULE, WARNINGS
from distracted_pipeline.operations.instance import dagster_home, prepare_home
from distracted_pipeline.progress import Log
from distracted_pipeline.settings import Settings
from distracted_pipeline.training.tracking import shown

HOST = "127.0.0.1"
GRACE_S = 10.0
_PAGES = {
    "Dagster": "/asset-groups",
    "MLflow": "/#/experiments?workflowType=machine_learning",  # it opens on language models otherwise
    "report": "/latest/",
}
_QUIET = {
    "PYTHONWARNINGS": f"{WARNINGS},ignore:starlette.middleware.wsgi is deprecated:UserWarning",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # eight more processes, for language models
}


def serve_all(settings: Settings, *, port: int, log: Log) -> None:
    """Run the three servers until Ctrl-C, or until one of them ends by itself.

    Raises:
        DistractedError: A port is taken, or a server ended by itself.
    """
    for candidate in range(port, port + 3):
        _require_free(candidate)
    prepare_home(dagster_home())
    environment = {**_QUIET, **os.environ, "DISTRACTED_DATA": str(settings.data)}
    python = sys.executable
    ports = {"Dagster": port, "MLflow": port + 1, "report": port + 2}
    commands = {
        "Dagster": [
            *(python, "-m", "dagster", "dev", "-m", MODULE, "--log-level", "warning"),
            *("-h", HOST, "-p", str(ports["Dagster"])),
        ],
        "MLflow": [
            *(python, "-m", "mlflow", "ui", "--host", HOST, "--port", str(ports["MLflow"]), "--workers", "1"),
            *("--backend-store-uri", settings.mlflow_uri, "--registry-store-uri", settings.mlflow_uri),
            *("--default-artifact-root", settings.mlflow_artifacts.as_uri()),
            *("--uvicorn-opts", "--log-level warning"),
        ],
        "report": [python, "-m", "distracted_pipeline.cli", "report", "serve", "--port", str(ports["report"])],
    }
    if settings.mlflow:
        del commands["MLflow"]
        log(f"MLflow   {shown(settings.mlflow)}   (DISTRACTED_MLFLOW)")
    # Each child leads a group of its own, so that its own children (Dagster has several) end with it.
    # Their errors come on standard error; their greetings on standard output.
    children = {
        name: subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, start_new_session=True)
        for name, command in commands.items()
    }
    # A shell that starts us in the background turns Ctrl-C off, and `kill` should end the servers too.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        log("Ctrl-C ends all of them; a line says when each answers, Dagster last")
        silent = list(commands)
        while True:
            for name in [name for name in silent if _answers(ports[name])]:
                log(f"{name:8} http://{HOST}:{ports[name]}{_PAGES[name]}")
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
        _stop(list(children.values()))


def _stop(children: list["subprocess.Popen[bytes]"]) -> None:
    for child in children:
        _signal(child, signal.SIGINT)
    deadline = time.monotonic() + GRACE_S
    for child in children:
        with suppress(subprocess.TimeoutExpired):
            child.wait(max(deadline - time.monotonic(), 0.1))
        _signal(child, signal.SIGTERM if os.name == "nt" else signal.SIGKILL)
        child.wait()


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
