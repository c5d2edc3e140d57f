"""Which images of a variant are explained: a few to be shown one by one, and many to be averaged.

Both choices depend on the predictions alone, never on the order of files or rows; what all variants have in common
depends on the names of images and drivers alone. Which images two variants disagree about is `flips`.
"""

import hashlib
from collections.abc import Collection, Sequence

import numpy as np

from distracted_pipeline.evaluation.predictions import Part

SHARED = 3
"""Images per class, each of another driver, that every variant explains, so that their maps can be compared."""


def choose(
    parts: list[Part], per_class: int, class_ids: Sequence[str], flips: Collection[str] = ()
) -> list[tuple[int, int, str]]:
    """Choose images to explain, per true class: `SHARED` that all variants have, the surest right and wrong ones.

    Args:
        parts: Predictions of one variant.
        per_class: Sure images of each kind per class, over many drivers; fewer where there are not as many.
        class_ids: Of the data set.
        flips: Names of images to explain in any case.

    Returns:
        (part, row, "correct" or "confused"), by class in the order above, flips at the end, no image twice.
    """
    chosen: dict[tuple[int, int], str] = {}
    for c, class_id in enumerate(class_ids):
        for i, common in _shared(parts, c, class_id, SHARED):
            chosen[i, common] = "correct" if parts[i].predicted[common] == c else "confused"
        for kind in ("correct", "confused"):
            by_driver: dict[str, list[tuple[float, str, int, int]]] = {}
            for i, part in enumerate(parts):
                wanted = (part.true == c) & ((part.predicted == c) == (kind == "correct"))
                for row in np.flatnonzero(wanted):
                    surest_first = (-float(part.mean[row].max()), str(part.img[row]), i, int(row))
                    by_driver.setdefault(str(part.subject[row]), []).append(surest_first)
            chosen |= dict.fromkeys(spread(by_driver, per_class), kind)
    for i, part in enumerate(parts):
        for flip in np.flatnonzero(np.isin(part.img, list(flips))).tolist():
            chosen.setdefault((i, flip), "correct" if part.predicted[flip] == part.true[flip] else "confused")
    return [(i, row, kind) for (i, row), kind in chosen.items()]


def _shared(parts: list[Part], c: int, class_id: str, wanted: int) -> list[tuple[int, int]]:
    """Take one image each of some drivers, both in the order of hashes of their names.

    Where a variant lacks a fold, the next drivers take the places of those who are not there; the others stay.
    """
    first: dict[str, tuple[bytes, int, int]] = {}
    for i, part in enumerate(parts):
        for row in np.flatnonzero(part.true == c):
            driver, found = str(part.subject[row]), (_hash(str(part.img[row])), i, int(row))
            first[driver] = min(first.get(driver, found), found)
    drivers = sorted(first, key=lambda driver: _hash(f"{class_id} {driver}"))
    return [first[driver][1:] for driver in drivers[:wanted]]


def _hash(name: str) -> bytes:
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()


def spread(by_driver: dict[str, list[tuple[float, str, int, int]]], wanted: int) -> list[tuple[int, int]]:
    """Return part and row of some images, each (rank, name, part, row), the lowest first of each driver.

    Take from each driver in turn; where there are more drivers than places, from evenly spaced ones.
    """
    queues = [sorted(by_driver[driver]) for driver in sorted(by_driver)]
    if len(queues) > wanted:
        queues = [queues[i] for i in _evenly(len(queues), wanted)]
    taken = [queue[turn] for turn in range(wanted) for queue in queues if turn < len(queue)]
    return [(i, row) for _, _, i, row in taken[:wanted]]


def few_each(part: Part, wanted: int) -> np.ndarray:
    """Return rows of a part, sorted: up to `wanted` of each driver and class, evenly spaced over the images' names."""
    cells: dict[tuple[str, int], list[int]] = {}
    for row in np.argsort(part.img, kind="stable"):
        cells.setdefault((str(part.subject[row]), int(part.true[row])), []).append(int(row))
    taken = [np.array(rows)[_evenly(len(rows), wanted)] for rows in cells.values()]
    return np.sort(np.concatenate(taken))


def _evenly(available: int, wanted: int) -> np.ndarray:
    return np.linspace(0, available - 1, min(wanted, available)).round().astype(int)
