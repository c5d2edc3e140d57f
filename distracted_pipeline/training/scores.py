"""How good logits are: loss, accuracy, recall by class. What is done about it is the business of `loop` and `train`."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from distracted_pipeline.vocabulary import CLASS_IDS


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
    """Return loss, accuracy and recalls of logits `[N, 10]` against class positions `[N]`."""
    labels = labels.to(logits.device)
    right = (logits.argmax(1) == labels).double()
    counts = torch.bincount(labels, minlength=len(CLASS_IDS)).double()
    recall = torch.bincount(labels, weights=right, minlength=len(CLASS_IDS)) / counts
    return Scores(
        loss=float(functional.cross_entropy(logits.double(), labels)),
        accuracy=float(right.mean()),
        macro_recall=float(recall[counts > 0].mean()),
        recall=tuple(recall.tolist()),
    )
