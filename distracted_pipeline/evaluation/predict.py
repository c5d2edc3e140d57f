"""From the checkpoints of a fold to the probabilities of every image of the drivers that it holds out.

Belongs here: predicting, and judging what was predicted. The files are `predictions`, the networks `training`'s.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from distracted_pipeline.advice import materialize_fold
from distracted_pipeline.checks import Check
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.evaluation.checkpoint_facts import model_fingerprint, replicates
from distracted_pipeline.evaluation.prediction_table import REPLICATE, probabilities_of, probability_columns
from distracted_pipeline.evaluation.predictions import is_predicted, predictions_path, write_predictions
from distracted_pipeline.files import sweep_dead
from distracted_pipeline.images.folds import fold_rows
from distracted_pipeline.images.manifest import class_positions, labelled, read_manifest
from distracted_pipeline.options import RunOptions
from distracted_pipeline.parquet import read_table
from distracted_pipeline.settings import Settings
from distracted_pipeline.variants.config import VariantConfig

__all__ = ["check_predictions", "is_predicted", "predict_fold"]


def predict_fold(settings: Settings, variant: str, fold: str, options: RunOptions = RunOptions()) -> Path:
    """Write what each training of a variant gives every held-out image of a fold, unless it is there; return the file.

    Raises:
        DistractedError: The variant is not trained, not as often as it should be, not on the data, backbone and masks
            as they are now, or it predicts values that are not finite.
    """
    from distracted_pipeline.training.checkpoint import fingerprints, model_folder, read_meta

    if is_predicted(settings, variant, fold):
        options.log(f"{variant}, fold {fold}: predicted already, by the networks as they are")
        return predictions_path(settings, variant, fold)
    trainings = range(max(1, replicates(settings, variant, fold)))
    metas = [read_meta(model_folder(settings, variant, fold, replicate)) for replicate in trainings]
    now = fingerprints(settings, VariantConfig.model_validate(metas[0]["config"]), fold)["data_fingerprint"]
    if any(meta["data_fingerprint"] != now for meta in metas):
        raise DistractedError(
            f"{variant} on fold {fold} was trained on other data than {settings.manifest} lists now. "
            f"Train it again: {materialize_fold('trained_model', variant, fold)}"
        )
    images = labelled(read_manifest(settings))
    held_out = images.take(pa.array(fold_rows(images, fold).predict))
    true = class_positions(held_out, settings.dataset)
    found = _probabilities(settings, variant, fold, len(metas), held_out["img"].to_pylist(), true, options)
    columns = probability_columns(settings.dataset.class_ids)
    each = [
        pa.table(
            {
                **{name: held_out[name] for name in ("img", "subject")},
                "true": pa.array(true, pa.int8()),
                REPLICATE: pa.array(np.full(len(true), replicate, np.int8)),
                **{name: probabilities[:, k] for k, name in enumerate(columns)},
            }
        )
        for replicate, probabilities in enumerate(found)
    ]
    facts = {"data_fingerprint": now, "model_fingerprint": model_fingerprint(settings, variant, fold)}
    sweep_dead(predictions_path(settings, variant, fold).parent)
    path = write_predictions(settings, variant, fold, pa.concat_tables(each), facts)
    for replicate, probabilities in enumerate(found):
        _add_metrics(settings, variant, fold, replicate, probabilities, true, options)
    accuracy = ", ".join(f"{(probabilities.argmax(1) == true).mean():.3f}" for probabilities in found)
    options.log(f"{variant}, fold {fold}: {len(true):,} held-out images, accuracy of each training {accuracy}")
    return path


def _probabilities(
    settings: Settings,
    variant: str,
    fold: str,
    trainings: int,
    imgs: list[str],
    true: np.ndarray,
    options: RunOptions,
) -> list[np.ndarray]:
    """Return what each training gives the classes of some images, float64 [N, class] each."""
    from torch.nn import functional

    from distracted_pipeline.devices import resolve_device
    from distracted_pipeline.training.checkpoint import load_trained
    from distracted_pipeline.training.inputs import load_rows
    from distracted_pipeline.training.loop import predict_logits

    device = options.device_name()
    rows, found = None, []
    for replicate in range(trainings):
        trained = load_trained(settings, variant, fold, device, replicate)
        if rows is None or trained.net.own_body:  # a body of its own makes other inputs
            rows = load_rows(settings, trained.config, trained.net, imgs, true, replace(options, device=device))
        logits = predict_logits(trained.net, rows, resolve_device(device), options).cpu()
        found.append(functional.softmax(logits.double(), 1).numpy())
    return found


def _add_metrics(
    settings: Settings,
    variant: str,
    fold: str,
    replicate: int,
    probabilities: np.ndarray,
    true: np.ndarray,
    options: RunOptions,
) -> None:
    """Add what one training reached to its run in MLflow."""
    import torch

    from distracted_pipeline.training import mlflow_outbox
    from distracted_pipeline.training.checkpoint import model_folder, read_meta
    from distracted_pipeline.training.scores import recalls_by_class, score

    folder = model_folder(settings, variant, fold, replicate)
    scores = score(torch.from_numpy(probabilities).log(), torch.from_numpy(true).long())
    metrics = {
        "held_out_accuracy": scores.accuracy,
        "held_out_macro_recall": scores.macro_recall,
        **recalls_by_class("held_out_recall", scores, settings.dataset.class_ids),
    }
    mlflow_outbox.add_metrics(settings, folder, read_meta(folder)["mlflow_run_id"], metrics, log=options.log)


def check_predictions(settings: Settings, fold: str, path: Path) -> Check:
    """Return whether a prediction file is finite, sums to 1 and has the fold's held-out images once per training."""
    table = read_table(path)
    probabilities = probabilities_of(table).astype(float)
    images = labelled(read_manifest(settings))
    expected = images.take(fold_rows(images, fold).predict)["img"].to_pylist()
    trainings = max(1, table.num_rows // max(1, len(expected)))
    complete = table["img"].to_pylist() == expected * trainings
    sums = float(abs(probabilities.sum(1) - 1).max(initial=0))
    finite = bool(np.isfinite(probabilities).all())
    faults = [
        words
        for words, holds in (
            ("some probabilities are not finite", finite),
            (f"some sums of probabilities are off by {sums:.2g}", sums < 1e-4 or not finite),
            (f"its {table.num_rows:,} rows are not the {len(expected):,} images that the fold holds out", complete),
        )
        if not holds
    ]
    facts = {
        "images": len(expected),
        "trainings": trainings,
        "accuracy": float((probabilities.argmax(1) == table["true"].to_numpy()).mean()),
        "complete": complete,
        "largest_error_of_a_sum": sums,
    }
    said = (
        "; ".join(faults)
        or f"{trainings} x probabilities of all {len(expected):,} held-out images, each row summing to 1"
    )
    return Check("valid_probabilities", not faults, said, facts=facts)
