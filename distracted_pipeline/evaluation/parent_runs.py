"""One MLflow run per variant, over those of its trainings: what the tables say of it, beside other variants.

Belongs here: what such a run holds. It is written once, where the tables are made; a training's own run is
`training.tracking`'s, and its numbers `training.mlflow_outbox`'s.
"""

import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from distracted_pipeline.dataset import Dataset
from distracted_pipeline.evaluation.confusion import averaged
from distracted_pipeline.evaluation.predictions import images_fingerprint
from distracted_pipeline.evaluation.tables import ClassAccuracy, main_scope, rows_of, verdict_sentence
from distracted_pipeline.figures.matrices import confusion as confusion_figure
from distracted_pipeline.figures.svg import standalone
from distracted_pipeline.progress import Log
from distracted_pipeline.scopes import SCOPES
from distracted_pipeline.settings import Settings
from distracted_pipeline.standing import require_standing
from distracted_pipeline.training import tracking
from distracted_pipeline.training.variant_run import EARLIER, PARENT, ROLE, VARIANT, of_this_root, root_tags

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

CONFUSION = "confusion_held_out.svg"

_METRICS = {
    "recall": "recall", "recall_low": "recall_low", "recall_high": "recall_high", "precision": "precision", "f1": "f1",
    "delta_recall": "delta", "delta_low": "delta_low", "delta_high": "delta_high", "p_holm": "p",
}  # fmt: skip
"""Column of the class-wise table -> group of charts; the class follows after a slash."""


def write_parent_runs(settings: Settings, result: ClassAccuracy, *, log: Log = print) -> dict[str, str]:
    """Write one run for each variant of the tables, nest its trainings' runs below, and return their ids by variant.

    A variant that has a run keeps it; its numbers are replaced. Where the store does not answer, that is logged, and
    the next tables do it.
    """
    try:
        client, experiment = tracking.open_client(settings)
        runs = _runs(client, experiment, settings)
        found = {}
        for variant in rows_of(result.variants, main_scope(result.variants)):
            found[variant["variant"]] = _write(settings, client, experiment, result, variant, runs)
    except Exception as error:  # a server, its proxy, a database and a disk fail in ways of their own
        require_standing(settings.data)
        known = isinstance(error, tracking.StoreDownError)
        log(f"{error if known else tracking.down(settings, error)} The tables are written all the same.")
        return {}
    return found


def find_parents(settings: Settings, client: "MlflowClient", experiment: str) -> dict[str, str]:
    """Return the ids of the runs that `write_parent_runs` has written, by variant."""
    where = [f"tags.`{ROLE}` = '{VARIANT}'", *of_this_root(settings)]
    return {run.data.tags["variant"]: run.info.run_id for run in client.search_runs([experiment], " and ".join(where))}


def metrics_of(dataset: Dataset, result: ClassAccuracy, variant: dict[str, Any]) -> dict[str, float]:
    """Return a variant's numbers by name: `recall/c0`, `delta/c0`, `delta_low/c0` …, and those over all classes."""
    scope = main_scope(result.variants)
    overall = {"macro_recall": variant["macro_recall"], "log_loss": variant["log_loss"]}
    by_class = {
        f"{group}/{dataset.class_ids[row['class_id']]}": row[column]
        for row in rows_of(result.classes, scope, variant["variant"])
        for column, group in _METRICS.items()
    }
    numbers = {**overall, **by_class}
    return {name: float(value) for name, value in numbers.items() if value is not None and math.isfinite(value)}


def tags_of(dataset: Dataset, result: ClassAccuracy, variant: str) -> dict[str, str]:
    """Return a variant's verdicts by class, what it is compared with, and all of it in a sentence."""
    scope = main_scope(result.variants)
    rows = rows_of(result.classes, scope, variant)
    verdicts = {f"verdict.{dataset.class_ids[row['class_id']]}": row["verdict"] for row in rows}
    reference = next((row["baseline"] for row in rows if row["baseline"] != variant), "")
    sentence = verdict_sentence(result.classes, variant, scope)
    note = (
        f"**{variant}**{f', compared with {reference}' if reference else ''}: {sentence}. "
        f"Means over trainings, on {SCOPES[scope].words}; intervals and p are for other drivers and other trainings. "
        "Its trainings, one for each fold and replicate, are the runs below."
    )
    return {
        ROLE: VARIANT,
        "variant": variant,
        "scope": scope,
        "reference": reference,
        **verdicts,
        tracking.NOTE: note,
    }


def _runs(client: "MlflowClient", experiment: str, settings: Settings) -> list["Run"]:
    """Return all runs of this data root, in one search, the latest first."""
    from mlflow.store.tracking import SEARCH_MAX_RESULTS_THRESHOLD

    where = " and ".join(of_this_root(settings))
    return list(client.search_runs([experiment], where, max_results=SEARCH_MAX_RESULTS_THRESHOLD))


def _of_variant(runs: list["Run"], variant: str) -> tuple[list["Run"], list["Run"], "Run | None"]:
    """Return a variant's own runs, those of its trainings, and which of the former is above the latest training."""
    mine = [run for run in runs if run.data.tags.get("variant") == variant]
    own = [run for run in mine if ROLE in run.data.tags]
    trainings = [run for run in mine if ROLE not in run.data.tags]
    above = trainings[0].data.tags.get(PARENT) if trainings else None
    there = next((run for run in own if run.info.run_id == above), own[0] if own else None)
    return own, trainings, there


def _write(
    settings: Settings,
    client: "MlflowClient",
    experiment: str,
    result: ClassAccuracy,
    variant: dict[str, Any],
    runs: list["Run"],
) -> str:
    from mlflow.entities import Metric, RunTag

    name, dataset = variant["variant"], settings.dataset
    own, trainings, there = _of_variant(runs, name)
    tags = tags_of(dataset, result, name) | root_tags(settings)
    run_id = there.info.run_id if there else client.create_run(experiment, run_name=name, tags=tags).info.run_id
    if there is None or there.inputs is None or not there.inputs.dataset_inputs:
        _log_datasets(settings, client, run_id, result)
    now = int(time.time() * 1000)
    metrics = [Metric(key, value, now, 0) for key, value in metrics_of(dataset, result, variant).items()]
    changed = [RunTag(key, value) for key, value in tags.items()] if there else []
    client.log_batch(run_id, metrics=metrics, tags=changed)
    counts = averaged(result.confusion.trainings(name, main_scope(result.variants)))
    labels = [dataset.class_label(k) for k in range(len(dataset.class_ids))]
    whole = np.nan_to_num(counts).sum(0)
    figure = confusion_figure(whole, labels, title=f"{name}: {SCOPES[main_scope(result.variants)].words}")
    client.log_text(run_id, standalone(figure), CONFUSION)
    for run in trainings:
        if run.data.tags.get(PARENT) not in {one.info.run_id for one in own}:
            client.set_tag(run.info.run_id, PARENT, run_id)
    for run in own:
        if run.info.run_id != run_id and run.data.tags[ROLE] == VARIANT:
            client.set_tag(run.info.run_id, ROLE, EARLIER)
    ended = [run.info.end_time for run in trainings if run.info.end_time and run.data.tags.get(PARENT) == run_id]
    client.set_terminated(run_id, end_time=max(ended, default=None))  # its duration is that of its trainings
    return str(run_id)


def _log_datasets(settings: Settings, client: "MlflowClient", run_id: str, result: ClassAccuracy) -> None:
    """Note the data set and its digest, once for each fold whose held-out drivers are counted."""
    from mlflow.entities import Dataset as Logged
    from mlflow.entities import DatasetInput, InputTag

    digest, name = images_fingerprint(settings), settings.dataset.name
    shown = f"Drawings in the layout of {name}" if settings.synthetic else name
    folds = SCOPES[main_scope(result.variants)].folds
    inputs = [
        DatasetInput(
            Logged(f"{shown}, fold {fold}", digest, "local", "{}"),
            [InputTag("mlflow.data.context", "evaluation"), InputTag("fold", fold)],
        )
        for fold in folds
    ]
    client.log_inputs(run_id, datasets=inputs)
