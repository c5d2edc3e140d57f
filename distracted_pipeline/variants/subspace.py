"""The part of an embedding that names the driver: its directions, and how many of them to remove.

Belongs here: linear algebra on embeddings. What a network without them does to a class is found out by training it
(`kinds.linear_probe_without_driver`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

COUNTS: Final = (1, 2, 4, 8, 16)
"""Numbers of directions that are tried; never more than there are training drivers less one."""

_RIDGE: Final = 100.0
"""Penalty of the classifier that judges a number of directions: that of the catalogue's linear probe."""


@dataclass(frozen=True)
class Embedded:
    """Embeddings of some images.

    Attributes:
        pooled: `[N, D]`.
        labels: Class positions, `[N]`.
        drivers: Whose, str `[N]`.
    """

    pooled: Tensor
    labels: Tensor
    drivers: np.ndarray


def driver_directions(x: Tensor, labels: Tensor, drivers: np.ndarray) -> Tensor:
    """Return orthonormal directions in which drivers differ within a class, the strongest first, `[K, D]`.

    They are the right singular vectors of what each driver adds to the mean of a class, averaged over classes, so that
    a driver who lacks a class does not make the class a part of the driver.

    Args:
        x: Standardised embeddings, `[N, D]`.
        labels: Class positions, `[N]`.
        drivers: Whose, str `[N]`.
    """
    names, driver = np.unique(drivers, return_inverse=True)
    place = torch.from_numpy(driver).to(x.device)
    added = torch.zeros(len(names), x.shape[1], dtype=torch.float64, device=x.device)
    counted = torch.zeros(len(names), 1, dtype=torch.float64, device=x.device)
    for k in labels.unique():
        of_class = labels == k
        here = place[of_class]
        means = torch.zeros_like(added).index_add_(0, here, x[of_class].double())
        count = torch.zeros_like(counted).index_add_(0, here, torch.ones_like(x[of_class, :1], dtype=torch.float64))
        there = count[:, 0] > 0
        means[there] /= count[there]
        added[there] += means[there] - means[there].mean(0)
        counted[there] += 1
    added /= counted.clamp(min=1)
    _, strength, directions = torch.linalg.svd(added - added.mean(0), full_matrices=False)
    return directions[strength > 1e-8 * strength.max().clamp(min=1e-12)].to(x.dtype)


def directions_to_remove(standardise: Callable[[Tensor], Tensor], train: Embedded, validation: Embedded) -> Tensor:
    """Return the directions of the training drivers, as many as do the validation drivers most good, `[k, D]`.

    Each number of `COUNTS` is judged by the macro recall of a ridge classifier on the validation drivers; ties go to
    fewer. At least one is removed: that is what the technique is.

    Args:
        standardise: Gives embeddings as the classifier reads them.
        train: Of the training drivers.
        validation: Of the validation drivers.
    """
    x, y = standardise(train.pooled.float()), standardise(validation.pooled.float())
    directions = driver_directions(x, train.labels, train.drivers)
    counts = [k for k in COUNTS if k <= len(directions)]
    if len(counts) < 2:
        return directions[:1]
    scores = {
        k: _judged(without(x, directions[:k]), train.labels, without(y, directions[:k]), validation) for k in counts
    }
    best = max(counts, key=lambda k: (scores[k], -k))
    return directions[:best]


def without(x: Tensor, directions: Tensor) -> Tensor:
    """Return embeddings `[..., D]` without their parts along orthonormal directions `[k, D]`."""
    return x - x @ directions.T @ directions


def ridge_answers(x: Tensor, labels: Tensor, y: Tensor, penalty: float = _RIDGE) -> Tensor:
    """Return what a ridge classifier, trained on embeddings `x`, takes `y` for: values of `labels`, `[M]`."""
    present = labels.unique()
    targets = (labels[:, None] == present).double()
    x, y = x.double(), y.double()
    centre = x.mean(0)
    x, y, wanted = x - centre, y - centre, targets - targets.mean(0)
    if len(x) < x.shape[1]:  # the smaller of two systems with the same answer
        kernel = x @ x.T + penalty * torch.eye(len(x), dtype=x.dtype, device=x.device)
        weights = x.T @ torch.linalg.solve(kernel, wanted)
    else:
        kernel = x.T @ x + penalty * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
        weights = torch.linalg.solve(kernel, x.T @ wanted)
    return present[(y @ weights + targets.mean(0)).argmax(1)]


def _judged(x: Tensor, labels: Tensor, y: Tensor, validation: Embedded) -> float:
    """Return the macro recall on the validation drivers of a ridge classifier trained on `x`."""
    right = (ridge_answers(x, labels, y) == validation.labels).double()
    return float(np.mean([float(right[validation.labels == k].mean()) for k in validation.labels.unique()]))
