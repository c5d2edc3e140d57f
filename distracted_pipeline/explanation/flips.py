"""Flips: images that one of two compared variants gets right and the other one wrong.

Belongs here: which of them are shown, so that the report can show what both variants of a comparison looked at. What is
explained beside them is `selection`; pages about them are `reports`.
"""

from collections.abc import Collection, Iterable, Sequence

import numpy as np

from distracted_pipeline.evaluation.predictions import Part, Predictions, predictions_path, variant_names
from distracted_pipeline.explanation.selection import spread
from distracted_pipeline.scopes import FOLDS, SCOPES
from distracted_pipeline.settings import Settings
from distracted_pipeline.variants.config import load_catalogue, reference_of

FLIPS = 50
"""Images of each class that are shown as gained by a variant, over many drivers, and as many that are lost."""


def flipped(true: np.ndarray, before: np.ndarray, after: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which images are gained and which are lost, bool [N]; -1 stands for no prediction, which is no flip."""
    both = (before >= 0) & (after >= 0)
    right_before, right_after = before == true, after == true
    return both & ~right_before & right_after, both & right_before & ~right_after


def choose_flips(
    imgs: Sequence[str], subjects: Sequence[str], true: np.ndarray, flips: np.ndarray, most: int = FLIPS
) -> list[int]:
    """Choose flips to be shown: of each class up to `most`, over many drivers; the order of images changes nothing.

    Args:
        imgs: Names, [N].
        subjects: Their drivers, [N].
        true: Class positions, int [N].
        flips: Which of them are flips of one direction, bool [N].
        most: How many of each class.

    Returns:
        Positions, by class.
    """
    chosen: list[int] = []
    for k in np.unique(true[flips]):
        by_driver: dict[str, list[tuple[float, str, int, int]]] = {}
        for place in np.flatnonzero(flips & (true == k)).tolist():
            by_driver.setdefault(str(subjects[place]), []).append((0.0, str(imgs[place]), 0, place))
        chosen += [place for _, place in spread(by_driver, most)]
    return chosen


def comparisons(settings: Settings) -> list[tuple[str, str]]:
    """Return every variant that has predictions with its reference, if that has some too; loads no table."""
    catalogue = load_catalogue(settings)
    there = [name for name in variant_names(settings) if any((settings.predictions / name).glob("*.parquet"))]
    pairs = ((name, reference_of(settings, catalogue, name)) for name in there)
    return [(name, reference) for name, reference in pairs if reference != name and reference in there]


def partners(settings: Settings, variant: str) -> list[str]:
    """Return the variants that share a comparison with one: its reference, and those whose reference it is."""
    pairs = comparisons(settings)
    return [name for pair in pairs if variant in pair for name in pair if name != variant]


def partner_files(settings: Settings, variant: str) -> dict[str, list[str]]:
    """Return which prediction files of its partners decide what is explained of a variant, by partner."""
    return {
        name: [fold for fold in FOLDS if predictions_path(settings, name, fold).is_file()]
        for name in partners(settings, variant)
    }


def flips_of(settings: Settings, predictions: Predictions, variant: str) -> set[str]:
    """Return the flips to be shown of every comparison that a variant takes part in.

    Args:
        settings: Gives the catalogue.
        predictions: At least those of the variant and of its `partners`.
        variant: Its name.
    """
    found: set[str] = set()
    for after, before in comparisons(settings):
        if variant in (after, before):
            found |= _shown(predictions, after, before)
    return found


def _shown(predictions: Predictions, after: str, before: str) -> set[str]:
    for scope in SCOPES:
        own, other = (_answers(predictions.of(name, scope), scope) for name in (after, before))
        both = sorted(own.keys() & other.keys())
        if both:
            return set(_chosen(both, [own[img] for img in both], [other[img][2] for img in both]))
    return set()


def _answers(parts: Iterable[Part], scope: str) -> dict[str, tuple[str, int, int]]:
    """Return by image its driver, its class and the class it is taken for."""
    found: dict[str, tuple[str, int, int]] = {}
    for part in parts:
        rows = part.rows(scope)
        columns = (values[rows].tolist() for values in (part.img, part.subject, part.true, part.predicted))
        found |= {img: rest for img, *rest in zip(*columns, strict=True)}
    return found


def _chosen(imgs: Sequence[str], own: Collection[tuple[str, int, int]], before: Sequence[int]) -> list[str]:
    subjects, true, after = zip(*own, strict=True)
    both = flipped(np.array(true), np.array(before), np.array(after))
    return [imgs[place] for flips in both for place in choose_flips(imgs, subjects, np.array(true), flips)]
