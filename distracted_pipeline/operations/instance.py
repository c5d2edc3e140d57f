"""Dagster's home: one history for the command line and the UI.

What is finished is known from the files in the data root, never from here: without this folder the history is lost,
and nothing else.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from dotenv import dotenv_values

from distracted_pipeline.files import locked
from distracted_pipeline.operations.service_errors import explained

if TYPE_CHECKING:
    import dagster as dg

DEFAULT_HOME = "data/dagster_home"
TEMPLATE = Path(__file__).with_name("dagster.yaml")


def dagster_home() -> Path:
    """Return `DAGSTER_HOME` of the environment or of `.env`, else `data/dagster_home` here."""
    named = os.environ.get("DAGSTER_HOME") or dotenv_values(".env").get("DAGSTER_HOME")
    return Path(named or DEFAULT_HOME).expanduser().resolve()


def prepare_home(home: Path) -> None:
    """Create the home and its `dagster.yaml` where they are missing, and point this process at it."""
    home.mkdir(parents=True, exist_ok=True)
    config = home / "dagster.yaml"
    if not config.exists():
        shutil.copyfile(TEMPLATE, config)
    os.environ["DAGSTER_HOME"] = str(home)


@contextmanager
def open_instance(home: Path | None = None) -> "Iterator[dg.DagsterInstance]":
    """Yield the persistent instance.

    Opening is serialised by a lock file: two processes that create the SQLite schema of a fresh home
    at the same moment crash one of them.

    Raises:
        DistractedError: The database that `dagster.yaml` names does not answer, or the file is wrong.
    """
    import dagster as dg  # here, so that the parent of the servers (`distracted ui`) does without

    home = home or dagster_home()
    prepare_home(home)
    with locked(home / "open.lock", what=f"Dagster's home {home}"), explained(home):
        instance = dg.DagsterInstance.get()
        instance.get_runs_count()  # touches the run storage, so its schema exists before the lock is released
        instance.get_latest_materialization_event(dg.AssetKey("images"))
    with instance:
        yield instance
