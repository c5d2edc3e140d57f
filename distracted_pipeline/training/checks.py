"""Checks on a finished training: its drivers do not overlap, its numbers are finite, it beats chance."""

import numpy as np
from safetensors.torch import load_file

from distracted_pipeline.checks import Check
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.images.folds import check_disjoint, fold_rows
from distracted_pipeline.images.manifest import labelled, read_manifest
from distracted_pipeline.settings import Settings
from distracted_pipeline.training.checkpoint import WEIGHTS
from distracted_pipeline.training.train import TrainResult


def check_trained(settings: Settings, result: TrainResult) -> list[Check]:
    """Return the checks `drivers_disjoint`, `finite` and `better_than_chance` of a training."""
    return [_disjoint(settings, result), _finite(result), _better_than_chance(settings, result)]


def _disjoint(settings: Settings, result: TrainResult) -> Check:
    table = labelled(read_manifest(settings))
    (train,), (validation,) = (  # replicates differ in luck alone
        {tuple(meta[f"{side}_subjects"]) for meta in result.metas} for side in ("train", "validation")
    )
    facts = {"train_drivers": ", ".join(train), "validation_drivers": ", ".join(validation)}
    try:
        check_disjoint(table, fold_rows(table, result.fold))
    except DistractedError as error:
        return Check("drivers_disjoint", False, str(error), "ERROR", {**facts, "leak": str(error)})
    words = f"{len(train)} drivers train, {len(validation)} others choose the epoch, and none of the first is reported"
    return Check("drivers_disjoint", True, words, "ERROR", facts)


def _finite(result: TrainResult) -> Check:
    broken: list[str] = []
    for meta in result.metas:
        of = f" of training {meta['replicate'] + 1}"
        weights = load_file(result.folder / str(meta["replicate"]) / WEIGHTS)
        broken += [f"{name}{of}" for name, tensor in weights.items() if not bool(tensor.isfinite().all())]
        broken += [
            f"{key} of epoch {line['epoch']}{of}"
            for line in meta["history"]
            for key in ("train_loss", "validation_loss")
            if not np.isfinite(line[key])
        ]
    words = f"not finite: {', '.join(broken)}" if broken else "all losses and weights are finite"
    return Check("finite", not broken, words, "ERROR", {"not_finite": ", ".join(broken) or "none"})


def _better_than_chance(settings: Settings, result: TrainResult) -> Check:
    recall = min(meta["validation_macro_recall"] for meta in result.metas)
    chance = 1 / len(settings.dataset.class_ids)
    worst = "" if len(result.metas) == 1 else f", in the worst of {len(result.metas)} trainings,"
    words = f"macro recall on the validation drivers{worst} is {recall:.3f}, and guessing has {chance:.3f}"
    facts = {"validation_macro_recall": recall, "chance": chance}
    return Check("better_than_chance", recall > chance, words, "WARN", facts)
