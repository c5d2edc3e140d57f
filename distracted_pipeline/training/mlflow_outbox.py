"""Results of a training on their way to MLflow: written beside the checkpoint, sent, and only then removed.

`models/<variant>/<fold>/<replicate>/mlflow_unsent/` holds `run.json` and the figures until the store has them, whether
the store did not answer or the process was killed in between; `distracted sync` sends what lies there. The store is
`tracking`'s.
"""

import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.files import atomic_path, locked, read_json, write_json
from distracted_pipeline.progress import Log
from distracted_pipeline.settings import Settings
from distracted_pipeline.standing import require_standing
from distracted_pipeline.training import tracking
from distracted_pipeline.training.checkpoint import CONFIG, WEIGHTS, find_meta
from distracted_pipeline.training.provenance import this_process
from distracted_pipeline.training.tracking import OpenRun
from distracted_pipeline.training.variant_run import recipe_of, root_tags
from distracted_pipeline.variants.config import VariantConfig

if TYPE_CHECKING:
    from mlflow import MlflowClient

FOLDER = "mlflow_unsent"
RECORD = "run.json"


def finish_run(
    settings: Settings,
    folder: Path,
    run: OpenRun,
    *,
    history: list[dict[str, Any]],
    metrics: Mapping[str, float],
    figures: Mapping[str, str],
    log: Log = print,
) -> None:
    """Log the results of a training and close its run, now or with the next `sync`; no store ever makes it fail.

    Args:
        settings: Gives the store.
        folder: The checkpoint, whose fold's lock is held; its files become artifacts.
        run: From `tracking.reopen_or_start`.
        history: One entry per epoch; every number but `epoch` becomes a metric at that step.
        metrics: Final numbers, logged at the last epoch.
        figures: SVG documents by file name.
        log: Hears what did not work.
    """
    discard(folder)  # left by a training that this one replaces
    steps = [[key, value, line["epoch"]] for line in history for key, value in line.items() if key != "epoch"]
    last = history[-1]["epoch"] if history else 0
    for name, figure in figures.items():
        with atomic_path(folder / FOLDER / name) as temporary:
            temporary.write_text(figure, encoding="utf-8")
    record = {
        "run_id": run.id,
        "name": run.name,
        "params": run.params,
        "recipe": run.recipe,
        "tags": run.tags,
        "started": run.started,
        "ended": int(time.time() * 1000),
        "metrics": [*steps, *([key, value, last] for key, value in metrics.items())],
    }
    write_json(folder / FOLDER / RECORD, record)
    _try_to_send(settings, folder, log)


def add_metrics(
    settings: Settings, folder: Path, run_id: str | None, metrics: Mapping[str, float], *, log: Log = print
) -> None:
    """Add numbers to the finished run of a checkpoint, now or with the next `sync`."""
    values = [[key, float(value), 0] for key, value in metrics.items()]
    with locked(_lock(settings, folder), what=f"the checkpoint in {folder}"):
        path = folder / FOLDER / RECORD
        record = read_json(path) or {"run_id": run_id, "metrics": []}
        names = {key for key, _, _ in values}
        record["metrics"] = [line for line in record["metrics"] if line[0] not in names] + values
        write_json(path, record)
        _try_to_send(settings, folder, log)


def discard(folder: Path) -> None:
    """Forget what is unsent of a checkpoint."""
    shutil.rmtree(folder / FOLDER, ignore_errors=True)


def unsent_folders(settings: Settings) -> list[Path]:
    """Return the checkpoints whose run, or some of it, the store does not have yet."""
    return sorted(path.parents[1] for path in settings.models.glob(f"**/{FOLDER}/{RECORD}"))


def sync(settings: Settings, *, every: bool = False, log: Log = print) -> int:
    """Send everything that the store lacks, after closing runs of killed trainings; return how many were sent.

    Args:
        settings: Gives the store.
        every: Also ask for the run of every checkpoint, and write those anew that a lost store has taken along.
        log: Hears what did not work.

    Raises:
        DistractedError: The store does not answer.
    """
    tracking.ask_again(settings)
    closed = tracking.close_orphans(settings, log=log)
    if every or closed:
        _write_lost(settings, None if every else closed)
    sent = 0
    for folder in unsent_folders(settings):
        try:
            with locked(_lock(settings, folder), what=f"the checkpoint in {folder}", timeout=0):
                if (folder / FOLDER / RECORD).is_file():
                    _send(settings, folder, log)
                    sent += 1
        except tracking.StoreDownError:
            raise
        except DistractedError as error:  # it is being trained: that training sends its own result
            log(str(error))
    return sent


def _write_lost(settings: Settings, only: set[str] | None) -> None:
    """Write a record of each checkpoint whose run the store does not have, from what the checkpoint says of itself.

    So it is where the store was lost, and where no record could be written: the disk was full, or the process killed.
    Figures, and numbers on the held-out drivers, are not in it: those are in the report and in the predictions.

    Args:
        settings: Gives the store.
        only: Looks at the checkpoints of these runs alone; None is all.
    """
    client, _ = tracking.open_client(settings)
    for path in sorted(settings.models.glob(f"*/*/*/{CONFIG}")):
        folder, meta = path.parent, find_meta(path.parent)
        if meta is None or (folder / FOLDER / RECORD).is_file():
            continue
        run_id = meta["mlflow_run_id"]
        if (only is not None and run_id not in only) or (run_id is not None and tracking.is_finished(client, run_id)):
            continue
        steps = [[key, value, line["epoch"]] for line in meta["history"] for key, value in line.items()]
        ended = int(path.stat().st_mtime * 1000)
        prints = (key for key in meta if key.endswith("fingerprint"))
        tagged = ("variant", "fold", "replicate", "dagster_run_id", *prints)
        record = {
            "run_id": run_id if run_id is not None and tracking.exists(client, run_id) else None,
            "name": f"{meta['variant']} fold {meta['fold']} training {meta['replicate'] + 1}",
            "params": {key: str(meta[key]) for key in ("fold", "replicate")},
            "recipe": _recipe(settings, meta),
            "tags": {
                **root_tags(settings),
                **this_process(),
                **{key: str(meta[key]) for key in tagged if meta.get(key) not in (None, "")},
            },
            "started": ended - int(1000 * meta["seconds"]),
            "ended": ended,
            "metrics": [
                *(step for step in steps if step[0] != "epoch"),
                *([key, meta[key], meta["best_epoch"]] for key in ("best_epoch", "seconds", "validation_accuracy")),
            ],
        }
        write_json(folder / FOLDER / RECORD, record)


def _recipe(settings: Settings, meta: dict[str, Any]) -> dict[str, str]:
    counts = (meta["trainable_parameters"], meta["total_parameters"])
    return recipe_of(settings, VariantConfig.model_validate(meta["config"]), counts)


def settle(settings: Settings, *, log: Log = print) -> None:
    """Do what `sync` does, but only log that a store does not answer: the work to come does not need it."""
    try:
        sync(settings, log=log)
    except tracking.StoreDownError as error:
        log(str(error))


def _lock(settings: Settings, folder: Path) -> Path:
    """Return the lock that a checkpoint's training holds: that of its fold."""
    return settings.models.joinpath(*folder.relative_to(settings.models).parts[:2]) / ".lock"


def _try_to_send(settings: Settings, folder: Path, log: Log) -> None:
    try:
        _send(settings, folder, log)
    except Exception as error:  # whatever the store does: the record is on disk, and the checkpoint is what counts
        require_standing(settings.data)
        if not isinstance(error, tracking.StoreDownError):
            tracking.pause(settings)
        why = tracking.reason(settings, error.__cause__ or error)
        log(f"MLflow lacks this result ({why}): it is kept in {folder / FOLDER}; log it later with: distracted sync")


def _send(settings: Settings, folder: Path, log: Log) -> None:
    record = read_json(folder / FOLDER / RECORD)
    if record is None:
        log(f"{folder / FOLDER} was damaged and is removed; the checkpoint is whole")
        shutil.rmtree(folder / FOLDER)
        return
    client, experiment = tracking.open_client(settings)
    run_id = record["run_id"]
    complete = "name" in record  # else only numbers of a run that was complete
    metrics = [(grouped(key), value, step) for key, value, step in record["metrics"]]
    if run_id is None or not _logged(client, run_id, metrics):
        if not complete:
            log(f"MLflow no longer has the run of {folder}: its numbers are in the checkpoint and the predictions")
            shutil.rmtree(folder / FOLDER)
            return
        run = OpenRun(
            None, record["name"], record["params"], record["tags"], record["started"], record.get("recipe", {})
        )
        run_id = tracking.create(settings, client, experiment, run)
        write_json(folder / FOLDER / RECORD, {**record, "run_id": run_id})
        tracking.log_metrics(client, run_id, metrics)
    if complete:
        _name_run(folder, run_id)
        figures = [
            path for kind in ("svg", "png") for path in (folder / FOLDER).glob(f"*.{kind}")
        ]  # png: older versions
        for path in [*figures, folder / CONFIG, folder / WEIGHTS]:
            client.log_artifact(run_id, str(path))
        client.set_terminated(run_id, status="FINISHED", end_time=record["ended"])
    shutil.rmtree(folder / FOLDER)


def _logged(client: "MlflowClient", run_id: str, metrics: list[tuple[str, float, int]]) -> bool:
    """Log metrics to a run; False if the store no longer has it, which only a failure makes worth asking."""
    from mlflow.exceptions import MlflowException

    try:
        tracking.log_metrics(client, run_id, metrics)
    except MlflowException:
        if tracking.exists(client, run_id):
            raise
        return False
    return True


def grouped(name: str) -> str:
    """Return a metric's name with a slash, by which MLflow groups its charts: `loss/train`, `recall_held_out/c0`."""
    for split in ("train", "validation", "held_out"):
        what = name.removeprefix(f"{split}_")
        if what != name:
            kind, _, class_id = what.partition("recall_")
            return f"{what}/{split}" if kind or not class_id else f"recall_{split}/{class_id}"
    return name


def _name_run(folder: Path, run_id: str) -> None:
    """Write the run's id into a checkpoint that lacks it, keeping the time of change: the model is the same."""
    path = folder / CONFIG
    meta = read_json(path)
    if meta is None or meta.get("mlflow_run_id") == run_id:  # a damaged one is written anew by the next training
        return
    before = path.stat()
    write_json(path, {**meta, "mlflow_run_id": run_id})
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
