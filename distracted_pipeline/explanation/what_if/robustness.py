"""The stage `robustness`: corrupted and mirrored frames, and how much of each class's recall is left.

Corruptions are those of `corruptions`, at the size that the network sees. Networks that read masks get the clean
frame's masks, moved with the camera and blank where the frame is covered: what a segmenter that minds no corruption
would find. Segmenting every corrupted frame anew would cost as much as the masks of several data sets.

A mirrored frame is a test of another kind: what it shows is known to belong to the mirrored class (`mirrors` of the
data set), so a network that understands the scene calls it so.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from distracted_pipeline.evaluation.inference import Rates, contrast, p_value
from distracted_pipeline.evaluation.predictions import Part, read_predictions
from distracted_pipeline.evaluation.statistics import swap_signs, swap_test
from distracted_pipeline.evaluation.tables_io import made
from distracted_pipeline.explanation.what_if.corruptions import CORRUPTIONS, STRENGTHS
from distracted_pipeline.explanation.what_if.counterfactuals import rows_of
from distracted_pipeline.explanation.what_if.effects import Looks, fewest_trainings, means, tested
from distracted_pipeline.explanation.what_if.frames import Altered, Frame, Version, alter_frames
from distracted_pipeline.explanation.what_if.looks import (
    Stage,
    folds_of,
    read_looks,
    take_looks,
    variant_inputs,
    write_effects,
)
from distracted_pipeline.explanation.what_if.sampling import few_frames, seed_of
from distracted_pipeline.explanation.what_if.tables import Effect
from distracted_pipeline.options import RunOptions
from distracted_pipeline.settings import Settings

if TYPE_CHECKING:
    from distracted_pipeline.training.checkpoint import Trained

MIRROR = "mirror"
ALL = "all"
"""Stands for every corruption at every strength."""


def robustness(settings: Settings, variant: str, options: RunOptions = RunOptions()) -> list[Effect]:
    """Corrupt and mirror frames of every held-out driver, ask a variant's networks, write and return the effects.

    Raises:
        DistractedError: The variant has no usable predictions or trainings, or reads masks and there are none.
    """
    table, parts = take_looks(settings, STAGE, variant, options)
    looks = Looks.of(table, parts, len(settings.dataset.class_ids))
    effects = [effect for about, version in looks.at for effect in _effects(settings, looks, variant, about, version)]
    inputs = variant_inputs(settings, STAGE, variant, [part.fold for part in parts])
    write_effects(settings, STAGE, variant, effects, inputs)
    return effects


def mirrored_positions(settings: Settings) -> np.ndarray:
    """Return the class that each class's mirrored frame belongs to, int [class]; its own where none is named."""
    ids = settings.dataset.class_ids
    found = np.arange(len(ids))
    for first, second in settings.dataset.mirrors:
        a, b = ids.index(first), ids.index(second)
        found[a], found[b] = b, a
    return found


def sturdier(settings: Settings, variant: str, reference: str) -> list[Effect]:
    """Return by class how much more of its recall a variant keeps than its reference, over all corruptions.

    The estimate is the variant's change of recall minus the reference's, on the same corrupted frames, each with its
    own trainings: `before` is the reference's change, `after` the variant's.
    """
    sides = {name: _changes(settings, name) for name in (variant, reference)}
    (looks, a), (other, b) = sides[variant], sides[reference]
    if looks.drivers != other.drivers or (a.n != b.n).any():
        return []
    found = contrast(a, b, looks.folds)
    mean_a, mean_b = (np.where(np.isfinite(x.hits), x.hits, 0).sum(0) / np.isfinite(x.hits).sum(0) for x in (a, b))
    p_swap, _ = swap_test(mean_a, a.n, mean_b, b.n, swap_signs(looks.drivers))
    p, n = p_value(found, p_swap), a.n.sum(-1)
    return [
        made(
            Effect,
            {
                "variant": variant,
                "class_id": k,
                "about": ALL,
                "version": reference,
                "frames": int(n[k]),
                "drivers": int((a.n[k] > 0).sum()),
                "trainings": min(fewest_trainings(looks), fewest_trainings(other)),
                "before": mean_b[k].sum() / n[k],
                "after": mean_a[k].sum() / n[k],
                "delta": found.delta[k],
                "low": found.low[k],
                "high": found.high[k],
                "p": p[k],
            },
        )
        for k in np.flatnonzero(n)
    ]


def _changes(settings: Settings, variant: str) -> tuple[Looks, Rates]:
    """Return a variant's looks, and each frame's change of being right, averaged over every corruption."""
    folds = folds_of(settings, variant)
    parts = [part for (_, fold), part in read_predictions(settings, [variant]).parts.items() if fold in folds]
    table = read_looks(settings, STAGE, variant, parts)
    looks = Looks.of(table, parts, len(settings.dataset.class_ids))
    right, total, rates = looks.right.astype(float), len(CORRUPTIONS) * len(STRENGTHS), None
    for (about, version), rows in looks.at.items():
        if about in CORRUPTIONS:
            one = looks.rates(rows, (right[rows] - right[looks.original[about, version]]) / total)
            rates = one if rates is None else Rates(rates.hits + one.hits, rates.n)
    assert rates is not None  # every frame is corrupted in every way
    return looks, rates


def _alter(settings: Settings, trained: "Trained", part: Part, options: RunOptions) -> Altered:
    rows, _ = few_frames(part, settings.why_frames)

    def alter(frame: Frame) -> Iterator[Version]:
        for name, corruption in CORRUPTIONS.items():
            for strength in STRENGTHS:
                seed, mask = seed_of(frame.img, name, strength), frame.mask
                pixels = corruption.pixels(frame.pixels, strength, seed)
                if mask is not None and corruption.mask is not None:
                    mask = corruption.mask(mask, strength, seed)
                yield Version(name, str(strength), pixels, mask)
        if settings.dataset.mirrors:
            mask = None if frame.mask is None else np.ascontiguousarray(frame.mask[:, ::-1])
            yield Version(MIRROR, MIRROR, np.ascontiguousarray(frame.pixels[:, ::-1]), mask)

    key = (STAGE.asset, part.fold)
    return alter_frames(settings, trained, part, rows, alter, options, key=key, need_masks=False)


def _effects(settings: Settings, looks: Looks, variant: str, about: str, version: str) -> Iterator[Effect]:
    """Yield what one corruption of one strength, or mirroring, did to the recall of each class."""
    rows, plain = looks.at[about, version], looks.original[about, version]
    right = looks.right.astype(float)
    after = right[rows]
    if about == MIRROR:
        after = (looks.answer[rows] == mirrored_positions(settings)[looks.true[rows]]).astype(float)
    found = tested(looks, rows, after - right[plain])
    columns = {
        "before": means(looks, rows, right[plain]),
        "after": means(looks, rows, after),
        "delta": found.contrast.delta,
        "low": found.contrast.low,
        "high": found.contrast.high,
        "p": found.p,
        "lost": means(looks, rows, right[plain] * (1 - after)),
    }
    yield from rows_of(looks, variant, about, version, found.frames, found.drivers, columns)


STAGE = Stage("robustness", "1", _alter)
