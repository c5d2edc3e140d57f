"""MLflow: one run per variant and fold, in a SQLite store inside the data root.

Belongs here: everything that talks to MLflow. It is imported when first used (it costs seconds), through its
client rather than its global state. `cd <data root> && mlflow ui` shows the runs.
"""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distracted_pipeline.files import locked
from distracted_pipeline.settings import Settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from mlflow import MlflowClient

EXPERIMENT = "distracted"


def open_client(settings: Settings) -> tuple["MlflowClient", str]:
    """Return a client of the data root's store and the id of its experiment.

    The store is created under a file lock: several processes on a fresh database break its migration.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    with _quiet_migrations():
        from mlflow import MlflowClient

        with locked(settings.data / "mlflow.lock", what="the MLflow store"):
            client = MlflowClient(tracking_uri=settings.mlflow_uri)
            experiment = client.get_experiment_by_name(EXPERIMENT)
            if experiment is not None:
                return client, experiment.experiment_id
            location = settings.mlflow_artifacts.as_uri()
            return client, client.create_experiment(EXPERIMENT, artifact_location=location)


def start_run(settings: Settings, name: str, params: Mapping[str, Any], tags: Mapping[str, str]) -> str:
    """Open a run and return its id."""
    from mlflow.entities import Param

    client, experiment = open_client(settings)
    run = client.create_run(experiment, run_name=name, tags=dict(tags))
    client.log_batch(run.info.run_id, params=[Param(key, str(value)) for key, value in params.items()])
    return run.info.run_id


def finish_run(
    settings: Settings,
    run_id: str,
    *,
    history: list[dict[str, Any]],
    metrics: Mapping[str, float],
    figures: Mapping[str, "Figure"],
    artifacts: list[Path],
) -> None:
    """Log what a training brought and close its run.

    Args:
        settings: Gives the store.
        run_id: From `start_run`.
        history: One entry per epoch; every number but `epoch` becomes a metric at that step.
        metrics: Final numbers, logged at the last epoch.
        figures: By file name.
        artifacts: Files to copy.
    """
    client, _ = open_client(settings)
    steps = [(key, value, line["epoch"]) for line in history for key, value in line.items() if key != "epoch"]
    last = history[-1]["epoch"] if history else 0
    _log_metrics(client, run_id, [*steps, *((key, value, last) for key, value in metrics.items())])
    for name, figure in figures.items():
        client.log_figure(run_id, figure, name)
    for path in artifacts:
        client.log_artifact(run_id, str(path))
    client.set_terminated(run_id)


def fail_run(settings: Settings, run_id: str, why: str) -> None:
    """Close a run as failed, with the reason as a tag."""
    client, _ = open_client(settings)
    client.set_tag(run_id, "failure", why[:500])
    client.set_terminated(run_id, status="FAILED")


def add_metrics(settings: Settings, run_id: str, metrics: Mapping[str, float]) -> bool:
    """Add numbers to a finished run; False where the store no longer has it."""
    from mlflow.exceptions import MlflowException

    client, _ = open_client(settings)
    try:
        client.get_run(run_id)
    except MlflowException:
        return False
    _log_metrics(client, run_id, [(key, value, 0) for key, value in metrics.items()])
    return True


def _log_metrics(client: "MlflowClient", run_id: str, values: list[tuple[str, float, int]]) -> None:
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    metrics = [Metric(key, float(value), now, step) for key, value, step in values]
    for first in range(0, len(metrics), 1000):  # MLflow's limit of one request
        client.log_batch(run_id, metrics=metrics[first : first + 1000])


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
