"""What one variant changed against another, class by class, on the drivers that both predicted.

The rules that turn numbers into a verdict are here and nowhere else; the numbers come from `statistics`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from distracted_pipeline.evaluation.statistics import (
    ALPHA,
    MIN_DRIVERS,
    delta_interval,
    f1,
    hits,
    holm,
    jackknife_delta,
    mean_present,
    precision,
    recall,
    support,
    swap_test,
)

IMPROVED: Final = "improved"
WORSENED: Final = "worsened"
UNDETERMINED: Final = "undetermined"
NOT_TESTABLE: Final = "not testable"
BASELINE: Final = "baseline"
ABSENT: Final = "absent"


@dataclass(frozen=True)
class Difference:
    """Variant minus baseline; each array has one value per class, NaN where undefined.

    Attributes:
        drivers: Drivers compared.
        baseline_recall: Recall of the baseline on those drivers.
        delta: Difference of recall on those drivers.
        interval: Low and high of `delta`, [class, 2].
        p: Two-sided p of the whole-driver swap test.
        p_holm: The same, Holm-adjusted over the classes.
        verdicts: One of the words above.
        macro_delta: Mean of `delta` over the present classes.
        macro_p: p of that mean.
        precision: Difference of precision, [class].
        precision_interval: Its low and high, [class, 2], by the jackknife over drivers.
        f1: Difference of F1, [class].
        f1_interval: Likewise.
        variant: Counts of the variant on the drivers that both predicted, [driver, true, predicted]; the others are 0.
        baseline: Counts of the baseline, likewise.
    """

    drivers: np.ndarray
    baseline_recall: np.ndarray
    delta: np.ndarray
    interval: np.ndarray
    p: np.ndarray
    p_holm: np.ndarray
    verdicts: tuple[str, ...]
    macro_delta: float
    macro_p: float
    precision: np.ndarray
    precision_interval: np.ndarray
    f1: np.ndarray
    f1_interval: np.ndarray
    variant: np.ndarray
    baseline: np.ndarray


def difference(variant: np.ndarray, baseline: np.ndarray, signs: np.ndarray) -> Difference:
    """Compare two variants.

    Args:
        variant: Counts [driver, true, predicted].
        baseline: Counts over the same drivers in the same order.
        signs: Draws from `statistics.swap_signs` for those drivers.
    """
    both = (variant.sum((1, 2)) > 0) & (baseline.sum((1, 2)) > 0)
    a, b = variant * both[:, None, None], baseline * both[:, None, None]
    counts = hits(a).T, support(a).T, hits(b).T, support(b).T
    drivers = ((counts[1] > 0) & (counts[3] > 0)).sum(-1)
    delta = recall(a.sum(0)) - recall(b.sum(0))
    p, macro_p = swap_test(*counts, signs)
    adjusted = holm(p)
    present = support(variant.sum(0)) > 0
    precision_delta, precision_interval = jackknife_delta(a, b, precision)
    f1_delta, f1_interval = jackknife_delta(a, b, f1)
    return Difference(
        drivers=drivers,
        baseline_recall=recall(b.sum(0)),
        delta=delta,
        interval=delta_interval(*counts),
        p=p,
        p_holm=adjusted,
        verdicts=tuple(_verdict(*row) for row in zip(present, drivers, delta, adjusted, strict=True)),
        macro_delta=mean_present(delta),
        macro_p=float(macro_p),
        precision=precision_delta,
        precision_interval=precision_interval,
        f1=f1_delta,
        f1_interval=f1_interval,
        variant=a,
        baseline=b,
    )


def _verdict(present: bool, drivers: int, delta: float, p_holm: float) -> str:
    if not present:
        return ABSENT
    if drivers < MIN_DRIVERS:
        return NOT_TESTABLE
    if p_holm >= ALPHA:
        return UNDETERMINED
    return IMPROVED if delta > 0 else WORSENED


def sentence(verdicts: Sequence[str]) -> str:
    """Return verdicts in words: `2 of 10 classes improved, 1 worsened, 7 undetermined`."""
    total = len(verdicts)
    if BASELINE in verdicts:
        return "the baseline that the others are compared with"
    if set(verdicts) <= {NOT_TESTABLE, ABSENT}:
        return f"not testable: fewer than {MIN_DRIVERS} drivers in common with the baseline"
    words = [f"{verdicts.count(IMPROVED)} of {total} classes improved"]
    words += [f"{verdicts.count(word)} {word}" for word in (WORSENED, UNDETERMINED)]
    words += [f"{verdicts.count(word)} {word}" for word in (NOT_TESTABLE, ABSENT) if word in verdicts]
    return ", ".join(words)
