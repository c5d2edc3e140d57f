"""Somebody's split into training and test frames: drivers and near-duplicates on both sides, and what a score is worth.

Belongs here: judging a split, from frames and labels alone. Reading it is `splits`, the page `reports.audit_page`.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from distracted_pipeline.images.likeness import ALIKE, BITS, Pair, as_words, blocks, nearest
from distracted_pipeline.images.splits import TEST, TRAIN, Listed, Seen

DRIVER_ICC: Final = 0.07
"""How alike the answers about two frames of one driver are, where nobody says: intraclass correlation of right answers.

Measured on 1,030 State Farm frames of 26 drivers, out of fold over efficientnet_lite0: .070 for the linear probe, .068
for a trained top, .043 for a probe by AdamW. Within a driver and class it is .45 to .54.
"""

WRONG_SHARE: Final = 0.01
"""Share of pairs within the threshold that may show two drivers, where drivers are known."""

_PAIRS_KEPT: Final = 24


@dataclass(frozen=True)
class Worth:
    """What a published accuracy on the test side is worth.

    Attributes:
        accuracy: As published.
        icc: Intraclass correlation of right answers within a driver.
        design_effect: Kish's: 1 + (mean frames of a driver, weighted by frames, - 1) x icc.
        effective: Test frames divided by it.
        low: Lower end of its interval for other drivers.
        high: Upper end.
        naive_low: Lower end if frames were independent.
        naive_high: Upper end.
    """

    accuracy: float
    icc: float
    design_effect: float
    effective: float
    low: float
    high: float
    naive_low: float
    naive_high: float


@dataclass(frozen=True)
class Audit:
    """What was found.

    Attributes:
        frames: By side.
        classes: Frames by class and side.
        drivers: Known drivers by side, sorted.
        unknown_drivers: Frames whose driver nobody knows.
        shared_drivers: On both sides, with their test frames.
        identical: Pairs (train, test) of the same bytes.
        threshold: Bits up to which frames count as near-duplicates.
        chosen: How the threshold was chosen, in words.
        near: Test frames with a near-duplicate among the training frames, byte-identical ones included.
        histogram: Test frames by the bits to their nearest training frame, int [257].
        pairs: The closest pairs (train, test), by position.
        beyond: The closest pairs that are no near-duplicates any more.
        unreadable: Frames that cannot be used, with the reason.
        worth: What the published accuracy is worth; None where there is none, or where not two test drivers are known.
    """

    frames: dict[str, int]
    classes: dict[str, dict[str, int]]
    drivers: dict[str, list[str]]
    unknown_drivers: int
    shared_drivers: dict[str, int]
    identical: list[Pair]
    threshold: int
    chosen: str
    near: int
    histogram: np.ndarray
    pairs: list[Pair]
    beyond: list[Pair]
    unreadable: list[str]
    worth: Worth | None

    @property
    def leaks(self) -> list[str]:
        """What leaks from one side to the other, in sentences; empty for a clean split."""
        found = []
        if self.shared_drivers:
            names = ", ".join(list(self.shared_drivers)[:8]) + (" …" if len(self.shared_drivers) > 8 else "")
            frames = sum(self.shared_drivers.values())
            found.append(
                f"{len(self.shared_drivers)} of {len(self.drivers[TEST])} test drivers are trained on too ({names}): "
                f"{frames / self.frames[TEST]:.0%} of the test frames"
            )
        if self.identical:
            found.append(f"{len({pair.second for pair in self.identical})} test frames are byte for byte trained on")
        if self.near:
            found.append(
                f"{self.near:,} test frames ({self.near / self.frames[TEST]:.0%}) have a near-duplicate among the "
                f"training frames (within {self.threshold} of {BITS} bits)"
            )
        return found


def audit(
    listed: Sequence[Listed],
    seen: Sequence[Seen],
    *,
    accuracy: float | None = None,
    threshold: int | None = None,
    icc: float | None = None,
) -> Audit:
    """Return what a split gives away.

    Args:
        listed: Its frames.
        seen: What is in each.
        accuracy: A published accuracy on the test side.
        threshold: Bits; None chooses it from the frames.
        icc: See `Worth`; None takes it from the answers where the split holds them, else `DRIVER_ICC`.
    """
    usable = [i for i, one in enumerate(seen) if one.look]
    good = np.array(usable, int)
    side = np.array([listed[i].side for i in usable])
    words = as_words([seen[i].look for i in usable])
    subjects = np.array([listed[i].subject for i in usable])
    bits, chosen = (threshold, "as asked") if threshold is not None else choose_threshold(words, subjects)
    train, test = good[side == TRAIN], good[side == TEST]
    histogram, pairs, beyond, near = np.zeros(BITS + 1, np.int64), [], [], 0
    if len(train) and len(test):
        place, least = nearest(words[side == TEST], words[side == TRAIN])
        histogram = np.bincount(least, minlength=BITS + 1)
        near = int((least <= bits).sum())
        every = sorted(
            (Pair(int(train[p]), int(i), int(d)) for i, p, d in zip(test, place, least, strict=True)),
            key=lambda pair: (pair.distance, pair.second),
        )
        within = [pair for pair in every if pair.distance <= bits]
        pairs = [*within[: _PAIRS_KEPT // 2], *within[_PAIRS_KEPT // 2 :][-_PAIRS_KEPT // 2 :]]
        beyond = [pair for pair in every if pair.distance > bits][: _PAIRS_KEPT // 2]
    drivers = {
        which: sorted({one.subject for one in listed if one.side == which and one.subject}) for which in (TRAIN, TEST)
    }
    of_test = Counter(one.subject for one in listed if one.side == TEST)
    return Audit(
        frames={which: sum(one.side == which for one in listed) for which in (TRAIN, TEST)},
        classes=_classes(listed),
        drivers=drivers,
        unknown_drivers=sum(not one.subject for one in listed),
        shared_drivers={name: of_test[name] for name in drivers[TEST] if name in set(drivers[TRAIN])},
        identical=_identical(listed, seen),
        threshold=bits,
        chosen=chosen,
        near=near,
        histogram=histogram,
        pairs=pairs,
        beyond=beyond,
        unreadable=[f"{one.path}: {what.problem}" for one, what in zip(listed, seen, strict=True) if not what.look],
        worth=None if accuracy is None else worth(listed, accuracy, icc),
    )


def choose_threshold(words: np.ndarray, subjects: np.ndarray, most: int = ALIKE) -> tuple[int, str]:
    """Return the bits up to which frames count as near-duplicates, and how that was chosen.

    The largest number up to `most` within which nearly all pairs are of one driver: other frames, cars or cameras may
    look more alike than those that `likeness.ALIKE` was measured on.

    Args:
        words: Of each frame.
        subjects: Whose it is, empty where nobody knows.
        most: Bits.
    """
    known = subjects != ""
    if len(set(subjects[known])) < 2:
        return most, "as measured on State Farm's frames, for drivers are not known here"
    words, subjects = words[known], subjects[known]
    _, driver = np.unique(subjects, return_inverse=True)
    same = sum(_close(words[driver == d], words[driver == d], most) for d in range(driver.max() + 1))
    pairs = _close(words, words, most)
    with np.errstate(invalid="ignore"):
        strangers = np.nan_to_num((pairs - same).cumsum() / pairs.cumsum())
    fits = np.flatnonzero(strangers <= WRONG_SHARE)
    bits = int(fits.max(initial=0))
    return bits, f"the most, up to {most}, at which {1 - WRONG_SHARE:.0%} of all pairs so alike are of one driver"


def worth(listed: Sequence[Listed], accuracy: float, icc: float | None = None) -> Worth | None:
    """Return what a published accuracy is worth; None where not two drivers of the test side are known.

    Clopper-Pearson's interval for the effective number of frames (Kish, Survey Sampling, 1965), corrected for as few
    drivers as there are (Korn and Graubard, Survey Methodology 24, 1998).
    """
    from scipy import special

    test = [one for one in listed if one.side == TEST and one.subject]
    sizes = np.array(list(Counter(one.subject for one in test).values()), float)
    if len(sizes) < 2:
        return None
    if icc is None:
        answered = [one for one in test if one.correct is not None]
        icc = icc_of([bool(one.correct) for one in answered], [one.subject for one in answered])
    frames = sum(one.side == TEST for one in listed)
    effect = max(1.0, 1 + ((sizes**2).sum() / sizes.sum() - 1) * icc)
    few = (special.stdtrit(max(frames - 1, 1), 0.975) / special.stdtrit(len(sizes) - 1, 0.975)) ** 2
    effective = frames / effect
    low, high = _interval(accuracy, effective * float(few))
    return Worth(accuracy, icc, effect, effective, low, high, *_interval(accuracy, frames))


def icc_of(correct: Sequence[bool], subjects: Sequence[str]) -> float:
    """Return the intraclass correlation of right answers within drivers (one-way analysis of variance), 0 at least.

    `DRIVER_ICC` where there are no answers of two drivers.
    """
    answers = np.asarray(correct, float)
    _, driver = np.unique(np.asarray(subjects, dtype=str), return_inverse=True)
    n = np.bincount(driver) if len(driver) else np.zeros(0)
    if len(n) < 2 or len(answers) <= len(n):
        return DRIVER_ICC
    mean = np.bincount(driver, answers) / n
    between = (n * (mean - answers.mean()) ** 2).sum() / (len(n) - 1)
    within = ((answers - mean[driver]) ** 2).sum() / (len(answers) - len(n))
    size = (len(answers) - (n**2).sum() / len(answers)) / (len(n) - 1)
    total = between + (size - 1) * within
    return max(0.0, float((between - within) / total)) if total > 0 else 0.0


def _interval(share: float, n: float) -> tuple[float, float]:
    from scipy import special

    right = share * n
    low = float(special.betaincinv(right, n - right + 1, 0.025)) if share > 0 else 0.0
    high = float(special.betaincinv(right + 1, n - right, 0.975)) if share < 1 else 1.0
    return low, high


def _close(one: np.ndarray, other: np.ndarray, most: int) -> np.ndarray:
    """Return how many pairs differ in 0 … `most` bits, each pair twice, a frame with itself left out, [most + 1]."""
    counts = np.zeros(most + 1, np.int64)
    for _, _, bits in blocks(one, other):
        counts += np.bincount(bits[bits <= most], minlength=most + 1)
    counts[0] -= len(one)
    return counts


def _classes(listed: Sequence[Listed]) -> dict[str, dict[str, int]]:
    names = sorted({one.label for one in listed})
    counts = Counter((one.label, one.side) for one in listed)
    return {name: {which: counts[name, which] for which in (TRAIN, TEST)} for name in names if name}


def _identical(listed: Sequence[Listed], seen: Sequence[Seen]) -> list[Pair]:
    first: dict[str, int] = {}
    for i, (one, what) in enumerate(zip(listed, seen, strict=True)):
        if one.side == TRAIN and what.sha256:
            first.setdefault(what.sha256, i)
    return [
        Pair(first[what.sha256], i, 0)
        for i, (one, what) in enumerate(zip(listed, seen, strict=True))
        if one.side == TEST and what.sha256 in first
    ]
