"""Intervals of differences that say what the verdicts say: corrected for all questions that are asked together.

The plain interval of one class alone is `inference`'s, and the verdict `comparison`'s; this one goes with that verdict.
"""

import math

from distracted_pipeline.evaluation.comparison import IMPROVED, UNDETERMINED, WORSENED
from distracted_pipeline.evaluation.table_schemas import ClassScore
from distracted_pipeline.testability import ALPHA

_DECIDED = (IMPROVED, WORSENED)


def corrected_interval(score: ClassScore, undecided: int) -> tuple[float, float] | None:
    """Return the interval of a difference that crosses 0 exactly where its class is undetermined; None for no claim.

    Holm's test has compatible intervals (Guilbaud, Biometrical Journal 50, 2008; Strassburger and Bretz, Statistics in
    Medicine 27, 2008): what is not rejected gets the t interval at level `ALPHA` over the number of such questions, and
    so does what is rejected, but no further than 0. Where the swap test is the one that does not reject, the interval
    is drawn out to 0.

    Args:
        score: Of one class of one variant.
        undecided: Questions asked together that are not decided.
    """
    from scipy import special

    parts = (score.delta_sd_drivers, score.delta_sd_training, score.delta_sd_double)
    if score.verdict not in (*_DECIDED, UNDETERMINED) or score.delta_recall is None or score.df is None:
        return None
    if any(part is None for part in parts):
        return None
    driver, training, double = (float(part or 0) ** 2 for part in parts)
    half = float(special.stdtrit(score.df, 1 - ALPHA / max(undecided, 1) / 2)) * math.sqrt(
        driver + max(0.0, training - double)
    )
    if not half > 0:
        return None
    low, high = max(score.delta_recall - half, -1.0), min(score.delta_recall + half, 1.0)
    if score.verdict == UNDETERMINED:
        return min(low, 0.0), max(high, 0.0)
    return (max(low, 0.0), high) if score.verdict == IMPROVED else (low, min(high, 0.0))
