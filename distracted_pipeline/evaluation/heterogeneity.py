"""Does a variant do the same for every driver? What can be said of it, and what cannot.

Nothing is tested. Within a class, a driver's images of a class are one short film; its frames are
near-duplicates, so how much a driver's change would vary by luck cannot be read from them. Cochran's Q, which takes
the frames as independent, finds differences between drivers in nine of ten simulations that have none. What is
left is to describe: the range over drivers, and I2 as an upper bound.
Over all classes, drivers of one fold share a training: one fold that trained better makes its drivers gain in class
after class, which no comparison of drivers can tell from a variant that suits them better.
"""

import numpy as np

from distracted_pipeline.evaluation.statistics import hits, ratio, support


def driver_deltas(variant: np.ndarray, baseline: np.ndarray) -> np.ndarray:
    """Return recall of the variant minus recall of the baseline, [driver, class]; NaN where either has no image.

    Args:
        variant: Counts [driver, true, predicted].
        baseline: Counts of the same drivers in the same order.
    """
    return ratio(hits(variant), support(variant)) - ratio(hits(baseline), support(baseline))


def i_squared(variant: np.ndarray, baseline: np.ndarray) -> np.ndarray:
    """Return the share of the spread between drivers that independent images would not explain, [class].

    From Cochran's Q with binomial variances (Higgins and Thompson 2002). An upper bound: near-duplicate images vary
    more from driver to driver than independent ones would, without any driver being different.

    Args:
        variant: Counts [driver, true, predicted].
        baseline: Counts of the same drivers in the same order.

    Returns:
        0 to 1; NaN with fewer than two drivers.
    """
    q, drivers = cochran_q(variant, baseline)
    return np.where(drivers > 1, np.maximum(0, np.nan_to_num(ratio(q - (drivers - 1), q))), np.nan)


def cochran_q(variant: np.ndarray, baseline: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return Cochran's Q of the drivers' differences, and how many drivers have the class; each [class].

    Rates are shrunk by half an image on each side, so that a driver at 0 or 1 still has a variance.
    """
    delta = driver_deltas(variant, baseline)
    variance = _binomial_variance(variant) + _binomial_variance(baseline)
    weight = np.where(np.isfinite(delta), 1 / variance, 0)
    mean = ratio((weight * np.nan_to_num(delta)).sum(0), weight.sum(0))
    return (weight * (np.nan_to_num(delta) - mean) ** 2).sum(0), (weight > 0).sum(0)


def _binomial_variance(counts: np.ndarray) -> np.ndarray:
    n = support(counts)
    rate = (hits(counts) + 0.5) / (n + 1)
    return rate * (1 - rate) / np.maximum(n, 1)
