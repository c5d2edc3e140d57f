"""What asset checks and metadata say about a training, as plain facts; `assets` hands them to Dagster."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from safetensors.torch import load_file

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.images.folds import check_disjoint, fold_rows
from distracted_pipeline.images.manifest import labelled, read_manifest
from distracted_pipeline.settings import Settings
from distracted_pipeline.training.checkpoint import WEIGHTS
from distracted_pipeline.training.figures import curve_markdown
from distracted_pipeline.training.tracking import run_url
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


def training_metadata(settings: Settings, result: TrainResult) -> dict[str, Any]:
    """Return what the asset's page shows: the curve, sizes, scores, and where everything is."""
    import dagster as dg

    meta, run = result.meta, result.meta["mlflow_run_id"]
    return {
        "curve": dg.MetadataValue.md(curve_markdown(meta["history"], meta["best_epoch"])),
        "reused": result.reused,
        "trainable_parameters": meta["trainable_parameters"],
        "total_parameters": meta["total_parameters"],
        "seconds": round(meta["seconds"], 2),
        "best_epoch": meta["best_epoch"],
        "validation_macro_recall": meta["validation_macro_recall"],
        "validation_accuracy": meta["validation_accuracy"],
        "train_images": meta["train_images"],
        "mlflow_run": dg.MetadataValue.url(run_url(settings, run)) if run else "not sent yet: distracted sync",
        "folder": dg.MetadataValue.path(result.folder),
    }


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
