"""Which images the report shows: few enough to browse and to store, chosen by rule, never by taste.

Choices depend only on predictions and CAMs, so the same results give the same pages. Drawing them
belongs to `pictures`.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from distracted_pipeline.reports.reading import Findings, Image

FLIPS = 6
"""Images shown for each direction of a variant's flips."""

HARDEST = 8
"""Images shown for each class as its hardest."""

MASK_SAMPLES = 6
"""Images shown per class with their masks, one per driver."""

MOST = 900
"""Images with a page of their own; keeps the site within its budget whatever the catalogue."""


@dataclass(frozen=True)
class Flips:
    """What a variant changed against the baseline on the images that both predict.

    Attributes:
        gained: Images by class that only the variant gets right, int [10].
        lost: Images by class that only the baseline gets right, int [10].
        shown_gained: A few of the former, spread over classes and drivers.
        shown_lost: A few of the latter.
        common: Images that both predict.
    """

    gained: np.ndarray
    lost: np.ndarray
    shown_gained: list[str]
    shown_lost: list[str]
    common: int


@dataclass(frozen=True)
class Selection:
    """Images with pages of their own, in manifest order, and where else they appear."""

    images: list[Image]
    flips: dict[str, Flips]
    hardest: list[list[str]]
    masks: list[list[str]]
    left_out: int


def select(findings: Findings) -> Selection:
    """Choose the images of a report: all with CAMs, a few flips per variant, the hardest of each class."""
    images = list(findings.images.values())
    true = np.array([image.true for image in images])
    predicted = findings.predictions.predicted()
    flips = _flips(findings, images, true, predicted)
    hardest = _hardest(findings, images, true)
    masks = [_turned(_spread([i for i in images if i.true == k], MASK_SAMPLES), k) for k in range(10)]
    with_cams = [row.img for cams in findings.cams.values() for row in cams.rows]
    wanted: dict[str, None] = {}
    for group in (
        *([*f.shown_gained, *f.shown_lost] for f in flips.values()),
        *hardest,
        *(names[:2] for names in masks),
        with_cams,
    ):
        wanted.update(dict.fromkeys(img for img in group if img in findings.images))
    kept = set(list(wanted)[:MOST])
    return Selection(
        images=[image for image in images if image.img in kept],
        flips=flips,
        hardest=hardest,
        masks=[[img for img in names if img in kept] for names in masks],
        left_out=len(wanted) - len(kept),
    )


def _flips(findings: Findings, images: Sequence[Image], true: np.ndarray, predicted: np.ndarray) -> dict[str, Flips]:
    names = findings.predictions.variants
    if findings.baseline not in names:
        return {}
    base = predicted[names.index(findings.baseline)]
    result = {}
    for v, name in enumerate(names):
        both = (base >= 0) & (predicted[v] >= 0)
        if name == findings.baseline or not both.any():
            continue
        gained = both & (base != true) & (predicted[v] == true)
        lost = both & (base == true) & (predicted[v] != true)
        result[name] = Flips(
            np.bincount(true[gained], minlength=10),
            np.bincount(true[lost], minlength=10),
            _spread((images[i] for i in np.flatnonzero(gained).tolist()), FLIPS),
            _spread((images[i] for i in np.flatnonzero(lost).tolist()), FLIPS),
            int(both.sum()),
        )
    return result


def _hardest(findings: Findings, images: Sequence[Image], true: np.ndarray) -> list[list[str]]:
    """Return for each class the images to whose true class the variants give least, two per driver at most."""
    given = findings.predictions.probabilities[:, np.arange(len(images)), true]
    seen = np.isfinite(given).any(0)
    mean = np.full(len(images), np.inf)
    mean[seen] = np.nanmean(given[:, seen], axis=0)
    result = []
    for k in range(10):
        order = [i for i in np.argsort(mean, kind="stable").tolist() if true[i] == k and seen[i]]
        drivers: dict[str, int] = {}
        chosen: list[str] = []
        for i in order:
            drivers[images[i].subject] = drivers.get(images[i].subject, 0) + 1
            if drivers[images[i].subject] <= 2 and len(chosen) < HARDEST:
                chosen.append(images[i].img)
        result.append(chosen)
    return result


def _spread(images: Iterable[Image], most: int) -> list[str]:
    """Take one image per class, the largest class first, then of the next driver: near-duplicates never fill a row."""
    groups: dict[tuple[int, str], list[str]] = {}
    for image in images:
        groups.setdefault((image.true, image.subject), []).append(image.img)
    sizes = Counter(true for (true, _), names in groups.items() for _ in names)
    ranks = {key: sum(k[0] == key[0] and k[1] < key[1] for k in groups) for key in groups}
    keys = sorted(groups, key=lambda key: (ranks[key], -sizes[key[0]], key[0]))
    rounds = max((len(names) for names in groups.values()), default=0)
    return [groups[key][r] for r in range(rounds) for key in keys if r < len(groups[key])][:most]


def _turned(names: list[str], k: int) -> list[str]:
    """Start another driver for each class, so that a page with one image per class shows several."""
    start = k % max(len(names), 1)
    return names[start:] + names[:start]
