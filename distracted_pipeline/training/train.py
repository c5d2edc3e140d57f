"""From a variant and a fold to a checkpoint.

Belongs here: the order of things. The loop is `loop`, files are `checkpoint`, MLflow is `tracking`; what a
checkpoint makes of held-out drivers is `evaluation.predict`.
"""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from distracted_pipeline.advice import materialize_fold
from distracted_pipeline.devices import resolve_device
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.figures.matrices import confusion as confusion_figure
from distracted_pipeline.figures.svg import standalone
from distracted_pipeline.files import locked, sweep_temporaries
from distracted_pipeline.images.folds import FoldRows, check_disjoint, fold_rows
from distracted_pipeline.images.manifest import class_positions, labelled, read_manifest
from distracted_pipeline.options import RunOptions
from distracted_pipeline.settings import Settings
from distracted_pipeline.training import mlflow_outbox, tracking
from distracted_pipeline.training.checkpoint import (
    LAST_GOOD,
    find_meta,
    fingerprints,
    is_trained,
    model_folder,
    read_meta,
    start_folder,
    start_from,
    start_variant,
    write_checkpoint,
    write_weights,
)
from distracted_pipeline.training.inputs import Rows, load_rows, load_taps
from distracted_pipeline.training.loop import Fit, Snapshot, State, fit, learned_state, load_learned, predict_logits
from distracted_pipeline.training.scores import confusion, recalls_by_class, score
from distracted_pipeline.training.snapshots import LAST, Interrupted, read_last, write_last
from distracted_pipeline.variants.backbones import load_backbone, why_unsupported
from distracted_pipeline.variants.config import VariantConfig, variant_named
from distracted_pipeline.variants.networks import VariantNet, build_network


@dataclass(frozen=True)
class TrainResult:
    """A trained variant.

    Attributes:
        variant: Its name.
        fold: One of `scopes.FOLDS`.
        folder: The checkpoint.
        reused: True where a fitting checkpoint was there already and nothing was trained.
        meta: The checkpoint's `config.json`.
    """

    variant: str
    fold: str
    folder: Path
    reused: bool
    meta: dict[str, Any]


@dataclass(frozen=True)
class _Job:
    """One training that has to be done: of what, on which rows, into which folder. The folder's lock is held.

    Attributes:
        settings: Where the data lies.
        config: The variant.
        folder: The checkpoint's.
        prints: What the checkpoint depends on, from `checkpoint.fingerprints`.
        table: The labelled images.
        rows: Which of them train, choose the epoch, and are held out.
        options: How to run, the device named.
    """

    settings: Settings
    config: VariantConfig
    folder: Path
    prints: dict[str, str]
    table: pa.Table
    rows: FoldRows
    options: RunOptions

    @property
    def words(self) -> str:
        """Return variant and fold as log lines say them."""
        return f"{self.config.name}, fold {self.rows.fold}"

    def imgs(self, rows: np.ndarray) -> list[str]:
        """Return the names of the images in some rows."""
        return list(self.table["img"].take(pa.array(rows)).to_pylist())

    def subjects(self, rows: np.ndarray) -> list[str]:
        """Return the drivers in some rows."""
        return sorted(set(self.table["subject"].take(pa.array(rows)).to_pylist()))


def train_variant(
    settings: Settings, variant: str, fold: str, options: RunOptions = RunOptions(), *, dagster_run_id: str = ""
) -> TrainResult:
    """Train a variant of the catalogue on a fold, unless a fitting checkpoint is there.

    A training that was killed goes on after its last finished epoch. If the variant starts from another one's
    checkpoint, that one is trained first.

    Args:
        settings: Where the data lies.
        variant: Its name.
        fold: One of `scopes.FOLDS`.
        options: How to run. Its batch size is what passes through the network at once (see `loop.fit`); how many
            rows make a step is the variant's own.
        dagster_run_id: Kept with the checkpoint.

    Raises:
        DistractedError: Unknown variant or fold, data that cannot be trained on, a backbone that does not fit the
            variant, or a loss that is no longer finite.
    """
    return train_config(settings, variant_named(settings, variant), fold, options, dagster_run_id=dagster_run_id)


def train_config(
    settings: Settings,
    config: VariantConfig,
    fold: str,
    options: RunOptions = RunOptions(),
    *,
    dagster_run_id: str = "",
) -> TrainResult:
    """Train `config`, which need not be in the catalogue, on a fold; see `train_variant`."""
    folder = model_folder(settings, config.name, fold)
    prints = fingerprints(settings, config, fold)
    with locked(folder / ".lock", what=f"the checkpoint of {config.name}, fold {fold}"):
        found = find_meta(folder)
        if found is not None and found["fingerprint"] == prints["fingerprint"]:
            return TrainResult(config.name, fold, folder, True, found)
        sweep_temporaries(folder)
        reason = why_unsupported(settings, config)
        if reason:
            raise DistractedError(f"variant {config.name}: {reason}")
        table = labelled(read_manifest(settings))
        rows = fold_rows(table, fold)
        check_disjoint(table, rows)
        options = replace(options, device=str(resolve_device(options.device_name())))  # claimed now, and once
        meta = _train(_Job(settings, config, folder, prints, table, rows, options), dagster_run_id)
    return TrainResult(config.name, fold, folder, False, meta)


def _train(job: _Job, dagster_run_id: str) -> dict[str, Any]:
    """Do a training and return the checkpoint's `config.json`."""
    start = time.monotonic()
    settings, config, fold, log = job.settings, job.config, job.rows.fold, job.options.log
    class_ids = settings.dataset.class_ids
    net, inherited, train, validation = _prepare(job)
    trainable, total = net.count()
    net.streamline()
    interrupted = read_last(job.folder, job.prints["fingerprint"])
    if interrupted is not None:
        start -= interrupted.seconds
        log(f"{job.words}: going on after epoch {len(interrupted.snapshot.fit.history)}")
    run = tracking.reopen_or_start(
        settings,
        f"{config.name} fold {fold}",
        {**config.model_dump(mode="json"), "fold": fold, "trainable_parameters": trainable, "total_parameters": total},
        {
            "variant": config.name,
            "fold": fold,
            **{key: value for key, value in job.prints.items() if value},
            **({"dagster_run_id": dagster_run_id} if dagster_run_id else {}),
        },
        run_id=interrupted.run_id if interrupted else None,
        log=log,
    )
    result, best = _fit(job, net, train, validation, interrupted, run, start)
    load_learned(net, best)
    logits = predict_logits(net, validation, net.classifier.weight.device, job.options.batch_size).cpu()
    scores = score(logits, validation.labels)
    net.fold()
    meta: dict[str, Any] = {
        **job.prints,
        "variant": config.name,
        "fold": fold,
        "classes": list(class_ids),
        "config": config.model_dump(mode="json"),
        "backbone": None if not config.taps else config.model_name or settings.backbone,
        "trainable_parameters": trainable,
        "total_parameters": total,
        "train_images": len(train),
        "validation_images": len(validation),
        "train_subjects": job.subjects(job.rows.train),
        "validation_subjects": job.subjects(job.rows.validation),
        "best_epoch": result.best_epoch,
        "validation_loss": scores.loss,
        "validation_accuracy": scores.accuracy,
        "validation_macro_recall": scores.macro_recall,
        "history": [line.as_dict() for line in result.history],
        "device": job.options.device,
        "seconds": time.monotonic() - start,
        "mlflow_run_id": run.id,
        "dagster_run_id": dagster_run_id or None,
    }
    write_checkpoint(job.folder, {**inherited, **learned_state(net)}, meta)
    counts = confusion(logits, validation.labels).numpy()
    labels = [settings.dataset.class_label(k) for k in range(len(class_ids))]
    title = f"{config.title}, fold {fold}: validation drivers, best epoch {result.best_epoch}"
    mlflow_outbox.finish_run(
        settings,
        job.folder,
        run,
        history=meta["history"],
        metrics={
            "best_epoch": result.best_epoch,
            "seconds": meta["seconds"],
            **recalls_by_class("validation_recall", scores, class_ids),
        },
        figures={"confusion_validation.svg": standalone(confusion_figure(counts, labels, title=title))},
        log=log,
    )
    log(
        f"{job.words}: {len(train):,} images, {len(result.history)} epochs, best {result.best_epoch}, "
        f"validation accuracy {scores.accuracy:.3f}, {meta['seconds']:.1f} s"
    )
    return meta


def _fit(
    job: _Job,
    net: VariantNet,
    train: Rows,
    validation: Rows,
    interrupted: Interrupted | None,
    run: tracking.OpenRun,
    start: float,
) -> tuple[Fit, State]:
    """Fit the network, with a snapshot after every epoch; return the outcome and the best weights.

    An error closes the MLflow run as failed before it goes on.
    """

    def save(snapshot: Snapshot) -> None:
        write_last(job.folder, job.prints["fingerprint"], Interrupted(snapshot, run.id, time.monotonic() - start))

    try:
        resume = interrupted.snapshot if interrupted else None
        result = fit(net, train, validation, job.config, job.options, resume=resume, save=save)
        if result.best is None or result.diverged is not None:
            raise _diverged(job, result)
    except BaseException as error:
        tracking.fail_run(job.settings, run, str(error) or type(error).__name__, log=job.options.log)
        raise
    return result, result.best


def _prepare(job: _Job) -> tuple[VariantNet, State, Rows, Rows]:
    """Return the network where training starts, the frozen weights it has from another checkpoint, and its rows."""
    settings, config = job.settings, job.config
    backbone = load_backbone(settings, config.model_name) if config.taps else None
    net = build_network(config, backbone, settings.dataset)
    inherited, new_classifier = _take_start(job, net)
    labels = class_positions(job.table, settings.dataset)
    train, validation = (
        load_rows(settings, config, net, job.imgs(side), labels[side], job.options)
        for side in (job.rows.train, job.rows.validation)
    )
    if config.taps and new_classifier:  # it reads embeddings, standardised by the training drivers'
        pooled = train.raw.get("pooled")
        if pooled is None:
            pooled = load_taps(settings, config, ("pooled",), job.imgs(job.rows.train), job.options)["pooled"]
        net.standardise.fit(pooled.to(net.standardise.mean.device))
    return net.to(job.options.device_name()), inherited, train, validation


def _take_start(job: _Job, net: VariantNet) -> tuple[State, bool]:
    """Put the weights into `net` that it starts from; return the frozen ones, and whether its classifier is new."""
    settings, config, fold = job.settings, job.config, job.rows.fold
    if not config.checkpoint:
        return {}, True
    variant = start_variant(settings, config)
    if variant is not None and not is_trained(settings, variant, fold):
        job.options.log(
            f"{config.name} starts from {variant} of the same fold, which is not trained yet: training that first"
        )
        train_variant(settings, variant, fold, job.options)
    folder = start_folder(settings, config, fold)
    meta = read_meta(folder)
    judged = {*job.subjects(job.rows.predict)} - {*job.subjects(job.rows.validation)}
    known = sorted(judged & {*meta["train_subjects"], *meta["validation_subjects"]})
    if known:
        raise DistractedError(
            f"variant {config.name}: checkpoint {folder} was trained on driver {known[0]}, whom fold {fold} holds out. "
            "Train it again, or start from a variant of the catalogue."
        )
    return start_from(net, folder, same_classes=tuple(meta["classes"]) == settings.dataset.class_ids)


def _diverged(job: _Job, result: Fit) -> DistractedError:
    config, folder = job.config, job.folder
    kept = "No epoch before it was good."
    (folder / LAST).unlink(missing_ok=True)
    if result.best is not None:
        write_weights(folder / LAST_GOOD, result.best)
        kept = f"The weights of epoch {result.best_epoch} are kept in {folder / LAST_GOOD}."
    return DistractedError(
        f"variant {config.name}, fold {job.rows.fold}: the loss is not finite in epoch {result.diverged} "
        f"(top_lr {config.top_lr:g}, body_lr {config.body_lr:g}). {kept} Lower the rate in the variant's entry, then: "
        f"{materialize_fold('trained_model', config.name, job.rows.fold)}"
    )
