"""From a checkpoint to the probabilities of every image of the drivers that its fold holds out.

Belongs here: predicting and judging what was predicted. The files are `predictions`, the networks `training`'s.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from torch.nn import functional

from distracted_pipeline.devices import resolve_device
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.evaluation.predictions import PROBABILITIES, predictions_path, write_predictions
from distracted_pipeline.images.folds import fold_rows
from distracted_pipeline.images.manifest import labelled, read_manifest
from distracted_pipeline.settings import Settings
from distracted_pipeline.training import mlflow_outbox as unsent
from distracted_pipeline.training.checkpoint import (
    CONFIG,
    fingerprints,
    load_trained,
    materialize,
    model_folder,
    read_meta,
)
from distracted_pipeline.training.checks import Check
from distracted_pipeline.training.inputs import load_rows
from distracted_pipeline.training.loop import predict_logits
from distracted_pipeline.training.scores import score
from distracted_pipeline.training.train import class_positions, recalls_by_class
from distracted_pipeline.variants.config import VariantConfig


def predict_fold(
    settings: Settings,
    variant: str,
    fold: str,
    *,
    device: str = "auto",
    batch_size: int = 0,
    log: Callable[[str], object] = print,
) -> Path:
    """Write the probabilities of every held-out image of a fold, unless the checkpoint's are there; return the file.

    `batch_size` images pass through the network at once; 0 chooses.

    Raises:
        DistractedError: The variant is not trained, not on the data, backbone and masks as they are now, or it
            predicts values that are not finite.
    """
    meta = read_meta(model_folder(settings, variant, fold))
    if is_predicted(settings, variant, fold):
        return predictions_path(settings, variant, fold)
    now = fingerprints(settings, VariantConfig.model_validate(meta["config"]), fold)
    if meta["data_fingerprint"] != now["data_fingerprint"]:
        raise DistractedError(
            f"{variant} on fold {fold} was trained on other data than {settings.manifest} lists now. "
            f"Train it again: {materialize('trained_model', variant, fold)}"
        )
    trained = load_trained(settings, variant, fold, device)
    images = labelled(read_manifest(settings))
    held_out = images.take(pa.array(fold_rows(images, fold).predict))
    true = class_positions(held_out)
    inputs = load_rows(settings, trained.config, trained.net, held_out["img"].to_pylist(), true, device=device, log=log)
    logits = predict_logits(trained.net, inputs, resolve_device(device), batch_size).cpu()
    probabilities = functional.softmax(logits.double(), 1).numpy()
    table = pa.table(
        {
            "img": held_out["img"],
            "subject": held_out["subject"],
            "true": pa.array(true, pa.int8()),
            **{name: probabilities[:, k] for k, name in enumerate(PROBABILITIES)},
        }
    )
    facts = {"data_fingerprint": meta["data_fingerprint"], "model_fingerprint": meta["fingerprint"]}
    path = write_predictions(settings, variant, fold, table, facts)
    scores = score(logits, inputs.labels)
    metrics = {
        "held_out_accuracy": scores.accuracy,
        "held_out_macro_recall": scores.macro_recall,
        **recalls_by_class("held_out_recall", scores),
    }
    unsent.add_metrics(settings, model_folder(settings, variant, fold), meta["mlflow_run_id"], metrics, log=log)
    log(f"{variant}, fold {fold}: {len(inputs):,} held-out images, accuracy {scores.accuracy:.3f}")
    return path


def is_predicted(settings: Settings, variant: str, fold: str) -> bool:
    """Tell whether the predictions of the checkpoint as it is now are there."""
    path = predictions_path(settings, variant, fold)
    config = model_folder(settings, variant, fold) / CONFIG
    if not (path.is_file() and config.is_file()):
        return False
    stored = pq.read_schema(path).metadata or {}
    return stored.get(b"model_fingerprint", b"").decode() == read_meta(config.parent)["fingerprint"]


def check_predictions(settings: Settings, fold: str, path: Path) -> Check:
    """Return whether a prediction file is finite, sums to 1 and has exactly the fold's held-out images."""
    table = pq.read_table(path, partitioning=None)
    probabilities = np.stack([table[name].to_numpy() for name in PROBABILITIES], 1).astype(float)
    images = labelled(read_manifest(settings))
    expected = images.take(fold_rows(images, fold).predict)["img"].to_pylist()
    complete = table["img"].to_pylist() == expected
    sums = abs(probabilities.sum(1) - 1).max(initial=0)
    accuracy = float((probabilities.argmax(1) == table["true"].to_numpy()).mean())
    facts = {
        "images": table.num_rows,
        "accuracy": accuracy,
        "complete": complete,
        "largest_error_of_a_sum": float(sums),
    }
    return Check(
        "valid_probabilities", bool(np.isfinite(probabilities).all() and sums < 1e-4 and complete), "ERROR", facts
    )
