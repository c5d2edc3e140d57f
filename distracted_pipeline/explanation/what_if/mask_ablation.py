"""The stage `mask_ablation`: one category of the masks is taken away or made wrong, and the networks look again.

Nothing is trained again. The frame stays as it is, so all that changes is what the mask branch sees: a category
dropped, eroded, shifted, or swapped for that of another frame of the same driver. And where the segmenter itself
missed the object: recall of the frames whose masks show a category, and of those of its class whose masks do not.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.evaluation.inference import Rates, recall_interval
from distracted_pipeline.evaluation.predictions import Part
from distracted_pipeline.explanation.what_if.counterfactuals import LEAST_AREA, rows_of
from distracted_pipeline.explanation.what_if.effects import Looks, fewest_trainings, means, tested
from distracted_pipeline.explanation.what_if.erasing import eroded, moved_ids
from distracted_pipeline.explanation.what_if.frames import Altered, Frame, Version, alter_frames
from distracted_pipeline.explanation.what_if.looks import (
    Stage,
    reads_masks,
    take_looks,
    variant_inputs,
    write_effects,
)
from distracted_pipeline.explanation.what_if.sampling import few_frames, seed_of, shown_categories
from distracted_pipeline.explanation.what_if.tables import Effect
from distracted_pipeline.options import RunOptions
from distracted_pipeline.settings import Settings

if TYPE_CHECKING:
    from distracted_pipeline.masks.cache import MaskCache
    from distracted_pipeline.training.checkpoint import Trained

DROPPED, ERODED, SHIFTED, SWAPPED = "dropped", "eroded", "shifted", "swapped"
ABLATIONS: Final = (DROPPED, ERODED, SHIFTED, SWAPPED)
FOUND, MISSED = "found", "missed"

EROSION: Final = 0.3
"""What is eroded, in radii of a disc of the category's area: about half of a compact object goes."""
SHIFT: Final = 0.1
"""How far a category is shifted, as a share of the frame, in a seeded direction."""
RARE: Final = 0.05
"""Found and missed are told apart where each is more than this share of a class's frames."""


def mask_ablation(settings: Settings, variant: str, options: RunOptions = RunOptions()) -> list[Effect]:
    """Take categories away from the masks of held-out frames, ask a variant's networks, write and return the effects.

    Raises:
        DistractedError: The variant reads no masks, or has no usable predictions or trainings.
    """
    if not reads_masks(settings, variant):
        raise DistractedError(
            f"{variant} reads no masks, so none can be taken away from it. Choose masks_only or masks_fused."
        )
    table, parts = take_looks(settings, STAGE, variant, options)
    looks = Looks.of(table, parts, len(settings.dataset.class_ids))
    effects = [
        effect
        for category in settings.dataset.category_names
        for name in ABLATIONS
        for effect in _effects(looks, variant, category, name)
    ]
    effects += found_and_missed(settings, variant, parts, fewest_trainings(looks))
    write_effects(settings, STAGE, variant, effects, variant_inputs(settings, STAGE, variant, [p.fold for p in parts]))
    return effects


def _alter(settings: Settings, trained: "Trained", part: Part, options: RunOptions) -> Altered:
    from distracted_pipeline.masks.cache import open_cache

    cache = open_cache(settings)
    shown = shown_categories(cache.areas(part.img.tolist()), LEAST_AREA)
    rows, chosen = few_frames(part, settings.why_frames, shown)

    def alter(frame: Frame) -> Iterator[Version]:
        for category in (np.flatnonzero(chosen[frame.row]) + 1).tolist():
            name = settings.dataset.category_names[category - 1]
            for ablation, mask in ablations(frame, category, _other(cache, part, shown, frame, category)):
                yield Version(name, ablation, frame.pixels, mask)

    key = (STAGE.asset, part.fold)
    return alter_frames(settings, trained, part, rows, alter, options, key=key, need_masks=True)


def ablations(frame: Frame, category: int, other: np.ndarray | None) -> Iterator[tuple[str, np.ndarray]]:
    """Yield a frame's mask, altered in one category.

    Args:
        frame: With its mask.
        category: Its id.
        other: The mask of another frame of the driver that shows the category; None where there is none.
    """
    assert frame.mask is not None
    inside = frame.mask == category
    without = np.where(inside, 0, frame.mask).astype(np.uint8)
    yield DROPPED, without
    reach = max(1, round(EROSION * float(np.sqrt(inside.sum() / np.pi))))
    yield ERODED, np.where(eroded(inside, reach), category, without).astype(np.uint8)
    angle = np.random.default_rng(seed_of(frame.img, category)).uniform(0, 2 * np.pi)
    moved = moved_ids(frame.mask, category, (SHIFT * float(np.sin(angle)), SHIFT * float(np.cos(angle))))
    yield SHIFTED, np.where(moved, category, without).astype(np.uint8)
    if other is not None and other.shape == frame.mask.shape:
        yield SWAPPED, np.where(other == category, category, without).astype(np.uint8)


def _other(cache: "MaskCache", part: Part, shown: np.ndarray, frame: Frame, category: int) -> np.ndarray | None:
    """Return the mask of a seeded frame of the same driver and another class that shows a category."""
    there = (part.subject == frame.subject) & (part.true != frame.true) & shown[:, category - 1]
    rows = sorted(np.flatnonzero(there).tolist(), key=lambda row: seed_of(frame.img, part.img[row]))
    return cache.mask(str(part.img[rows[0]])) if rows else None


def _effects(looks: Looks, variant: str, category: str, ablation: str) -> Iterator[Effect]:
    if (category, ablation) not in looks.at:
        return
    rows, plain = looks.at[category, ablation], looks.original[category, ablation]
    right = looks.right.astype(float)
    found = tested(looks, rows, right[rows] - right[plain])
    columns = {
        "before": means(looks, rows, right[plain]),
        "after": means(looks, rows, right[rows]),
        "delta": found.contrast.delta,
        "low": found.contrast.low,
        "high": found.contrast.high,
        "p": found.p,
        "lost": means(looks, rows, right[plain] * (1 - right[rows])),
    }
    yield from rows_of(looks, variant, category, ablation, found.frames, found.drivers, columns)


def found_and_missed(settings: Settings, variant: str, parts: Sequence[Part], trainings: int) -> list[Effect]:
    """Return a class's recall over all held-out frames whose masks show a category, and over those that do not.

    Only where both are more than rare. Their difference is no effect of the mask alone: frames in which the segmenter
    misses something are other frames.
    """
    from distracted_pipeline.masks.cache import open_cache

    cache, dataset = open_cache(settings), settings.dataset
    drivers = sorted({name for part in parts for name in part.subject.tolist()})
    place = {name: i for i, name in enumerate(drivers)}
    folds = np.zeros(len(drivers), int)
    replicates = max(len(part.answers) for part in parts)
    shape = (2, len(dataset.category_names), len(dataset.class_ids), len(drivers))
    hits, n = np.full((replicates, *shape), np.nan), np.zeros(shape)
    for i, part in enumerate(parts):
        shown = shown_categories(cache.areas(part.img.tolist()), LEAST_AREA)
        driver = np.array([place[name] for name in part.subject.tolist()])
        folds[driver] = i
        own = np.unique(driver)
        for replicate, answers in enumerate(part.answers):
            hits[replicate][..., own] = 0
            for category in range(shape[1]):
                of_category = np.full(len(driver), category)
                where = ((~shown[:, category]).astype(int), of_category, part.true.astype(int), driver)
                np.add.at(hits[replicate], where, answers == part.true)
                if replicate == 0:
                    np.add.at(n, where, 1)
    low_high = recall_interval(Rates(hits, n), folds)
    known = np.isfinite(hits)
    recall = (np.where(known, hits, 0).sum(0) / np.maximum(known.sum(0), 1)).sum(-1) / np.maximum(n.sum(-1), 1)
    frames = n.sum(-1)
    return [
        Effect(
            variant=variant,
            class_id=k,
            about=dataset.category_names[category],
            version=version,
            frames=int(frames[side, category, k]),
            drivers=int((n[side, category, k] > 0).sum()),
            trainings=trainings,
            after=float(recall[side, category, k]),
            low=_number(low_high[side, category, k, 0]),
            high=_number(low_high[side, category, k, 1]),
        )
        for category in range(shape[1])
        for k in range(shape[2])
        if min(frames[:, category, k]) > RARE * frames[:, category, k].sum()
        for side, version in enumerate((FOUND, MISSED))
    ]


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


STAGE = Stage("mask_ablation", "2", _alter)
