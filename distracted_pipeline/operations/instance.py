"""Dagster's home: one history for the command line and the UI.

What is finished is known from the files in the data root, never from here: without this folder the history is lost,
and nothing else.
"""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import yaml

from distracted_pipeline.checksums import is_sound_database
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.files import locked
from distracted_pipeline.operations.service_errors import explained
from distracted_pipeline.progress import Log
from distracted_pipeline.settings import expand_home, read_env_file

if TYPE_CHECKING:
    import dagster as dg

DEFAULT_HOME = "data/dagster_home"
TEMPLATE = Path(__file__).with_name("dagster.yaml")

_DATABASES: Final = ("history/runs.db", "history/runs/index.db", "schedules/schedules.db")
"""What every command reads; the database of a single run only shows that run."""

_REFUSALS: Final = ("readonly", "unable to open", "disk I/O")


def dagster_home() -> Path:
    """Return `DAGSTER_HOME` of the environment or of `.env`, else `data/dagster_home` here."""
    named = os.environ.get("DAGSTER_HOME") or read_env_file(Path(".env")).get("DAGSTER_HOME")
    return expand_home(named or DEFAULT_HOME, "DAGSTER_HOME").resolve()


def prepare_home(home: Path, log: Log = print) -> None:
    """Create the home and its `dagster.yaml` where they are missing, and point this process at it.

    A file that is no YAML any more is set aside.

    Raises:
        DistractedError: The folder cannot be written to.
    """
    config = home / "dagster.yaml"
    try:
        home.mkdir(parents=True, exist_ok=True)
        if config.exists() and not _is_mapping(config):
            aside = config.with_name(f"dagster.yaml.damaged-{_now()}")
            config.replace(aside)
            log(f"note: {config} was no YAML: it is {aside.name} now, and the shipped settings stand in its place")
        if not config.exists():
            shutil.copyfile(TEMPLATE, config)
    except OSError as error:
        raise DistractedError(
            f"Dagster's home {home} cannot be written to ({error.strerror or error}). Make the folder writable, or set "
            "DAGSTER_HOME to one that is."
        ) from error
    os.environ["DAGSTER_HOME"] = str(home)


def home_trouble(home: Path) -> str:
    """Return what the next run will do without, or put right, in Dagster's home; empty if nothing. Looks only."""
    there = next(path for path in (home, *home.parents) if path.exists())
    if not there.is_dir():
        return f"{there} is a file, so {home} cannot be a folder: runs leave no history"
    if not os.access(there, os.W_OK):
        return f"{there} cannot be written to: runs leave no history"
    config = home / "dagster.yaml"
    if config.exists() and not _is_mapping(config):
        return f"{config} is no YAML: the next run sets it aside and puts the shipped settings in its place"
    return ""


@contextmanager
def open_instance(home: Path | None = None, log: Log = print) -> "Iterator[dg.DagsterInstance]":
    """Yield the persistent instance; where the disk refuses, one that lasts as long as this process.

    Opening is serialised by a lock file: two processes that create the SQLite schema of a fresh home
    at the same moment crash one of them. Databases that are damaged are set aside: they are history, and no result
    depends on them.

    Args:
        home: Dagster's home; by default the one in force.
        log: Hears what was set aside, and that a run leaves no history.

    Raises:
        DistractedError: The database that `dagster.yaml` names does not answer, or the file is wrong.
    """
    import dagster as dg  # here, so that the parent of the servers (`distracted ui`) does without

    home = home or dagster_home()
    try:
        instance = _opened(home, log)
    except DistractedError as error:
        if not _disk_refuses(error):
            raise
        log(f"note: {error} This run leaves no history; its results are kept as ever.")
        instance = dg.DagsterInstance.ephemeral()
    with instance:
        yield instance


def _opened(home: Path, log: Log) -> "dg.DagsterInstance":
    import dagster as dg
    import sqlalchemy

    prepare_home(home, log)
    with locked(home / "open.lock", what=f"Dagster's home {home}"), explained(home):
        damaged = [path for path in map(home.joinpath, _DATABASES) if path.exists() and not is_sound_database(path)]
        if damaged:
            _set_aside(home, damaged, log)
        try:
            instance = dg.DagsterInstance.get()
            instance.get_runs_count()  # touches the run storage, so its schema exists before the lock is released
            instance.get_latest_materialization_event(dg.AssetKey("images"))
        except sqlalchemy.exc.OperationalError as error:
            if not any(words in str(error.orig) for words in _REFUSALS):
                raise
            raise DistractedError(
                f"Dagster's history in {home} cannot be written ({error.orig}). Make the folder writable, or set "
                "DAGSTER_HOME to one that is."
            ) from OSError(errno.EROFS, str(error.orig))
    return instance


def _set_aside(home: Path, damaged: list[Path], log: Log) -> None:
    """Move the history out of the way; Dagster begins another one."""
    aside = home / f"damaged-{_now()}"
    aside.mkdir()
    for name in dict.fromkeys(Path(name).parts[0] for name in _DATABASES):
        if (home / name).exists():
            (home / name).replace(aside / name)
    log(
        f"note: Dagster's history is damaged ({', '.join(path.name for path in damaged)}): it is set aside in {aside} "
        "and begins anew. Results are known from the files in the data root, and kept."
    )


def _is_mapping(config: Path) -> bool:
    """Tell whether a file is YAML as Dagster reads it; Dagster takes an empty one, too."""
    try:
        found = yaml.safe_load(config.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        return False
    return found is None or isinstance(found, dict)


def _disk_refuses(error: DistractedError) -> bool:
    return isinstance(error.__cause__, OSError)


def _now() -> str:
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}"
