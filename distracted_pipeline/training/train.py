"""From a variant and a fold to a checkpoint.

Belongs here: the order of things. The loop is `loop`, files are `checkpoint`, MLflow is `tracking`; what a
checkpoint makes of held-out drivers is `evaluation.predict`.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from distracted_pipeline.devices import resolve_device
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.files import locked
from distracted_pipeline.images.folds import FoldRows, check_disjoint, fold_rows
from distracted_pipeline.images.manifest import labelled, read_manifest
from distracted_pipeline.settings import Settings
from distracted_pipeline.training import tracking
from distracted_pipeline.training.checkpoint import (
    CONFIG,
    LAST_GOOD,
    WEIGHTS,
    fingerprints,
    materialize,
    model_folder,
    read_meta,
    start_folder,
    start_from,
    write_checkpoint,
    write_weights,
)
from distracted_pipeline.training.figures import confusion_figure
from distracted_pipeline.training.inputs import Rows, load_rows, load_taps
from distracted_pipeline.training.loop import Fit, Scores, fit, learned_state, load_learned, predict_logits, score
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
    settings: Settings, variant: str, fold: str, *, device: str = "auto", log: Log = print
) -> TrainResult:
    """Train a variant of the catalogue on a fold, unless a fitting checkpoint is there.

    Raises:
        DistractedError: Unknown variant or fold, data that cannot be trained on, a backbone that does not fit the
            variant, or a loss that is no longer finite.
    """
    return train_config(settings, variant_named(settings, variant), fold, device=device, log=log)


def train_config(
    settings: Settings, config: VariantConfig, fold: str, *, device: str = "auto", log: Log = print
) -> TrainResult:
    """Train `config`, which need not be in the catalogue, on a fold; see `train_variant`."""
    folder = model_folder(settings, config.name, fold)
    prints = fingerprints(settings, config, fold)
    with locked(folder / ".lock", what=f"the checkpoint of {config.name}, fold {fold}"):
        if (folder / CONFIG).is_file():
            meta = read_meta(folder)
            if meta["fingerprint"] == prints["fingerprint"]:
                return TrainResult(config.name, fold, folder, True, meta)
        meta = _train(settings, config, fold, folder, prints, device, log)
    return TrainResult(config.name, fold, folder, False, meta)


def class_positions(table: pa.Table) -> np.ndarray:
    """Return the position of every row's class in Kaggle's order, int64 `[N]`."""
    return np.array([CLASS_IDS.index(name) for name in table["classname"].to_pylist()], np.int64)


def _train(
    settings: Settings, config: VariantConfig, fold: str, folder: Path, prints: dict[str, str], device: str, log: Log
) -> dict[str, Any]:
    start = time.monotonic()
    reason = why_unsupported(settings, config.kind, config.model_name)
    if reason:
        raise DistractedError(f"variant {config.name}: {reason}")
    table = labelled(read_manifest(settings))
    rows = fold_rows(table, fold)
    check_disjoint(table, rows)
    chosen = resolve_device(device)
    train, validation = _load_sides(settings, config, table, rows, device, log)
    net = _fresh_network(settings, config, fold, table.take(pa.array(rows.train))["img"].to_pylist(), device, log).to(
        chosen
    )
    trainable, total = net.count()
    run_id = tracking.start_run(
        settings,
        f"{config.name} fold {fold}",
        {**config.model_dump(mode="json"), "fold": fold, "trainable_parameters": trainable, "total_parameters": total},
        {"variant": config.name, "fold": fold, **{key: value for key, value in prints.items() if value}},
    )
    try:
        result = fit(net, train, validation, config, chosen, log)
        if result.best is None or result.diverged is not None:
            raise _diverged(config, fold, folder, result)
    except BaseException as error:
        tracking.fail_run(settings, run_id, str(error) or type(error).__name__)
        raise
    load_learned(net, result.best)
    logits = predict_logits(net, validation, chosen).cpu()
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
        "mlflow_run_id": run_id,
    }
    write_checkpoint(folder, learned_state(net), meta)
    title = f"{config.title}, fold {fold}: validation drivers, best epoch {result.best_epoch}"
    tracking.finish_run(
        settings,
        run_id,
        history=meta["history"],
        metrics={
            "best_epoch": result.best_epoch,
            "seconds": meta["seconds"],
            **recalls_by_class("validation_recall", scores),
        },
        figures={
            "confusion_validation.png": confusion_figure(validation.labels.numpy(), logits.argmax(1).numpy(), title)
        },
        artifacts=[folder / CONFIG, folder / WEIGHTS],
    )
    log(
        f"{config.name}, fold {fold}: {len(train):,} images, {len(result.history)} epochs, best {result.best_epoch}, "
        f"validation accuracy {scores.accuracy:.3f}, {meta['seconds']:.1f} s"
    )
    return meta


def _load_sides(
    settings: Settings, config: VariantConfig, table: pa.Table, rows: FoldRows, device: str, log: Log
) -> tuple[Rows, Rows]:
    labels, names = class_positions(table), table["img"].to_pylist()
    return tuple(  # type: ignore[return-value]
        load_rows(settings, config, [names[row] for row in side], labels[side], device=device, log=log)
        for side in (rows.train, rows.validation)
    )


def _fresh_network(
    settings: Settings, config: VariantConfig, fold: str, imgs: Sequence[str], device: str, log: Log
) -> VariantNet:
    """Return the network where training starts: standardised by the training drivers' pooled embeddings."""
    backbone = load_backbone(settings, config.model_name) if config.taps else None
    net = build_network(config, backbone)
    if config.checkpoint:
        start_from(net, start_folder(settings, config, fold))
    elif config.taps:
        pooled = load_taps(settings, config, ("pooled",), imgs, device=device, log=log)["pooled"]
        net.standardise.fit(pooled)
    return net


def _diverged(config: VariantConfig, fold: str, folder: Path, result: Fit) -> DistractedError:
    kept = "No epoch before it was good."
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
