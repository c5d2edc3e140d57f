"""A real PostgreSQL and a real two-node Ray, on loopback, for as long as a test needs them.

Every process is started here and ended here by its own id; nothing else on the machine is touched.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

BIN = Path(sys.executable).parent
HEAD, WORKER = "127.0.0.2", "127.0.0.3"
"""One loopback address for each node: Ray replaces 127.0.0.1 by the machine's outer address."""

GIB = 2**30


@dataclass(frozen=True)
class Postgres:
    """Where the server listens and who may enter."""

    port: int
    user: str
    password: str

    @property
    def url(self) -> str:
        return f"postgresql+psycopg2://{self.user}:{self.password}@127.0.0.1:{self.port}/dagster"


@dataclass(frozen=True)
class Ray:
    """The dashboard's address, the environment that opens it, and the processes that are the two nodes."""

    address: str
    environment: Mapping[str, str]
    nodes: Mapping[str, int]


def postgres_programs() -> Path | None:
    """Return the folder of `initdb` and `postgres`; None where PostgreSQL is not installed."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    named = shutil.which("initdb")
    return max(found) if found else Path(named).parent if named else None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """Yield a fresh server with an empty database `dagster` and password authentication."""
    programs = postgres_programs()
    assert programs
    # The server refuses to run as root, and its user could not enter pytest's own folders.
    user = "postgres" if os.getuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="distracted-pg-"))
    server = Postgres(free_port(), "dagster", secrets.token_hex(8))
    try:
        (folder / "password").write_text(server.password)
        if user:
            for path in (folder, folder / "password"):
                shutil.chown(path, user)
        initdb = [programs / "initdb", "-D", folder / "data", "-U", server.user, "-A", "scram-sha-256", "--no-sync"]
        subprocess.run(
            [*initdb, f"--pwfile={folder / 'password'}"], user=user, cwd=folder, check=True, capture_output=True
        )
        options = {
            "port": server.port, "listen_addresses": "127.0.0.1", "unix_socket_directories": folder,
            "fsync": "off", "shared_buffers": "16MB", "max_connections": 60,
        }  # fmt: skip
        settings = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        process = subprocess.Popen(
            [programs / "postgres", "-D", folder / "data", *settings],
            user=user, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            _create_database(server, process)
            yield server
        finally:
            process.send_signal(signal.SIGINT)  # ends open connections, then the server
            process.wait(30)
    finally:
        shutil.rmtree(folder)


def _create_database(server: Postgres, process: subprocess.Popen[bytes]) -> None:
    import psycopg2

    deadline = time.monotonic() + 60
    while True:
        try:
            connection = psycopg2.connect(
                host="127.0.0.1", port=server.port, user=server.user, password=server.password, dbname="postgres"
            )
            break
        except psycopg2.OperationalError:
            assert process.poll() is None, "PostgreSQL ended by itself"
            assert time.monotonic() < deadline, "PostgreSQL did not come up"
            time.sleep(0.2)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("create database dagster")
    connection.close()


@contextmanager
def running_ray(folder: Path, environment: Mapping[str, str]) -> Iterator[Ray]:
    """Yield two nodes with one logical GPU each and token authentication.

    Args:
        folder: For Ray's sessions; a short path, it holds sockets.
        environment: What the jobs shall find in theirs, as on a machine where it was exported before `ray start`.
    """
    port, dashboard = free_port(), free_port()
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    quiet = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_JOB_START_TIMEOUT_SECONDS": "3600",
        # Idle workers for each of the logical cores would be more processes than a small machine has memory for.
        "RAY_prestart_worker_first_driver": "0",
        "RAY_enable_worker_prestart": "0",
    }
    # A run is the shell command `dagster api ...`: it must be found on the path of every node.
    everything = {**os.environ, **environment, **token, **quiet, "PATH": f"{BIN}:{os.environ['PATH']}"}
    # Logical: what the ops ask for (8 cores, 1 GPU, 16 GiB) plus room for the runs themselves.
    node = ["--num-cpus=10", "--num-gpus=1", f"--memory={32 * GIB}", "--object-store-memory=100000000"]
    head = [f"--node-ip-address={HEAD}", "--head", f"--port={port}", f"--temp-dir={folder}"]
    head += ["--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}", f"--ray-client-server-port={free_port()}"]
    worker = [f"--node-ip-address={WORKER}", f"--address={HEAD}:{port}"]
    started: dict[str, subprocess.Popen[bytes]] = {}
    address = f"http://127.0.0.1:{dashboard}"
    try:
        for name, options in (("head", head), ("worker", worker)):
            started[name] = subprocess.Popen(
                [str(BIN / "ray"), "start", "--block", *options, *node],
                env=everything, stdout=(folder / f"{name}.log").open("wb"), stderr=subprocess.STDOUT,
            )  # fmt: skip
            _wait_until_started(started[name], folder / f"{name}.log")
        yield Ray(address, {**token, "RAY_API_SERVER_ADDRESS": address}, {name: p.pid for name, p in started.items()})
    finally:
        for process in reversed(started.values()):
            end_with_children(process.pid)
            process.wait(30)


def _wait_until_started(process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait for the line that `ray start --block` prints once the node belongs to the cluster."""
    deadline = time.monotonic() + 120
    while "Ray runtime started" not in log.read_text():
        assert process.poll() is None, f"ray start ended:\n{log.read_text()[-3000:]}"
        assert time.monotonic() < deadline, f"Ray did not come up:\n{log.read_text()[-3000:]}"
        time.sleep(0.2)


def end_with_children(pid: int) -> None:
    """Kill a process that this test started and everything below it."""
    try:
        parent = psutil.Process(pid)
        below = parent.children(recursive=True)
    except psutil.NoSuchProcess:
        return
    for process in [parent, *below]:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(below, timeout=20)
