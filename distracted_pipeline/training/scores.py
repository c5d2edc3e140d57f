"""How good logits are: loss, accuracy, recall by class, confusion. What follows from it is decided elsewhere."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Scores:
    """How a network does on some rows.

    Attributes:
        loss: Mean cross-entropy.
        accuracy: Share of correct rows.
        macro_recall: Mean recall over the classes that occur.
        recall: By class position; NaN where the class does not occur.
    """

    loss: float
    accuracy: float
    macro_recall: float
    recall: tuple[float, ...]


def score(logits: Tensor, labels: Tensor) -> Scores:
    """Return loss, accuracy and recalls of logits `[N, classes]` against class positions `[N]`."""
    logits, labels = logits.cpu(), labels.cpu()  # a GPU counts in no fixed order
    right = (logits.argmax(1) == labels).double()
    classes = logits.shape[1]
    counts = torch.bincount(labels, minlength=classes).double()
    recall = torch.bincount(labels, weights=right, minlength=classes) / counts
    return Scores(
        loss=float(functional.cross_entropy(logits.double(), labels)),
        accuracy=float(right.mean()),
        macro_recall=float(recall[counts > 0].mean()),
        recall=tuple(recall.tolist()),
    )


def recalls_by_class(prefix: str, scores: Scores, class_ids: Sequence[str]) -> dict[str, float]:
    """Return recalls by `<prefix>_<class id>`; classes that do not occur are left out."""
    pairs = zip(class_ids, scores.recall, strict=True)
    return {f"{prefix}_{class_id}": recall for class_id, recall in pairs if not math.isnan(recall)}


def confusion(logits: Tensor, labels: Tensor) -> Tensor:
    """Return counts `[classes, classes]`, true by predicted, of logits `[N, classes]`."""
    classes = logits.shape[1]
    flat = labels.to(logits.device) * classes + logits.argmax(1)
    return torch.bincount(flat, minlength=classes**2).view(classes, classes)
