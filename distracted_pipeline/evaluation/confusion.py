"""The one tensor that every class-wise number derives from: T[variant, driver, true, predicted].

Counting and the tensor's file are here; what is read out of it is `statistics`.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from distracted_pipeline.evaluation.predictions import Predictions
from distracted_pipeline.files import atomic_path
from distracted_pipeline.scopes import SCOPES


@dataclass(frozen=True)
class Confusion:
    """Counts by scope, over the same variants and drivers in each.

    Attributes:
        variants: First axis.
        drivers: Second axis, sorted.
        scopes: Name of a scope -> int64 [variant, driver, true, predicted].
    """

    variants: tuple[str, ...]
    drivers: tuple[str, ...]
    scopes: dict[str, np.ndarray]

    def of(self, variant: str, scope: str = "oof") -> np.ndarray:
        """Return the counts of one variant, int64 [driver, true, predicted]."""
        return self.scopes[scope][self.variants.index(variant)]


def count(drivers: np.ndarray, true: np.ndarray, predicted: np.ndarray, n_drivers: int, classes: int) -> np.ndarray:
    """Return int64 [driver, true, predicted] from positions, each an integer [N]."""
    cell = (drivers.astype(np.int64) * classes + true) * classes + predicted
    return np.bincount(cell, minlength=n_drivers * classes**2).reshape(n_drivers, classes, classes)


def build_confusion(predictions: Predictions) -> Confusion:
    """Count every usable prediction; variants without any are left out."""
    variants = tuple(v for v in predictions.variants if any(predictions.of(v, scope) for scope in SCOPES))
    drivers, classes = np.array(predictions.drivers, dtype=str), predictions.classes
    scopes = {scope: np.zeros((len(variants), len(drivers), classes, classes), np.int64) for scope in SCOPES}
    for scope, tensor in scopes.items():
        for v, variant in enumerate(variants):
            for part in predictions.of(variant, scope):
                rows = part.rows(scope)
                position = np.searchsorted(drivers, part.subject[rows])
                tensor[v] += count(position, part.true[rows], part.predicted[rows], len(drivers), classes)
    return Confusion(variants, tuple(predictions.drivers), scopes)


def write_confusion(path: Path, confusion: Confusion) -> None:
    """Write `confusion.npz`: T, T_dev, T_test, variants, drivers."""
    with atomic_path(path) as temporary, temporary.open("wb") as handle:
        np.savez_compressed(
            handle,
            T=confusion.scopes["oof"],
            T_dev=confusion.scopes["dev"],
            T_test=confusion.scopes["test"],
            variants=np.array(confusion.variants, dtype=str),
            drivers=np.array(confusion.drivers, dtype=str),
        )


def read_confusion(path: Path) -> Confusion:
    """Read `confusion.npz`; no pickle is ever loaded."""
    with np.load(path, allow_pickle=False) as arrays:
        return Confusion(
            variants=tuple(arrays["variants"].tolist()),
            drivers=tuple(arrays["drivers"].tolist()),
            scopes={"oof": arrays["T"], "dev": arrays["T_dev"], "test": arrays["T_test"]},
        )
