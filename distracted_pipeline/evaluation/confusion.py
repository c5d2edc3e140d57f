"""The one tensor that every class-wise number derives from: T[variant, replicate, driver, true, predicted].

Counting and the tensor's file are here; what is read out of it is `statistics`, `spread` and `inference`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from distracted_pipeline.arrays import read_arrays
from distracted_pipeline.evaluation.predictions import Predictions
from distracted_pipeline.files import atomic_path
from distracted_pipeline.scopes import SCOPES


@dataclass(frozen=True)
class Confusion:
    """Counts by scope, over the same variants and drivers in each.

    Attributes:
        variants: First axis.
        drivers: Third axis, sorted.
        scopes: Name of a scope -> int64 [variant, replicate, driver, true, predicted]; 0 where a variant was not
            trained so often on the driver's fold.
        folds: Name of a scope -> the fold that held each driver out, int [driver]; -1 where no variant predicted them.
    """

    variants: tuple[str, ...]
    drivers: tuple[str, ...]
    scopes: dict[str, np.ndarray]
    folds: dict[str, np.ndarray]

    def of(self, variant: str, scope: str = "oof") -> np.ndarray:
        """Return the counts of a variant, averaged over its trainings, float [driver, true, predicted].

        Images are counted once, however many trainings there are; 0 for drivers that it has not predicted.
        """
        return averaged(self.trainings(variant, scope))

    def trainings(self, variant: str, scope: str = "oof") -> np.ndarray:
        """Return the counts of each training, float [replicate, driver, true, predicted]; NaN where there is none."""
        counts = self.scopes[scope][self.variants.index(variant)]
        there = counts.any((2, 3))
        most = max(1, int(there.any(1).sum()))
        return np.where(there[:most, :, None, None], counts[:most], np.nan)


def averaged(trainings: np.ndarray) -> np.ndarray:
    """Return counts averaged over the trainings there are, from [replicate, driver, true, predicted]; 0 for none."""
    there = np.isfinite(trainings).all((2, 3))
    mean: np.ndarray = np.nan_to_num(trainings).sum(0) / np.maximum(there.sum(0), 1)[:, None, None]
    return mean


def fewest_trainings(trainings: np.ndarray) -> int:
    """Return how often the folds were trained, of which the least often, from [replicate, driver, true, predicted]."""
    count = np.isfinite(trainings).all((2, 3)).sum(0)
    return int(count[count > 0].min(initial=len(trainings)))


def count(drivers: np.ndarray, true: np.ndarray, predicted: np.ndarray, n_drivers: int, classes: int) -> np.ndarray:
    """Return int64 [driver, true, predicted] from positions, each an integer [N]."""
    cell = (drivers.astype(np.int64) * classes + true) * classes + predicted
    return np.bincount(cell, minlength=n_drivers * classes**2).reshape(n_drivers, classes, classes)


def build_confusion(predictions: Predictions) -> Confusion:
    """Count every usable prediction; variants without any are left out."""
    variants = tuple(v for v in predictions.variants if any(predictions.of(v, scope) for scope in SCOPES))
    drivers, classes = np.array(predictions.drivers, dtype=str), predictions.classes
    most = max((len(part.probabilities) for part in predictions.parts.values()), default=1)
    shape = (len(variants), most, len(drivers), classes, classes)
    scopes = {scope: np.zeros(shape, np.int64) for scope in SCOPES}
    folds = {scope: np.full(len(drivers), -1) for scope in SCOPES}
    for scope, tensor in scopes.items():
        for v, variant in enumerate(variants):
            for part in predictions.of(variant, scope):
                rows = part.rows(scope)
                position = np.searchsorted(drivers, part.subject[rows])
                folds[scope][position] = SCOPES[scope].folds.index(part.fold)
                for r, answers in enumerate(part.answers):
                    tensor[v, r] += count(position, part.true[rows], answers[rows], len(drivers), classes)
    return Confusion(variants, tuple(predictions.drivers), scopes, folds)


def write_confusion(path: Path, confusion: Confusion) -> None:
    """Write `confusion.npz`: T, T_dev, T_test, folds, folds_dev, folds_test, variants, drivers."""
    arrays: dict[str, Any] = {_key("T", scope): counts for scope, counts in confusion.scopes.items()}
    arrays |= {_key("folds", scope): folds for scope, folds in confusion.folds.items()}
    arrays |= {name: np.array(getattr(confusion, name), dtype=str) for name in ("variants", "drivers")}
    with atomic_path(path) as temporary, temporary.open("wb") as handle:
        np.savez_compressed(handle, **arrays)


def read_confusion(path: Path) -> Confusion:
    """Read `confusion.npz`. Files of earlier versions hold one training and no folds.

    Raises:
        ValueError: It is damaged, or its arrays do not fit each other.
        KeyError: It lacks one of them.
        OSError: It is missing, or reading fails.
    """
    arrays = read_arrays(path)
    variants, drivers = (tuple(map(str, arrays[name].reshape(-1).tolist())) for name in ("variants", "drivers"))
    scopes = {scope: arrays[_key("T", scope)] for scope in SCOPES}
    if _key("folds", "oof") in arrays:
        folds = {scope: arrays[_key("folds", scope)] for scope in SCOPES}
    else:
        scopes = {scope: counts[:, None] for scope, counts in scopes.items()}
        folds = {scope: np.full(len(drivers), -1) for scope in SCOPES}
    for scope, counts in scopes.items():
        fits = counts.ndim == 5 and counts.shape[::2][:2] == (len(variants), len(drivers))
        if not fits or counts.shape[3] != counts.shape[4] or folds[scope].shape != (len(drivers),):
            raise ValueError(f"its counts of shape {list(counts.shape)} are not those of its variants and drivers")
    return Confusion(variants, drivers, scopes, folds)


def _key(name: str, scope: str) -> str:
    return name if scope == "oof" else f"{name}_{scope}"
