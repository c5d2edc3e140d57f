"""Intervals of differences that say what the verdicts say: corrected for all questions that are asked together.

The plain interval of one class alone is `inference`'s, and the verdict `comparison`'s; this one goes with that verdict.
"""

import math
from dataclasses import dataclass

from distracted_pipeline.evaluation.comparison import IMPROVED, UNDETERMINED, WORSENED
from distracted_pipeline.evaluation.table_schemas import ClassScore
from distracted_pipeline.testability import ALPHA

_DECIDED = (IMPROVED, WORSENED)


@dataclass(frozen=True)
class Tested:
    """A difference that was tested.

    Attributes:
        verdict: What the test said.
        delta: The difference.
        driver: Its variance by the spread of drivers.
        training: By the spread of trainings.
        double: What both of these contain.
        df: Degrees of freedom of its variance.
    """

    verdict: str
    delta: float
    driver: float
    training: float
    double: float
    df: float


def corrected_interval(score: ClassScore, undecided: int) -> tuple[float, float] | None:
    """Return the corrected interval of a row of the class-wise table, see `interval_of`; None for no claim."""
    parts = (score.delta_sd_drivers, score.delta_sd_training, score.delta_sd_double)
    if score.delta_recall is None or score.df is None or any(part is None for part in parts):
        return None
    driver, training, double = (float(part or 0) ** 2 for part in parts)
    return interval_of(Tested(score.verdict, score.delta_recall, driver, training, double, score.df), undecided)


def interval_of(tested: Tested, undecided: int) -> tuple[float, float] | None:
    """Return the interval of a difference that crosses 0 exactly where its class is undetermined; None for no claim.

    Holm's test has compatible intervals (Guilbaud, Biometrical Journal 50, 2008; Strassburger and Bretz, Statistics in
    Medicine 27, 2008): what is not rejected gets the t interval at level `ALPHA` over the number of such questions, and
    so does what is rejected, but no further than 0. Where the swap test is the one that does not reject, the interval
    is drawn out to 0.

    Args:
        tested: Of one class of one variant.
        undecided: Questions asked together that are not decided.
    """
    from scipy import special

    if tested.verdict not in (*_DECIDED, UNDETERMINED):
        return None
    variance = tested.driver + max(0.0, tested.training - tested.double)
    half = float(special.stdtrit(tested.df, 1 - ALPHA / max(undecided, 1) / 2)) * math.sqrt(variance)
    if not half > 0:
        return None
    low, high = max(tested.delta - half, -1.0), min(tested.delta + half, 1.0)
    if tested.verdict == UNDETERMINED:
        return min(low, 0.0), max(high, 0.0)
    return (max(low, 0.0), high) if tested.verdict == IMPROVED else (low, min(high, 0.0))
