"""How much of the backbone's embedding names the driver, and what is left without the training drivers' directions.

Frames of a driver are near-duplicates, so a probe that names drivers is judged on classes that it did not see: another
activity is another minute of the film. Whether directions that were found on training drivers are those of other
drivers too is seen by naming the drivers whom each fold holds out, before and after. What it does to a class is the
variant `linear_probe_without_driver`, in the report beside its control.
"""

from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from distracted_pipeline.evaluation.predictions import images_fingerprint
from distracted_pipeline.files import read_json, write_json
from distracted_pipeline.fingerprints import INPUTS, fingerprint, is_current
from distracted_pipeline.images.folds import fold_rows
from distracted_pipeline.images.manifest import class_positions, labelled, read_manifest
from distracted_pipeline.options import RunOptions
from distracted_pipeline.scopes import CROSS_FOLDS
from distracted_pipeline.settings import Settings
from distracted_pipeline.training.inputs import load_taps
from distracted_pipeline.variants.backbones import backbone_fingerprint
from distracted_pipeline.variants.config import variant_named
from distracted_pipeline.variants.networks import Standardise
from distracted_pipeline.variants.subspace import (
    COUNTS,
    Embedded,
    directions_to_remove,
    driver_directions,
    ridge_answers,
    without,
)

VARIANT: Final = "linear_probe_without_driver"
_CODE_VERSION: Final = "1"
_PENALTY: Final = 1.0
"""Of the probe that names drivers: low, so that it finds them in weak directions too."""

_PARTS: Final = 5
"""Parts that the classes are dealt into; each is held out once."""


def subspace_file(settings: Settings) -> Path:
    """Return where the result lies."""
    return settings.evaluation / "driver_subspace.json"


def subspace_inputs(settings: Settings) -> str:
    """Return the fingerprint of all that the result is made from; empty where there is no manifest."""
    if not settings.manifest.is_file():
        return ""
    config = variant_named(settings, VARIANT)
    facts = (_CODE_VERSION, backbone_fingerprint(settings, config.model_name), list(COUNTS))
    return fingerprint(*facts, images_fingerprint(settings))


def subspace_current(settings: Settings) -> bool:
    """Tell whether the result is there and made from its inputs as they are now."""
    return is_current([subspace_file(settings)], subspace_inputs(settings))


def driver_subspace(settings: Settings, options: RunOptions = RunOptions()) -> dict[str, Any]:
    """Return how well drivers are named, before and after removal, as it was written, or else computed now.

    Raises:
        DistractedError: There is no manifest, or a tap cannot be computed.
    """
    path, inputs = subspace_file(settings), subspace_inputs(settings)
    found = read_json(path) if is_current([path], inputs) else None
    if found is not None:
        return found
    images = labelled(read_manifest(settings))
    config = variant_named(settings, VARIANT)
    pooled = load_taps(settings, config, ("pooled",), images["img"].to_pylist(), options)["pooled"].float()
    labels = torch.from_numpy(class_positions(images, settings.dataset))
    drivers = images["subject"].to_numpy(zero_copy_only=False).astype(str)
    every = Embedded(pooled, labels, drivers)
    right = named(every, Standardise(pooled.shape[1]))
    folds = []
    for fold in CROSS_FOLDS:
        rows = fold_rows(images, fold) if (images["fold"].to_numpy() == int(fold)).any() else None
        if rows is not None and len(set(drivers[rows.predict])) > 1:
            options.log(f"drivers of fold {fold}")
            folds.append({"fold": fold, **_of_fold(every, rows.train, rows.validation, rows.predict)})
    found = {
        INPUTS: inputs,
        "variant": VARIANT,
        "images": len(images),
        "drivers": len(set(drivers)),
        "accuracy": right,
        "chance": 1 / len(set(drivers)),
        "counts": list(COUNTS),
        "folds": folds,
        "held_out": _mean(folds),
    }
    write_json(path, found)
    return found


def named(of: Embedded, standardise: Standardise, directions: Tensor | None = None) -> float:
    """Return how often a linear probe names the driver on classes that it did not see, each driver counting the same.

    Args:
        of: Embeddings of at least two drivers.
        standardise: Fitted anew on each part, unless directions are given: then it is what they belong to.
        directions: Removed first.
    """
    names, place = np.unique(of.drivers, return_inverse=True)
    driver, part = torch.from_numpy(place), of.labels % _PARTS
    right, n = torch.zeros(len(names)), torch.zeros(len(names))
    for p in part.unique():
        out = part == p
        if out.all():
            continue
        if directions is None:
            standardise.fit(of.pooled[~out])
        x = standardise(of.pooled)
        x = x if directions is None else without(x, directions)
        said = ridge_answers(x[~out], driver[~out], x[out], _PENALTY)
        right.index_add_(0, driver[out], (said == driver[out]).float())
        n.index_add_(0, driver[out], torch.ones(int(out.sum())))
    return float((right / n.clamp(min=1))[n > 0].mean())


def _of_fold(every: Embedded, train: np.ndarray, validation: np.ndarray, held_out: np.ndarray) -> dict[str, Any]:
    """Return how well the drivers of a fold are named without the directions of its training drivers."""
    learnt, chooses, others = (
        Embedded(every.pooled[rows], every.labels[rows], every.drivers[rows]) for rows in (train, validation, held_out)
    )
    standardise = Standardise(every.pooled.shape[1])
    standardise.fit(learnt.pooled)
    directions = driver_directions(standardise(learnt.pooled), learnt.labels, learnt.drivers)
    counts = [k for k in COUNTS if k <= len(directions)]
    return {
        "drivers": len(set(others.drivers)),
        "chance": 1 / len(set(others.drivers)),
        "before": named(others, standardise, directions[:0]),
        "after": {str(k): named(others, standardise, directions[:k]) for k in counts},
        "chosen": len(directions_to_remove(standardise, learnt, chooses)),
        "variance": [_share(standardise(others.pooled), others.labels, directions[:k]) for k in counts],
    }


def _share(x: Tensor, labels: Tensor, directions: Tensor) -> float:
    """Return which share of the variance within classes lies along some directions."""
    centred = torch.cat([x[labels == k] - x[labels == k].mean(0) for k in labels.unique()])
    return float(((centred @ directions.T) ** 2).sum() / (centred**2).sum())


def _mean(folds: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the mean over folds, a driver counting the same everywhere; empty where no fold holds out two drivers."""
    if not folds:
        return {}
    weights = [fold["drivers"] for fold in folds]
    common = [k for k in folds[0]["after"] if all(k in fold["after"] for fold in folds)]
    return {
        "chance": float(np.average([fold["chance"] for fold in folds], weights=weights)),
        "before": float(np.average([fold["before"] for fold in folds], weights=weights)),
        "after": {k: float(np.average([fold["after"][k] for fold in folds], weights=weights)) for k in common},
        "chosen": [fold["chosen"] for fold in folds],
        "variance": {
            k: float(np.average([fold["variance"][i] for fold in folds], weights=weights)) for i, k in enumerate(common)
        },
    }
