"""Whether a training came out right: drivers apart, numbers finite, better than chance."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from safetensors.torch import load_file

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.images.folds import check_disjoint, fold_rows
from distracted_pipeline.images.manifest import labelled, read_manifest
from distracted_pipeline.settings import Settings
from distracted_pipeline.training.checkpoint import WEIGHTS
from distracted_pipeline.training.train import TrainResult
from distracted_pipeline.vocabulary import CLASS_IDS

CHANCE = 1 / len(CLASS_IDS)


@dataclass(frozen=True)
class Check:
    """The outcome of one check.

    Attributes:
        name: As in the asset's specification.
        passed: Whether all is well.
        severity: `ERROR`, or `WARN` where a person should look but nothing is broken.
        facts: Numbers and sentences behind it.
    """

    name: str
    passed: bool
    severity: Literal["ERROR", "WARN"]
    facts: dict[str, Any]

    def words(self) -> str:
        """Return the facts in one line, as the reason that a page shows."""
        return "; ".join(f"{name.replace('_', ' ')}: {fact}" for name, fact in self.facts.items())


def check_trained(settings: Settings, result: TrainResult) -> list[Check]:
    """Return whether drivers are disjoint, numbers finite, and the outcome better than chance."""
    meta = result.meta
    weights = load_file(result.folder / WEIGHTS)
    broken = [name for name, tensor in weights.items() if not bool(tensor.isfinite().all())]
    losses = [line[key] for line in meta["history"] for key in ("train_loss", "validation_loss")]
    recall = meta["validation_macro_recall"]
    return [
        _disjoint(settings, result),
        Check(
            "finite",
            not broken and bool(np.isfinite(losses).all()),
            "ERROR",
            {"not_finite": ", ".join(broken) or "none"},
        ),
        Check("better_than_chance", recall > CHANCE, "WARN", {"validation_macro_recall": recall, "chance": CHANCE}),
    ]


def _disjoint(settings: Settings, result: TrainResult) -> Check:
    table = labelled(read_manifest(settings))
    facts = {
        "train_drivers": ", ".join(result.meta["train_subjects"]),
        "validation_drivers": ", ".join(result.meta["validation_subjects"]),
    }
    try:
        check_disjoint(table, fold_rows(table, result.fold))
    except DistractedError as error:
        return Check("drivers_disjoint", False, "ERROR", {**facts, "leak": str(error)})
    return Check("drivers_disjoint", True, "ERROR", facts)
