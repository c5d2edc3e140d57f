"""The leak premium: what a random split makes of the same classifier, beside folds that keep drivers apart.

Published scores are often from random splits, where nearly every frame that is tested has its neighbour in the film
among those that were trained on. Here one recipe, `linear_probe`, which is solved in moments from cached embeddings, is
judged both ways. The driver-disjoint side is what the report shows of it; the random side is trained here, by the same
functions, and leaves no checkpoint: nobody should use it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from distracted_pipeline.advice import RUN
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.evaluation.comparison import Difference, difference
from distracted_pipeline.evaluation.confusion import build_confusion, count
from distracted_pipeline.evaluation.predictions import images_fingerprint, predictions_path, read_predictions
from distracted_pipeline.evaluation.statistics import DRAWS, hits, mean_present, recall, swap_signs
from distracted_pipeline.files import locked, read_json, sweep_temporaries, write_json, write_parquet
from distracted_pipeline.fingerprints import INPUTS, file_digest, fingerprint, is_current
from distracted_pipeline.images.folds import VALIDATION_SHARE
from distracted_pipeline.images.likeness import ALIKE, as_words, nearest
from distracted_pipeline.images.manifest import class_positions, labelled, read_manifest
from distracted_pipeline.images.neighbours import looks_of
from distracted_pipeline.options import RunOptions
from distracted_pipeline.parquet import read_table
from distracted_pipeline.scopes import SCOPES
from distracted_pipeline.settings import Settings
from distracted_pipeline.variants.config import VariantConfig, replicates_of, seed_of, variant_named

VARIANT: Final = "linear_probe"
_CODE_VERSION: Final = "1"
_SCOPE: Final = "oof"


@dataclass(frozen=True)
class Split:
    """One fold of a random split: positions of labelled images; nobody's frames are kept together."""

    train: np.ndarray
    validation: np.ndarray
    held_out: np.ndarray


def premium_file(settings: Settings) -> Path:
    """Return where the result lies."""
    return settings.evaluation / "leak_premium.json"


def premium_inputs(settings: Settings) -> str:
    """Return the fingerprint of all that the result is made from; empty where there is nothing to make it from."""
    folds = SCOPES[_SCOPE].folds
    files = [path for fold in folds if (path := predictions_path(settings, VARIANT, fold)).is_file()]
    if not settings.manifest.is_file() or not files:
        return ""
    config = variant_named(settings, VARIANT)
    facts = (_CODE_VERSION, config.fingerprint(), replicates_of(settings, config), ALIKE)
    return fingerprint(*facts, images_fingerprint(settings), {path.name: file_digest(path) for path in files})


def premium_current(settings: Settings) -> bool:
    """Tell whether the result is there and made from its inputs as they are now."""
    return is_current([premium_file(settings)], premium_inputs(settings))


def leak_premium(settings: Settings, options: RunOptions = RunOptions()) -> dict[str, Any]:
    """Return recall by class on random and on driver-disjoint folds, as it was written, or else computed now.

    Every replicate has a random split of its own, so that its luck is in the intervals. Each split that is done is
    kept, and a killed run goes on with the next one.

    Raises:
        DistractedError: The variant is not in the catalogue, or has not predicted every fold.
    """
    path, inputs = premium_file(settings), premium_inputs(settings)
    found = read_json(path) if is_current([path], inputs) else None
    if found is not None:
        return found
    config = variant_named(settings, VARIANT)
    predictions = read_predictions(settings, [VARIANT])
    absent = predictions.absent_folds(VARIANT, _SCOPE)
    if absent or not predictions.of(VARIANT, _SCOPE):
        lacking = f"fold{'s' * (len(absent) > 1)} {', '.join(absent)}" if absent else "any fold"
        raise DistractedError(f"{VARIANT} has no predictions of {lacking} to compare with. Type: {RUN}")
    confusion, images = build_confusion(predictions), labelled(read_manifest(settings))
    disjoint, folds = confusion.trainings(VARIANT, _SCOPE), confusion.folds[_SCOPE]
    true = class_positions(images, settings.dataset)
    _, driver = np.unique(images["subject"].to_numpy(zero_copy_only=False).astype(str), return_inverse=True)
    answers = np.stack(_random_answers(settings, config, images, true, len(set(folds[folds >= 0])), options))
    random = np.stack([count(driver, true, one, len(confusion.drivers), predictions.classes) for one in answers])
    known = folds >= 0
    found = {
        INPUTS: inputs,
        "variant": VARIANT,
        "images": len(images),
        "drivers": int(known.sum()),
        "folds": len(set(folds[known])),
        "splits": len(random),
        **_compared(random.astype(float), disjoint, folds, confusion.drivers),
        **_near(settings, images, driver, folds),
    }
    write_json(path, found)
    return found


def random_splits(true: np.ndarray, folds: int, seed: int) -> list[Split]:
    """Return the folds of a random split stratified by class, of whose training frames some choose the epoch.

    Args:
        true: Class positions, [N].
        folds: How many.
        seed: Of the dealing.
    """
    rng = np.random.default_rng(seed)
    fold, lot = np.empty(len(true), int), rng.random(len(true))
    for k in np.unique(true):
        rows = np.flatnonzero(true == k)
        fold[rows[np.argsort(lot[rows])]] = (np.arange(len(rows)) + rng.integers(folds)) % folds
    chooses = rng.random(len(true)) < VALIDATION_SHARE
    every = [(fold == f, fold != f) for f in range(folds)]
    return [
        Split(np.flatnonzero(rest & ~chooses), np.flatnonzero(rest & chooses), np.flatnonzero(out))
        for out, rest in every
    ]


def _random_answers(
    settings: Settings, config: VariantConfig, images: pa.Table, true: np.ndarray, folds: int, options: RunOptions
) -> list[np.ndarray]:
    """Return for each replicate the class that its random split's trainings say of every image, int [N]."""
    folder = settings.evaluation / "leak_premium"
    names, answers = images["img"].to_pylist(), []
    with locked(folder / ".lock", what=f"the random splits in {folder}"):
        sweep_temporaries(folder)
        for replicate in range(replicates_of(settings, config)):
            path, inputs = folder / f"{replicate}.parquet", fingerprint(premium_inputs(settings), replicate, folds)
            if not is_current([path], inputs):
                options.log(f"random split {replicate + 1} of {replicates_of(settings, config)}")
                said = _train_split(settings, config, names, true, folds, replicate, options)
                write_parquet(path, pa.table({"img": names, "predicted": pa.array(said, pa.int8())}), {INPUTS: inputs})
            answers.append(read_table(path)["predicted"].to_numpy().astype(np.int64))
    return answers


def _train_split(
    settings: Settings,
    config: VariantConfig,
    names: Sequence[str],
    true: np.ndarray,
    folds: int,
    replicate: int,
    options: RunOptions,
) -> np.ndarray:
    """Train on each fold of a random split; return what its held-out images are taken for, int [N]."""
    import torch

    from distracted_pipeline.devices import resolve_device
    from distracted_pipeline.training.inputs import load_rows
    from distracted_pipeline.training.loop import fit, predict_logits
    from distracted_pipeline.training.team import load_learned
    from distracted_pipeline.variants.backbones import load_backbone
    from distracted_pipeline.variants.networks import build_network

    options = replace(options, device=str(resolve_device(options.device_name())))
    said, rows = np.zeros(len(true), np.int64), None
    for fold, split in enumerate(random_splits(true, folds, seed_of(f"random split {replicate}"))):
        seed = config.training_seed(f"random {fold}", replicate)
        net = build_network(config, load_backbone(settings, config.model_name), settings.dataset, seed)
        rows = rows or load_rows(settings, config, net, names, true, options)
        parts = [
            replace(rows, raw={name: values[part] for name, values in rows.raw.items()}, labels=rows.labels[part])
            for part in (torch.from_numpy(side) for side in (split.train, split.validation, split.held_out))
        ]
        net.standardise.fit(parts[0].raw["pooled"])
        found = fit([net], parts[0], parts[1], config, [seed], options)[0]
        if found.best is None:
            raise DistractedError(f"{config.name} diverged on a random split. Lower top_lr in its entry, then: {RUN}")
        net.float()
        load_learned(net, found.best)
        said[split.held_out] = predict_logits(net, parts[2], net.classifier.weight.device, options).argmax(1).cpu()
    return said


def _compared(random: np.ndarray, disjoint: np.ndarray, folds: np.ndarray, drivers: Sequence[str]) -> dict[str, Any]:
    """Return both sides and their difference as JSON can hold them.

    Both sides judge the same frames, so a driver is compared with himself. A random split has no driver folds; its
    trainings are counted by the folds of the other side.
    """
    found: Difference = difference(random, disjoint, folds, swap_signs(drivers, DRAWS))
    sides = {"random": np.nanmean(random, 0).sum(0), "disjoint": np.nan_to_num(np.nanmean(disjoint, 0)).sum(0)}
    recalls = {name: recall(matrix) for name, matrix in sides.items()}
    classes = [
        {
            "class_id": k,
            "n": int(sides["random"][k].sum()),
            "drivers": int(found.drivers[k]),
            **{name: _number(recalls[name][k]) for name in recalls},
            "premium": _number(found.recall.delta[k]),
            "low": _number(found.recall.low[k]),
            "high": _number(found.recall.high[k]),
            "p": _number(found.p_holm[k]),
            "verdict": found.verdicts[k],
        }
        for k in range(len(found.verdicts))
    ]
    return {
        "accuracy": {name: float(hits(matrix).sum() / matrix.sum()) for name, matrix in sides.items()},
        "macro": {
            **{name: _number(mean_present(values)) for name, values in recalls.items()},
            "premium": _number(found.macro.delta),
            "low": _number(found.macro.low),
            "high": _number(found.macro.high),
            "p": _number(found.macro_p),
        },
        "classes": classes,
    }


def _near(settings: Settings, images: pa.Table, driver: np.ndarray, folds: np.ndarray) -> dict[str, Any]:
    """Return which share of held-out frames has a near-duplicate among the others, on either kind of split."""
    looks = looks_of(settings, images)
    if not all(looks):
        return {"near_duplicates": None}
    words, true = as_words(looks), class_positions(images, settings.dataset)
    k = len(set(folds[folds >= 0]))
    dealt = np.empty(len(images), int)
    for fold, split in enumerate(random_splits(true, k, seed_of("random split 0"))):
        dealt[split.held_out] = fold
    shares = {}
    for name, fold_of in (("random", dealt), ("disjoint", folds[driver])):
        close = [
            nearest(words[fold_of == fold], words[fold_of != fold])[1] <= ALIKE
            for fold in sorted(set(fold_of.tolist()))
        ]
        shares[name] = float(np.concatenate(close).mean())
    return {"near_duplicates": shares}


def _number(value: float | np.ndarray) -> float | None:
    """Return a number for JSON, which has no NaN."""
    return float(value) if np.isfinite(value) else None
