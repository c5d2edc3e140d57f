"""Which images the report shows: few enough to browse and to store, chosen by rule, never by taste.

Choices depend only on predictions and CAMs, so the same results give the same pages. Drawing them
belongs to `pictures`.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np

from distracted_pipeline.evaluation.label_errors import doubts
from distracted_pipeline.explanation.flips import choose_flips, flipped
from distracted_pipeline.reports.report_data import Cams, Image, ReportData

HARDEST = 8
"""Images shown for each class as its hardest."""

SUSPECTS = 6
"""Images shown for each class as perhaps mislabelled."""

MASK_SAMPLES = 6
"""Images shown per class with their masks, one per driver."""

MOST = 1000
"""Most images with pictures; keeps the site within its budget whatever the catalogue."""

STRIPS = 2
"""Right images, and as many confused ones, per class whose Grad-CAMs stand on a variant's page."""


@dataclass(frozen=True)
class Flips:
    """What a variant changed against its reference on the images that both predict.

    Attributes:
        gained: Images by class that only the variant gets right, int [class].
        lost: Images by class that only the reference gets right, int [class].
        shown_gained: Of the former a few of each class, which both variants explain; see `explanation.flips`.
        shown_lost: Of the latter likewise.
        common: Images that both predict.
        every: All that are gained or lost.
    """

    gained: np.ndarray
    lost: np.ndarray
    shown_gained: list[str]
    shown_lost: list[str]
    common: int
    every: list[str]


@dataclass(frozen=True)
class Suspect:
    """An image whose label the variants doubt together, the class that they see, and the mean probability of both."""

    img: str
    seen: int
    p_seen: float
    p_label: float


@dataclass(frozen=True)
class Selection:
    """Images with pictures, in manifest order, and where else they appear.

    Attributes:
        images: Those with pictures.
        flips: By variant.
        hardest: By class, the hardest first.
        suspects: By class, the most doubted first.
        masks: By class, one per driver.
        strips: By variant, those whose Grad-CAMs stand on its page.
        left_out: Images that deserve pictures but would make the site too large.
    """

    images: list[Image]
    flips: dict[str, Flips]
    hardest: list[list[str]]
    suspects: list[list[Suspect]]
    masks: list[list[str]]
    strips: dict[str, list[str]]
    left_out: int


def select(report: ReportData, most: int = MOST) -> Selection:
    """Choose the images with pictures: a few flips and CAMs of every variant, the hardest of each class.

    Where that is more than `most`, each of these lists gives its first images.
    """
    images = list(report.images.values())
    true = np.array([image.true for image in images], int)
    predicted = report.predictions.predicted()
    flips = _flips(report, images, true, predicted)
    together, seen = _together(report)
    hardest = _hardest(together, seen, images, true)
    suspects = _suspects(together, seen, images, true)
    masks = [_turned(spread([i for i in images if i.true == k], MASK_SAMPLES), k) for k in report.classes]
    explained = Counter(img for cams in report.cams.values() for img in {row.img: None for row in cams.rows})
    strips = {name: _strips(cams) for name, cams in report.cams.items()}
    groups = [
        [img for img, count in explained.most_common() if count == len(report.cams)],
        *(
            spread((report.images[img] for img in names), len(names))  # every class, and every driver, in turn
            for f in flips.values()
            for names in (f.shown_gained, f.shown_lost)
        ),
        *strips.values(),
        *hardest,
        *([suspect.img for suspect in found] for found in suspects),
        *(names[:2] for names in masks),
    ]
    chosen = [img for turn in zip_longest(*groups) for img in turn if img in report.images]
    wanted = dict.fromkeys([*chosen, *(img for f in flips.values() for img in f.every)])
    kept = set(list(wanted)[:most])
    return Selection(
        images=[image for image in images if image.img in kept],
        flips=flips,
        hardest=hardest,
        suspects=[[suspect for suspect in found if suspect.img in kept] for found in suspects],
        masks=[[img for img in names if img in kept] for names in masks],
        strips={name: [img for img in names if img in kept] for name, names in strips.items()},
        left_out=len(wanted) - len(kept),
    )


def _flips(report: ReportData, images: Sequence[Image], true: np.ndarray, predicted: np.ndarray) -> dict[str, Flips]:
    names = report.predictions.variants
    imgs, subjects = [image.img for image in images], [image.subject for image in images]
    result = {}
    for v, name in enumerate(names):
        reference = report.reference(name)
        if reference not in names:
            continue
        base = predicted[names.index(reference)]
        both = (base >= 0) & (predicted[v] >= 0)
        if not both.any():
            continue
        gained, lost = flipped(true, base, predicted[v])
        result[name] = Flips(
            np.bincount(true[gained], minlength=len(report.classes)),
            np.bincount(true[lost], minlength=len(report.classes)),
            [imgs[i] for i in choose_flips(imgs, subjects, true, gained)],
            [imgs[i] for i in choose_flips(imgs, subjects, true, lost)],
            int(both.sum()),
            [imgs[i] for i in np.flatnonzero(gained | lost).tolist()],
        )
    return result


def _strips(cams: Cams) -> list[str]:
    """Return the images whose CAMs stand on a variant's page, the first of each class and kind."""
    kept: Counter[tuple[int, str]] = Counter()
    chosen: dict[str, None] = {}
    for row in cams.rows:
        if row.img not in chosen and kept[row.true, row.kind] < STRIPS:
            kept[row.true, row.kind] += 1
            chosen[row.img] = None
    return list(chosen)


def _together(report: ReportData) -> tuple[np.ndarray, np.ndarray]:
    """Return the variants' mean probabilities, [image, class], and which images any of them predicts."""
    given = report.predictions.probabilities
    seen = np.isfinite(given).all(-1).any(0)
    mean = np.zeros(given.shape[1:], np.float32)
    mean[seen] = np.nanmean(given[:, seen], axis=0)
    return mean, seen


def _hardest(together: np.ndarray, seen: np.ndarray, images: Sequence[Image], true: np.ndarray) -> list[list[str]]:
    """Return for each class the images whose true class gets the least probability, two per driver at most."""
    order = np.argsort(together[np.arange(len(images)), true], kind="stable")
    return [
        _two_per_driver([images[i] for i in order[(true[order] == k) & seen[order]].tolist()], HARDEST)
        for k in range(together.shape[1])
    ]


def _suspects(together: np.ndarray, seen: np.ndarray, images: Sequence[Image], true: np.ndarray) -> list[list[Suspect]]:
    """Return for each class the images that look like another one, as confident learning finds them.

    An image is doubted when another class gets at least the mean probability that images with that label get, and
    more than the image's own label gets (Northcutt, Jiang and Chuang, JAIR 2021). Probabilities are held-out, so no
    model learnt the label it doubts.
    """
    found = doubts(together, true, seen)
    result = []
    for k in range(together.shape[1]):
        order = [i for i in found.order.tolist() if true[i] == k]
        chosen = _two_per_driver([images[i] for i in order], SUSPECTS)
        at = {images[i].img: i for i in order}
        result.append(
            [Suspect(n, int(found.rival[at[n]]), float(found.against[at[n]]), float(found.own[at[n]])) for n in chosen]
        )
    return result


def _two_per_driver(images: Sequence[Image], most: int) -> list[str]:
    """Return the first images, but no more than two of a driver: near-duplicates never fill a row."""
    drivers: Counter[str] = Counter()
    chosen: list[str] = []
    for image in images:
        drivers[image.subject] += 1
        if drivers[image.subject] <= 2 and len(chosen) < most:
            chosen.append(image.img)
    return chosen


def spread(images: Iterable[Image], most: int) -> list[str]:
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
