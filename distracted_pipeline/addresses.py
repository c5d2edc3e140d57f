"""Where `distracted ui` shows Dagster, MLflow and the reports of a data root, for the links that lead there.

Belongs here: ports and how they are remembered. Starting the servers is `operations.servers`.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import quote

from distracted_pipeline.files import read_json, write_json

HOST = "127.0.0.1"
FILE = "ui.json"


@dataclass(frozen=True)
class Ports:
    """The ports of the three servers on the loopback address."""

    dagster: int = 3000
    mlflow: int = 3001
    report: int = 3002

    @classmethod
    def from_first(cls, port: int) -> "Ports":
        """Return `port` and the two after it."""
        return cls(port, port + 1, port + 2)


def ports_of(data: Path) -> Ports:
    """Return the ports that `distracted ui` was last started on for a data root; its defaults if it never was."""
    try:
        return Ports(**(read_json(data / FILE) or {}))
    except TypeError:  # a damaged file costs links, and the next start mends it
        return Ports()


def remember_ports(data: Path, ports: Ports) -> None:
    """Keep the ports for the links that are written from now on."""
    write_json(data / FILE, asdict(ports))


def local(port: int) -> str:
    """Return the address of a server on this machine."""
    return f"http://{HOST}:{port}"


def dagster_run_url(data: Path, run: str) -> str:
    """Return where `distracted ui` shows a Dagster run."""
    return f"{local(ports_of(data).dagster)}/runs/{quote(run, safe='')}"


def report_url(data: Path, report_id: str) -> str:
    """Return where `distracted ui` shows a report."""
    return f"{local(ports_of(data).report)}/{quote(report_id, safe='')}/index.html"
