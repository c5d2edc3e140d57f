"""From a checkpoint to the probabilities of every image of the drivers that its fold holds out.

Belongs here: predicting, and judging what was predicted. The files are `predictions`, the networks `training`'s.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from distracted_pipeline.advice import materialize_fold
from distracted_pipeline.checks import Check
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.evaluation.predictions import (
    is_predicted,
    predictions_path,
    probabilities_of,
    probability_columns,
    write_predictions,
)
from distracted_pipeline.images.folds import fold_rows
from distracted_pipeline.images.manifest import class_positions, labelled, read_manifest
from distracted_pipeline.options import RunOptions
from distracted_pipeline.settings import Settings
from distracted_pipeline.variants.config import VariantConfig

__all__ = ["check_predictions", "is_predicted", "predict_fold"]


def predict_fold(settings: Settings, variant: str, fold: str, options: RunOptions = RunOptions()) -> Path:
    """Write the probabilities of every held-out image of a fold, unless the checkpoint's are there; return the file.

    Raises:
        DistractedError: The variant is not trained, not on the data, backbone and masks as they are now, or it
            predicts values that are not finite.
    """
    from torch.nn import functional

    from distracted_pipeline.devices import resolve_device
    from distracted_pipeline.training import mlflow_outbox
    from distracted_pipeline.training.checkpoint import fingerprints, load_trained, model_folder, read_meta
    from distracted_pipeline.training.inputs import load_rows
    from distracted_pipeline.training.loop import predict_logits
    from distracted_pipeline.training.scores import recalls_by_class, score

    folder = model_folder(settings, variant, fold)
    meta = read_meta(folder)
    if is_predicted(settings, variant, fold):
        return predictions_path(settings, variant, fold)
    now = fingerprints(settings, VariantConfig.model_validate(meta["config"]), fold)
    if meta["data_fingerprint"] != now["data_fingerprint"]:
        raise DistractedError(
            f"{variant} on fold {fold} was trained on other data than {settings.manifest} lists now. "
            f"Train it again: {materialize_fold('trained_model', variant, fold)}"
        )
    device = options.device_name()
    trained = load_trained(settings, variant, fold, device)
    images = labelled(read_manifest(settings))
    held_out = images.take(pa.array(fold_rows(images, fold).predict))
    true = class_positions(held_out, settings.dataset)
    imgs = held_out["img"].to_pylist()
    inputs = load_rows(settings, trained.config, trained.net, imgs, true, replace(options, device=device))
    logits = predict_logits(trained.net, inputs, resolve_device(device), options.batch_size).cpu()
    probabilities = functional.softmax(logits.double(), 1).numpy()
    class_ids = settings.dataset.class_ids
    table = pa.table(
        {
            "img": held_out["img"],
            "subject": held_out["subject"],
            "true": pa.array(true, pa.int8()),
            **{name: probabilities[:, k] for k, name in enumerate(probability_columns(class_ids))},
        }
    )
    facts = {"data_fingerprint": meta["data_fingerprint"], "model_fingerprint": meta["fingerprint"]}
    path = write_predictions(settings, variant, fold, table, facts)
    scores = score(logits, inputs.labels)
    metrics = {
        "held_out_accuracy": scores.accuracy,
        "held_out_macro_recall": scores.macro_recall,
        **recalls_by_class("held_out_recall", scores, class_ids),
    }
    mlflow_outbox.add_metrics(settings, folder, meta["mlflow_run_id"], metrics, log=options.log)
    options.log(f"{variant}, fold {fold}: {len(inputs):,} held-out images, accuracy {scores.accuracy:.3f}")
    return path


def check_predictions(settings: Settings, fold: str, path: Path) -> Check:
    """Return whether a prediction file is finite, sums to 1 and has exactly the fold's held-out images."""
    table = pq.read_table(path, partitioning=None)
    probabilities = probabilities_of(table).astype(float)
    images = labelled(read_manifest(settings))
    expected = images.take(fold_rows(images, fold).predict)["img"].to_pylist()
    complete = table["img"].to_pylist() == expected
    sums = float(abs(probabilities.sum(1) - 1).max(initial=0))
    finite = bool(np.isfinite(probabilities).all())
    faults = [
        words
        for words, holds in (
            ("some probabilities are not finite", finite),
            (f"some sums of probabilities are off by {sums:.2g}", sums < 1e-4 or not finite),
            (f"its {table.num_rows:,} images are not the {len(expected):,} that the fold holds out", complete),
        )
        if not holds
    ]
    facts = {
        "images": table.num_rows,
        "accuracy": float((probabilities.argmax(1) == table["true"].to_numpy()).mean()),
        "complete": complete,
        "largest_error_of_a_sum": sums,
    }
    said = "; ".join(faults) or f"probabilities of all {table.num_rows:,} held-out images, each row summing to 1"
    return Check("valid_probabilities", not faults, said, facts=facts)
