"""Does a variant do the same for every driver? What can be said of it, and what cannot.

Of one class alone nothing is tested. A driver's images of a class are one short film; its frames are
near-duplicates, so how much a driver's change would vary by luck cannot be read from them. Cochran's Q, which takes
the frames as independent, finds differences between drivers in nine of ten simulations that have none. What is
left is to describe: the range over drivers, and I2 as an upper bound.
Over all classes there is a test: a driver's films of the classes are as many tries, and a variant that suits some
drivers better than others does so in class after class.
"""

import numpy as np

from distracted_pipeline.evaluation.statistics import MIN_DRIVERS, hits, ratio, support

DRAWS = 1_999


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


def driver_test(variant: np.ndarray, baseline: np.ndarray, seed: int = 0) -> float:
    """Test whether a variant helps some drivers more than others, in class after class.

    Each class's mean change is taken off; the statistic is the spread of what is left, summed over a driver's
    classes. Under the null hypothesis that is luck, as likely up as down in each film whatever it was in the
    others: its sign is flipped at random, film by film. A driver who is always near 0 or 1 keeps their small
    residuals, which shuffling drivers would not respect. p = (1 + hits) / (draws + 1).

    Args:
        variant: Counts [driver, true, predicted], drivers sorted by name.
        baseline: Counts of the same drivers in the same order.
        seed: Random seed of the draws.

    Returns:
        p; NaN with fewer than `MIN_DRIVERS` drivers or two classes, or where all changed alike.
    """
    delta = driver_deltas(variant, baseline)
    delta = delta[np.isfinite(delta).any(1)][:, np.isfinite(delta).sum(0) > 1]
    if len(delta) < MIN_DRIVERS or delta.shape[1] < 2:
        return float("nan")
    there = np.isfinite(delta)
    residual = np.where(there, delta - np.nanmean(delta, 0), 0)
    if np.abs(residual).max() < 1e-9:
        return float("nan")
    # Classes in an order of their own, so that renaming them draws the same.
    order = np.lexsort(residual)
    residual, there = residual[:, order], there[:, order]
    drivers = there.sum(0)
    # Residuals are smaller than the luck they come from, by the mean that was taken off; so it is given back to
    # the flipped ones and taken off again.
    luck = residual * np.sqrt(drivers / (drivers - 1))
    signs = np.random.default_rng(seed).integers(0, 2, (DRAWS, *luck.shape)) * 2.0 - 1
    flipped = signs * luck
    flipped -= np.where(there, flipped.sum(1, keepdims=True) / drivers, 0)
    observed = (residual.sum(1) ** 2).sum()
    drawn = (flipped.sum(2) ** 2).sum(1)
    return float((1 + (drawn >= observed - 1e-9).sum()) / (DRAWS + 1))
