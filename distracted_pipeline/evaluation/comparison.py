"""What one variant changed against another, class by class, on the drivers that both predicted.

The rules that turn numbers into a verdict are here and nowhere else; the numbers come from `statistics`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from distracted_pipeline.evaluation.statistics import (
    ALPHA,
    delta_interval,
    f1,
    hits,
    holm_of_askable,
    jackknife_delta,
    mean_present,
    needed_drivers,
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
        p_own: The same, Holm-adjusted over the classes of this comparison.
        p_holm: Holm-adjusted over all questions that are asked together: the classes of this comparison, or of all
            that `together` was given.
        verdicts: One of the words above, by `p_holm`.
        macro_drivers: Drivers compared over all classes.
        macro_delta: Mean of `delta` over the present classes.
        macro_p: p of that mean.
        macro_p_holm: The same, Holm-adjusted over the means of all comparisons asked together.
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
    p_own: np.ndarray
    p_holm: np.ndarray
    verdicts: tuple[str, ...]
    macro_drivers: int
    macro_delta: float
    macro_p: float
    macro_p_holm: float
    precision: np.ndarray
    precision_interval: np.ndarray
    f1: np.ndarray
    f1_interval: np.ndarray
    variant: np.ndarray
    baseline: np.ndarray


def difference(variant: np.ndarray, baseline: np.ndarray, signs: np.ndarray) -> Difference:
    """Compare two variants, and ask about nothing but their classes.

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
    own = holm_of_askable(p, drivers, len(signs))
    present = support(variant.sum(0)) > 0
    precision_delta, precision_interval = jackknife_delta(a, b, precision)
    f1_delta, f1_interval = jackknife_delta(a, b, f1)
    return Difference(
        drivers=drivers,
        baseline_recall=recall(b.sum(0)),
        delta=delta,
        interval=delta_interval(*counts),
        p=p,
        p_own=own,
        p_holm=own,
        verdicts=_verdicts(present, delta, own),
        macro_drivers=int(both.sum()),
        macro_delta=mean_present(delta),
        macro_p=float(macro_p),
        macro_p_holm=float(macro_p),
        precision=precision_delta,
        precision_interval=precision_interval,
        f1=f1_delta,
        f1_interval=f1_interval,
        variant=a,
        baseline=b,
    )


def together(changes: Mapping[str, Difference], draws: int) -> dict[str, Difference]:
    """Return comparisons with one baseline as answers to questions that one report asks together.

    Every class of every comparison is one question, and so is every mean over classes among the means; p and verdicts
    are corrected accordingly (Holm), so that a report of variants that do nothing decides something in at most 5 of
    100 cases, however many variants it shows.

    Args:
        changes: By variant.
        draws: Swaps that their p rest on.
    """
    if not changes:
        return {}
    found = list(changes.values())
    classes = holm_of_askable(np.stack([c.p for c in found]), np.stack([c.drivers for c in found]), draws)
    means = holm_of_askable(np.array([c.macro_p for c in found]), np.array([c.macro_drivers for c in found]), draws)
    return {
        name: replace(
            change,
            p_holm=adjusted,
            verdicts=_verdicts(np.array(change.verdicts) != ABSENT, change.delta, adjusted),
            macro_p_holm=float(mean),
        )
        for (name, change), adjusted, mean in zip(changes.items(), classes, means, strict=True)
    }


def _verdicts(present: np.ndarray, delta: np.ndarray, adjusted: np.ndarray) -> tuple[str, ...]:
    return tuple(_verdict(*row) for row in zip(present, delta, adjusted, strict=True))


def _verdict(present: bool, delta: float, adjusted: float) -> str:
    if not present:
        return ABSENT
    if np.isnan(adjusted):
        return NOT_TESTABLE
    if adjusted >= ALPHA:
        return UNDETERMINED
    return IMPROVED if delta > 0 else WORSENED


def sentence(verdicts: Sequence[str], questions: int = 0) -> str:
    """Return verdicts in words: `2 of 10 classes improved, 1 worsened, 7 undetermined`.

    Args:
        verdicts: Of one variant's classes.
        questions: How many were asked together; by default these.
    """
    total = len(verdicts)
    if BASELINE in verdicts:
        return "the baseline that the others are compared with"
    if set(verdicts) <= {NOT_TESTABLE, ABSENT}:
        questions = questions or total - verdicts.count(ABSENT)
        return (
            f"not testable: fewer than {needed_drivers(questions)} drivers in common with the baseline, "
            f"which is what {questions} questions at once take"
        )
    words = [f"{verdicts.count(IMPROVED)} of {total} classes improved"]
    words += [f"{verdicts.count(word)} {word}" for word in (WORSENED, UNDETERMINED)]
    words += [f"{verdicts.count(word)} {word}" for word in (NOT_TESTABLE, ABSENT) if word in verdicts]
    return ", ".join(words)
