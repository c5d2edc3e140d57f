"""From a variant and a fold to a checkpoint.

Belongs here: the order of things. The loop is `loop`, files are `checkpoint`, MLflow is `tracking`; what a
checkpoint makes of held-out drivers is `evaluation.predict`.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from distracted_pipeline.devices import resolve_device
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.files import locked, sweep_temporaries
from distracted_pipeline.images.folds import FoldRows, check_disjoint, fold_rows
from distracted_pipeline.images.manifest import labelled, read_manifest
from distracted_pipeline.settings import Settings
from distracted_pipeline.training import mlflow_outbox as unsent
from distracted_pipeline.training import tracking
from distracted_pipeline.training.checkpoint import (
    LAST_GOOD,
    find_meta,
    fingerprints,
    is_trained,
    materialize,
    model_folder,
    read_meta,
    start_folder,
    start_from,
    start_variant,
    write_checkpoint,
    write_weights,
)
from distracted_pipeline.training.figures import confusion_figure
from distracted_pipeline.training.inputs import Rows, load_rows, load_taps
from distracted_pipeline.training.loop import Fit, State, fit, learned_state, load_learned, predict_logits
from distracted_pipeline.training.scores import Scores, score
from distracted_pipeline.training.snapshots import LAST, Interrupted, read_last, write_last
from distracted_pipeline.variants.backbones import load_backbone, why_unsupported
from distracted_pipeline.variants.config import VariantConfig, variant_named
from distracted_pipeline.variants.networks import VariantNet, build_network
from distracted_pipeline.vocabulary import CLASS_IDS

Log = Callable[[str], object]


@dataclass(frozen=True)
class TrainResult:
    """A trained variant.

    Attributes:
        variant: Its name.
        fold: `seed` or `0` ... `4`.
        folder: The checkpoint.
        reused: True where a fitting checkpoint was there already and nothing was trained.
        meta: The checkpoint's `config.json`.
    """

    variant: str
    fold: str
    folder: Path
    reused: bool
    meta: dict[str, Any]


def train_variant(
    settings: Settings,
    variant: str,
    fold: str,
    *,
    device: str = "auto",
    precision: str = "auto",
    batch_size: int = 0,
    dagster_run_id: str = "",
    log: Log = print,
) -> TrainResult:
    """Train a variant of the catalogue on a fold, unless a fitting checkpoint is there.

    A training that was killed goes on after its last finished epoch. A variant that starts from another one's
    checkpoint has that trained first.

    Args:
        settings: Where the data lies.
        variant: Its name.
        fold: `seed` or `0` ... `4`.
        device: `auto`, `cpu`, `cuda`, ...
        precision: As in `devices.autocast_dtype`.
        batch_size: Rows that pass through the network at once, see `loop.fit`; the variant's own is a step's.
        dagster_run_id: Kept with the checkpoint.
        log: Receives progress lines.

    Raises:
        DistractedError: Unknown variant or fold, data that cannot be trained on, a backbone that does not fit the
            variant, or a loss that is no longer finite.
    """
    config = variant_named(settings, variant)
    return train_config(
        settings,
        config,
        fold,
        device=device,
        precision=precision,
        batch_size=batch_size,
        dagster_run_id=dagster_run_id,
        log=log,
    )


def train_config(
    settings: Settings,
    config: VariantConfig,
    fold: str,
    *,
    device: str = "auto",
    precision: str = "auto",
    batch_size: int = 0,
    dagster_run_id: str = "",
    log: Log = print,
) -> TrainResult:
    """Train `config`, which need not be in the catalogue, on a fold; see `train_variant`."""
    folder = model_folder(settings, config.name, fold)
    prints = fingerprints(settings, config, fold)
    with locked(folder / ".lock", what=f"the checkpoint of {config.name}, fold {fold}"):
        found = find_meta(folder)
        if found is not None and found["fingerprint"] == prints["fingerprint"]:
            return TrainResult(config.name, fold, folder, True, found)
        sweep_temporaries(folder)
        meta = _train(settings, config, fold, folder, prints, device, precision, batch_size, dagster_run_id, log)
    return TrainResult(config.name, fold, folder, False, meta)


def class_positions(table: pa.Table) -> np.ndarray:
    """Return the position of every row's class in Kaggle's order, int64 `[N]`."""
    return np.array([CLASS_IDS.index(name) for name in table["classname"].to_pylist()], np.int64)


def _train(
    settings: Settings,
    config: VariantConfig,
    fold: str,
    folder: Path,
    prints: dict[str, str],
    device: str,
    precision: str,
    batch_size: int,
    dagster_run_id: str,
    log: Log,
) -> dict[str, Any]:
    start = time.monotonic()
    reason = why_unsupported(settings, config.kind, config.model_name)
    if reason:
        raise DistractedError(f"variant {config.name}: {reason}")
    table = labelled(read_manifest(settings))
    rows = fold_rows(table, fold)
    check_disjoint(table, rows)
    chosen = resolve_device(device)
    net, inherited, train, validation = _prepare(settings, config, fold, table, rows, device, log)
    net = net.to(chosen)
    trainable, total = net.count()
    net.streamline()
    interrupted = read_last(folder, prints["fingerprint"])
    if interrupted is not None:
        start -= interrupted.seconds
        log(f"{config.name}, fold {fold}: going on after epoch {len(interrupted.snapshot.fit.history)}")
    run = tracking.reopen_or_start(
        settings,
        f"{config.name} fold {fold}",
        {**config.model_dump(mode="json"), "fold": fold, "trainable_parameters": trainable, "total_parameters": total},
        {
            "variant": config.name,
            "fold": fold,
            **{key: value for key, value in prints.items() if value},
            **({"dagster_run_id": dagster_run_id} if dagster_run_id else {}),
        },
        run_id=interrupted.run_id if interrupted else None,
        log=log,
    )
    try:
        result = fit(
            net,
            train,
            validation,
            config,
            chosen,
            log,
            precision=precision,
            batch_size=batch_size,
            resume=interrupted.snapshot if interrupted else None,
            save=lambda snapshot: write_last(
                folder, prints["fingerprint"], Interrupted(snapshot, run.id, time.monotonic() - start)
            ),
        )
        if result.best is None or result.diverged is not None:
            raise _diverged(config, fold, folder, result)
    except BaseException as error:
        tracking.fail_run(settings, run, str(error) or type(error).__name__, log=log)
        raise
    load_learned(net, result.best)
    logits = predict_logits(net, validation, chosen, batch_size).cpu()
    scores = score(logits, validation.labels)
    net.fold()
    meta: dict[str, Any] = {
        **prints,
        "variant": config.name,
        "fold": fold,
        "config": config.model_dump(mode="json"),
        "backbone": None if not config.taps else config.model_name or settings.backbone,
        "trainable_parameters": trainable,
        "total_parameters": total,
        "train_images": len(train),
        "validation_images": len(validation),
        "train_subjects": _subjects(table, rows.train),
        "validation_subjects": _subjects(table, rows.validation),
        "best_epoch": result.best_epoch,
        "validation_loss": scores.loss,
        "validation_accuracy": scores.accuracy,
        "validation_macro_recall": scores.macro_recall,
        "history": [line.as_dict() for line in result.history],
        "device": str(chosen),
        "seconds": time.monotonic() - start,
        "mlflow_run_id": run.id,
        "dagster_run_id": dagster_run_id or None,
    }
    write_checkpoint(folder, {**inherited, **learned_state(net)}, meta)
    title = f"{config.title}, fold {fold}: validation drivers, best epoch {result.best_epoch}"
    unsent.finish_run(
        settings,
        folder,
        run,
        history=meta["history"],
        metrics={
            "best_epoch": result.best_epoch,
            "seconds": meta["seconds"],
            **recalls_by_class("validation_recall", scores),
        },
        figures={
            "confusion_validation.png": confusion_figure(validation.labels.numpy(), logits.argmax(1).numpy(), title)
        },
        log=log,
    )
    log(
        f"{config.name}, fold {fold}: {len(train):,} images, {len(result.history)} epochs, best {result.best_epoch}, "
        f"validation accuracy {scores.accuracy:.3f}, {meta['seconds']:.1f} s"
    )
    return meta


def _prepare(
    settings: Settings, config: VariantConfig, fold: str, table: pa.Table, rows: FoldRows, device: str, log: Log
) -> tuple[VariantNet, State, Rows, Rows]:
    """Return the network where training starts, the frozen weights it has from another checkpoint, and its rows."""
    net = build_network(config, load_backbone(settings, config.model_name) if config.taps else None)
    inherited, new_classifier = _take_start(settings, config, net, fold, table, rows, device, log)
    labels, names = class_positions(table), table["img"].to_pylist()
    train, validation = (
        load_rows(settings, config, net, [names[row] for row in side], labels[side], device=device, log=log)
        for side in (rows.train, rows.validation)
    )
    if config.taps and new_classifier:  # it reads embeddings standardised by the training drivers'
        imgs = [names[row] for row in rows.train]
        pooled = train.raw.get("pooled")
        if pooled is None:
            pooled = load_taps(settings, config, ("pooled",), imgs, device=device, log=log)["pooled"]
        net.standardise.fit(pooled.to(net.standardise.mean.device))
    return net, inherited, train, validation


def _take_start(
    settings: Settings,
    config: VariantConfig,
    net: VariantNet,
    fold: str,
    table: pa.Table,
    rows: FoldRows,
    device: str,
    log: Log,
) -> tuple[State, bool]:
    """Put the weights into `net` that it starts from; return the frozen ones, and whether its classifier is new."""
    if not config.checkpoint:
        return {}, True
    variant = start_variant(settings, config)
    if variant is not None and not is_trained(settings, variant, fold):
        log(f"{config.name} starts from {variant} of the same fold, which is not trained yet: training that first")
        train_variant(settings, variant, fold, device=device, log=log)
    folder = start_folder(settings, config, fold)
    meta = read_meta(folder)
    judged = {*_subjects(table, rows.predict)} - {*_subjects(table, rows.validation)}
    known = sorted(judged & {*meta["train_subjects"], *meta["validation_subjects"]})
    if known:
        raise DistractedError(
            f"variant {config.name}: checkpoint {folder} was trained on driver {known[0]}, whom fold {fold} holds out. "
            f"Train it again, or start from a variant of the catalogue."
        )
    return start_from(net, folder)


def _diverged(config: VariantConfig, fold: str, folder: Path, result: Fit) -> DistractedError:
    kept = "No epoch before it was good."
    (folder / LAST).unlink(missing_ok=True)
    if result.best is not None:
        write_weights(folder / LAST_GOOD, result.best)
        kept = f"The weights of epoch {result.best_epoch} are kept in {folder / LAST_GOOD}."
    return DistractedError(
        f"variant {config.name}, fold {fold}: the loss is not finite in epoch {result.diverged} "
        f"(top_lr {config.top_lr:g}, body_lr {config.body_lr:g}). {kept} Lower the rate in the variant's entry, then: "
        f"{materialize('trained_model', config.name, fold)}"
    )


def recalls_by_class(prefix: str, scores: Scores) -> dict[str, float]:
    """Return recalls by class id; classes that do not occur are left out."""
    pairs = zip(CLASS_IDS, scores.recall, strict=True)
    return {f"{prefix}_{class_id}": recall for class_id, recall in pairs if not math.isnan(recall)}


def _subjects(table: pa.Table, rows: np.ndarray) -> list[str]:
    return sorted(set(table["subject"].take(pa.array(rows)).to_pylist()))
