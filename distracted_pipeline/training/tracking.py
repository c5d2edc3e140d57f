"""MLflow: one run per training, in a SQLite store inside the data root or on a tracking server.

Belongs here: the store, opening and closing runs, and finding orphaned ones. Results of a training are written
beside its checkpoint first and sent from there (`mlflow_outbox`), so a store that does not answer never stops a
training. MLflow is imported when first used (it takes seconds), and used through its client, not its global state.
`cd <data root> && mlflow ui` shows the runs.
"""

import os
import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from distracted_pipeline.addresses import local, ports_of
from distracted_pipeline.checksums import is_sound_database
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.files import locked
from distracted_pipeline.progress import Log
from distracted_pipeline.settings import Settings
from distracted_pipeline.standing import GoneError, require_standing
from distracted_pipeline.training.provenance import PROCESS, code_tags, is_gone, this_process
from distracted_pipeline.training.relocation import EXPERIMENT, follow_move
from distracted_pipeline.training.variant_run import PARENT, ROOT, root_tags, variant_run

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


PATIENCE = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "8",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
}
"""How long MLflow itself waits for a server, in its own variables: under 30 s in all; its defaults wait for minutes."""

PAUSE_S = 300.0
"""How long a store that did not answer is left alone: sixty trainings must not wait sixty times."""

NOTE = "mlflow.note.content"
"""Tag that MLflow shows as a run's description, in Markdown."""

_paused: dict[str, float] = {}
_opened: set[Path] = set()

_code_tags = cache(code_tags)
"""Asks git once a process: the code of a process does not change under it."""


class StoreDownError(DistractedError):
    """The tracking store does not answer, or refuses; trainings go on without it."""


@dataclass(frozen=True)
class OpenRun:
    """A training's run, whether the store knows it or not.

    Attributes:
        id: MLflow's; None where the store did not answer: `mlflow_outbox` creates the run later.
        name: How MLflow shows it.
        params: What tells it from the variant's other trainings.
        tags: As logged, process and code included.
        started: Milliseconds since 1970.
        recipe: What it has in common with them: parameters of the variant's run, below which this one stands.
    """

    id: str | None
    name: str
    params: dict[str, str]
    tags: dict[str, str]
    started: int
    recipe: dict[str, str] = field(default_factory=dict)


def open_client(settings: Settings) -> tuple["MlflowClient", str]:
    """Return a client of the store and the id of its experiment.

    The data root's own store is created under a file lock: several processes on a fresh database break its
    migration. One that was moved follows its data root.

    Raises:
        GoneError: The data root has gone.
        StoreDownError: The store does not answer, did not within the last `PAUSE_S`, or its URI is no store's.
    """
    require_standing(settings.data)  # MLflow would make its folders anew
    uri = settings.mlflow_uri
    if time.monotonic() < _paused.get(uri, 0):
        raise StoreDownError(f"MLflow at {shown(settings.mlflow_uri)} did not answer a moment ago. {_hint(settings)}")
    for name, value in {
        **PATIENCE,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    }.items():
        os.environ.setdefault(name, value)
    with _quiet_migrations():
        from mlflow import MlflowClient

        try:
            with locked(settings.data / "mlflow.lock", what="the MLflow store"):
                _set_damaged_aside(settings)
                follow_move(settings)
                client = MlflowClient(tracking_uri=uri)
                return client, _experiment(settings, client)
        except Exception as error:  # servers, proxies, databases and disks all fail in their own ways
            require_standing(settings.data)
            pause(settings)
            raise down(settings, error) from error


def _set_damaged_aside(settings: Settings) -> None:
    """Move a database in which SQLite finds damage out of the way, before this process opens it for the first time."""
    path = settings.mlflow_database
    if settings.mlflow or path in _opened:
        return
    _opened.add(path)
    if not path.exists() or not path.stat().st_size or is_sound_database(path):
        return
    aside = path.with_name(f"{path.name}.damaged-{datetime.now(UTC):%Y%m%d-%H%M%S}")
    path.replace(aside)
    for suffix in ("-journal", "-wal", "-shm"):  # of the old one; SQLite would apply them to the new one
        path.with_name(f"{path.name}{suffix}").unlink(missing_ok=True)
    print(
        f"note: MLflow's database {path} was damaged: it is {aside.name} now, and another one begins. "
        "To write its runs anew from the checkpoints, type: distracted sync"
    )


def other_schema(settings: Settings) -> str:
    """Return in words that the data root's own database is of another MLflow's schema; empty where it is not."""
    path = settings.mlflow_database
    if settings.mlflow or not path.is_file():
        return ""
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as store:
            found = store.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.Error:  # damaged, or being made: whoever opens it says so
        return ""
    from mlflow.store.db.utils import _get_latest_schema_revision

    if found is None or found[0] == (wanted := _get_latest_schema_revision()):
        return ""
    return f"MLflow's database {path} is of another version of MLflow (schema {found[0]} instead of {wanted})"


def upgrade(settings: Settings) -> str:
    """Return the command that brings a database of an earlier MLflow up to date."""
    return f"mlflow db upgrade {settings.mlflow_uri}"


def pause(settings: Settings) -> None:
    """Leave the store alone for `PAUSE_S`."""
    _paused[settings.mlflow_uri] = time.monotonic() + PAUSE_S


def ask_again(settings: Settings) -> None:
    """Forget that the store did not answer: the next call tries it."""
    _paused.pop(settings.mlflow_uri, None)


def reopen_or_start(
    settings: Settings,
    name: str,
    params: Mapping[str, Any],
    tags: Mapping[str, str],
    *,
    recipe: Mapping[str, str] | None = None,
    run_id: str | None = None,
    log: Log = print,
) -> OpenRun:
    """Open the run of a training. The caller holds the lock of its checkpoint.

    Any other run of the same variant and fold that is still open in this data root belongs to a training that was
    killed, and is closed. If the store does not answer, that is logged and `id` stays as given.

    Args:
        settings: Gives the store.
        name: How MLflow shows the run.
        params: What tells the training from the variant's others.
        tags: At least `variant` and `fold`.
        recipe: From `variant_run.recipe_of`; without it the run stands by itself.
        run_id: The run of the training that is resumed; it goes on if the store still has it.
        log: Hears what did not work.
    """
    every_tag = {**_code_tags(), **root_tags(settings), **this_process(), **tags}
    text = {key: str(value) for key, value in params.items()}
    run = OpenRun(run_id, name, text, every_tag, int(time.time() * 1000), dict(recipe or {}))
    try:
        return _reopened_or_started(settings, run)
    except Exception as error:  # whatever the store does, no training ends because of it
        require_standing(settings.data)
        if not isinstance(error, StoreDownError):
            pause(settings)
        log(f"{error if isinstance(error, StoreDownError) else down(settings, error)} The training goes on.")
        return run


def fail_run(settings: Settings, run: OpenRun, why: str, *, log: Log = print) -> None:
    """Close a run as failed, with the reason as a tag."""
    if run.id is None:
        return
    try:
        client, _ = open_client(settings)
        client.set_tag(run.id, "failure", why[:500])
        client.set_terminated(run.id, status="FAILED")
    except Exception as error:  # whatever the store does: the training's own error is what the user must see
        if isinstance(error, GoneError):
            return
        log(f"MLflow at {shown(settings.mlflow_uri)} could not be told that the run failed ({type(error).__name__})")


def close_orphans(settings: Settings, *, log: Log = print) -> set[str]:
    """Close runs of this data root whose process on this host was killed; return their ids.

    Raises:
        StoreDownError: The store does not answer.
    """
    client, experiment = open_client(settings)
    orphans = [run for run in _open_runs(client, experiment, settings) if is_gone(run.data.tags)]
    for run in orphans:
        _close_killed(client, run)
        log(f"MLflow: {run.info.run_name} was killed while it trained; its run is closed")
    return {run.info.run_id for run in orphans}


def exists(client: "MlflowClient", run_id: str) -> bool:
    """Tell whether the store has a run that was not deleted."""
    from mlflow.exceptions import MlflowException

    try:
        return bool(client.get_run(run_id).info.lifecycle_stage == "active")
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return False
        raise


def is_finished(client: "MlflowClient", run_id: str) -> bool:
    """Tell whether the store has a run with its results."""
    return exists(client, run_id) and client.get_run(run_id).info.status == "FINISHED"


def create(settings: Settings, client: "MlflowClient", experiment: str, run: OpenRun) -> str:
    """Create a run with its parameters and tags, below that of its variant, and return its id."""
    from mlflow.entities import Param

    tags = dict(run.tags)
    if run.recipe:
        tags[PARENT] = variant_run(settings, client, experiment, run.tags["variant"], run.recipe, run.started)
    created = client.create_run(experiment, start_time=run.started, run_name=run.name, tags=tags)
    client.log_batch(created.info.run_id, params=[Param(key, value) for key, value in run.params.items()])
    return str(created.info.run_id)


def log_metrics(client: "MlflowClient", run_id: str, values: list[tuple[str, float, int]]) -> None:
    """Log numbers as (name, value, step)."""
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    metrics = [Metric(key, float(value), now, step) for key, value, step in values]
    for first in range(0, len(metrics), 1000):  # MLflow's limit of one request
        client.log_batch(run_id, metrics=metrics[first : first + 1000])


def shown(uri: str, text: str = "") -> str:
    """Return a text, the store's address by default, without the user name and password the address may carry."""
    user, at, _ = urlsplit(uri).netloc.rpartition("@")
    return (text or uri).replace(f"{user}{at}", "") if at else text or uri


def run_url(settings: Settings, run: str) -> str:
    """Return where the tracking server in force, or `distracted ui`, shows a run."""
    served = settings.mlflow_uri.startswith("http")
    server = shown(settings.mlflow_uri).rstrip("/") if served else local(ports_of(settings.data).mlflow)
    experiment = None if served else _local_experiment(settings)
    # Without its experiment, MLflow leads to a run among language models, and forgets what kind was asked for.
    place = f"experiments/{experiment}/runs" if experiment else "runs"
    kind = "?workflowType=machine_learning" if experiment else ""
    return f"{server}/#/{place}/{quote(run, safe='')}{kind}"


def _local_experiment(settings: Settings) -> str | None:
    """Return the id of the experiment in the data root's own store, without loading MLflow; None before it is there."""
    try:
        with closing(sqlite3.connect(f"{(settings.data / 'mlflow.db').as_uri()}?mode=ro", uri=True)) as store:
            found = store.execute("SELECT experiment_id FROM experiments WHERE name = ?", (EXPERIMENT,)).fetchone()
    except sqlite3.Error:  # no store yet, or one that is being made
        return None
    return str(found[0]) if found else None


def _reopened_or_started(settings: Settings, run: OpenRun) -> OpenRun:
    client, experiment = open_client(settings)
    for other in _open_runs(client, experiment, settings):
        same = all(other.data.tags.get(key) == run.tags[key] for key in ("variant", "fold", "replicate"))
        if same and other.info.run_id != run.id:
            _close_killed(client, other)
    if run.id is None or not exists(client, run.id):
        return replace(run, id=create(settings, client, experiment, run))
    client.update_run(run.id, status="RUNNING")
    if "failure" in client.get_run(run.id).data.tags:
        client.delete_tag(run.id, "failure")
    for key, value in this_process().items():
        client.set_tag(run.id, key, value)
    return run


def down(settings: Settings, error: Exception) -> StoreDownError:
    """Return the error that says the store does not answer, why, and how to log what is kept meanwhile."""
    if words := other_schema(settings):
        remedy = f"Copy it, then type: {upgrade(settings)}, and: distracted sync"
        return StoreDownError(f"{words}. {remedy}. Results are kept in {settings.models}.")
    return StoreDownError(
        f"MLflow at {shown(settings.mlflow_uri)} does not answer ({reason(settings, error)}). {_hint(settings)}"
    )


def reason(settings: Settings, error: BaseException) -> str:
    """Return an error's kind and first line, without a password."""
    first = next(iter(str(error).splitlines()), "")[:200]
    return shown(settings.mlflow_uri, f"{type(error).__name__}: {first}" if first else type(error).__name__)


def _hint(settings: Settings) -> str:
    where = "start the server (DISTRACTED_MLFLOW names it)" if settings.mlflow else "check the disk"
    return f"Results are kept in {settings.models}; to log them later, {where}, then type: distracted sync"


def _experiment(settings: Settings, client: "MlflowClient") -> str:
    from mlflow.exceptions import MlflowException

    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is None:
        # A server decides for itself where artifacts go; a database does not know.
        served = settings.mlflow_uri.startswith(("http", "databricks"))
        location = None if served else settings.mlflow_artifacts.as_uri()
        try:
            return client.create_experiment(EXPERIMENT, artifact_location=location)
        except MlflowException:
            experiment = client.get_experiment_by_name(EXPERIMENT)  # another host was faster
            if experiment is None:
                raise
    return str(experiment.experiment_id)


def _open_runs(client: "MlflowClient", experiment: str, settings: Settings) -> list["Run"]:
    running = client.search_runs([experiment], "attributes.status = 'RUNNING'")
    mine = [run for run in running if not settings.mlflow or run.data.tags.get(ROOT) == str(settings.data)]
    return [run for run in mine if PROCESS in run.data.tags]  # of trainings: those of reports belong to no process


def _close_killed(client: "MlflowClient", run: "Run") -> None:
    pid, host = run.data.tags.get("distracted.pid"), run.data.tags.get("distracted.host")
    client.set_tag(run.info.run_id, "failure", f"killed: process {pid} on {host} ended without closing its run")
    client.set_terminated(run.info.run_id, status="KILLED")


class _quiet_migrations:
    """Keeps alembic's hundred lines about a new database out of the log."""

    def __enter__(self) -> None:
        import logging

        self._loggers = [logging.getLogger(name) for name in ("alembic", "mlflow.store.db.utils")]
        self._levels = [logger.level for logger in self._loggers]
        for logger in self._loggers:
            logger.setLevel(logging.WARNING)

    def __exit__(self, *error: object) -> None:
        for logger, level in zip(self._loggers, self._levels, strict=True):
            logger.setLevel(level)
