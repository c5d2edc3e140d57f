"""The spread of drivers within folds and of trainings within folds, and the variance of a pooled score they imply.

What drivers, trainings and a training with a driver add to a score that is pooled over all drivers; what follows for
a difference or an interval is `inference`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from distracted_pipeline.evaluation.statistics import ratio


@dataclass(frozen=True)
class Rates:
    """Right images of one variant.

    Attributes:
        hits: Right images, float [replicate, ..., driver]; NaN where that replicate did not predict that driver.
        n: Images of the class that each driver has, [..., driver]; equal in all replicates, 0 where absent.
    """

    hits: np.ndarray
    n: np.ndarray


@dataclass(frozen=True)
class Share:
    """Which part of a class each driver and each fold holds.

    Attributes:
        member: 1 where a driver is of a fold, [driver, fold].
        driver: Share of each driver, [..., driver]; 0 where it does not count.
        k: Drivers that count, [..., fold].
        fold: Share of each fold, [..., fold].
        squares: Sum of the drivers' squared shares, [..., fold].
        df: Degrees of freedom of the spread within folds, [...].
    """

    member: np.ndarray
    driver: np.ndarray
    k: np.ndarray
    fold: np.ndarray
    squares: np.ndarray
    df: np.ndarray

    @classmethod
    def of(cls, share: np.ndarray, folds: np.ndarray) -> "Share":
        """Return the value from each driver's share, [..., driver]; 0 or NaN where it does not count."""
        share, member = np.nan_to_num(share), members(folds)
        k = (share > 0) @ member
        several = share * ((k > 1) @ member.T)
        # Drivers with few images add little to the sum of squares, and count as less than one.
        even = ratio((several**2).sum(-1) ** 2, (several > 0).sum(-1) * (several**4).sum(-1))
        return cls(member, share, k, share @ member, share**2 @ member, np.maximum(k - 1, 0).sum(-1) * even)

    def pulls(self, parts: np.ndarray) -> np.ndarray:
        """Return parts of a pooled score, [..., driver], less each driver's share of what its fold has of it."""
        of_fold = np.nan_to_num(ratio(self.driver, self.fold @ self.member.T))
        return parts - of_fold * (parts @ self.member @ self.member.T)

    def between(self, squares: np.ndarray) -> np.ndarray:
        """Return the variance that squared pulls, summed [..., fold], imply; NaN where no fold has two drivers."""
        several = self.k > 1
        factor = np.where(several, ratio(self.k, self.k - 1), 0)
        seen = np.where(several, self.squares, 0).sum(-1)
        return (factor * squares).sum(-1) * ratio(self.squares.sum(-1), seen)


@dataclass(frozen=True)
class Trained:
    """What the trainings of one variant did to a pooled score.

    Attributes:
        estimate: The score averaged over trainings, [...].
        pulls: The drivers' parts of it, centred within folds, [..., driver].
        count: Trainings that count, [..., fold]; 0 where the fold does not.
        variance: Of the average, by the spread of trainings within folds, [...]; NaN where a fold has just one.
        df: Its degrees of freedom.
        double: What of it is luck with single drivers, and so is in the spread of drivers too.
        double_df: Its degrees of freedom.
        once: Variance of the score if every fold were trained just once.
    """

    estimate: np.ndarray
    pulls: np.ndarray
    count: np.ndarray
    variance: np.ndarray
    df: np.ndarray
    double: np.ndarray
    double_df: np.ndarray
    once: np.ndarray


def from_deviations(
    estimate: np.ndarray,
    pulls: np.ndarray,
    of_folds: np.ndarray,
    of_drivers: np.ndarray,
    count: np.ndarray,
    share: Share,
) -> Trained:
    """Return the variances, from sums over trainings of squared deviations.

    Args:
        estimate: [...].
        pulls: [..., driver].
        of_folds: Squared deviations of a training's part, summed over trainings, [..., fold].
        of_drivers: Squared deviations of its pulls, summed over trainings and drivers, [..., fold].
        count: [..., fold].
        share: Of drivers and folds.
    """
    count = np.where(share.k > 0, count, 0)
    spare = np.where(count > 1, count - 1, np.where(count == 0, 0, np.nan))
    once = np.where(count == 0, 0, ratio(of_folds, spare))
    singly = np.where(count == 0, 0, ratio(of_drivers, count * spare))
    weight = np.where(count == 0, 0, ratio(share.fold**2, count))
    return Trained(
        estimate=estimate,
        pulls=pulls,
        count=count,
        variance=ratio(once, count).sum(-1, where=count > 0),
        # As if all folds had one variance: then a fold's part in the sum is known.
        df=ratio(weight.sum(-1) ** 2, ratio(weight**2, spare).sum(-1, where=count > 0)),
        double=share.between(singly),
        double_df=(np.maximum(share.k - 1, 0) * spare).sum(-1),
        once=once.sum(-1),
    )


def of_recall(rates: Sequence[Rates], folds: np.ndarray, macro: bool) -> tuple[Share, list[Trained]]:
    """Return what drivers and trainings add to the recall of each variant, on the drivers that all have predicted.

    Args:
        rates: The variants, over the same images.
        folds: The fold that held each driver out, int [driver]; -1 for none.
        macro: Whether the score is the mean over the present classes; the class axis is the last but one.

    Raises:
        ValueError: If all have images of a driver and class, but not as many.
    """
    member = members(folds)
    counts = (folds >= 0) & np.all([(x.n > 0) & np.isfinite(x.hits).any(0) for x in rates], axis=0)
    predicted = [np.isfinite(x.hits) | ~counts for x in rates]
    if macro:
        predicted = [x.all(-2) for x in predicted]
        counts = counts & whole_folds(counts.any(-2), predicted, folds)[..., None, :]
    else:
        counts = whole_folds(counts, predicted, folds)
    n = np.where(counts, rates[0].n, 0)
    if any((np.where(counts, x.n, 0) != n).any() for x in rates):
        raise ValueError("the variants have different numbers of images of one driver and class")
    images = n.sum(-1, keepdims=True)
    scale = np.nan_to_num(ratio(counts, images))
    if macro:
        scale = scale * ratio(np.ones(1), (images > 0).sum(-2, keepdims=True))
    share = Share.of(scale * n, folds)
    whole = Share.of((scale * n).sum(-2), folds) if macro else share
    found = []
    for one, known in zip(rates, predicted, strict=True):
        trainings = ((~known).astype(float) @ member == 0) & (whole.k > 0)
        parts = scale * np.where(counts, np.nan_to_num(one.hits), 0)
        pulls = share.pulls(parts)
        if macro:
            parts, pulls = parts.sum(-2), pulls.sum(-2)
        count = trainings.sum(0)
        of_driver = trainings @ member.T
        by_driver = count @ member.T
        mean_parts, mean_pulls = (np.nan_to_num(ratio((x * of_driver).sum(0), by_driver)) for x in (parts, pulls))
        deviation = ((parts - mean_parts) * of_driver) @ member
        estimate = np.where(whole.k.sum(-1) > 0, mean_parts.sum(-1), np.nan)
        squares = (((pulls - mean_pulls) * of_driver) ** 2).sum(0) @ member
        found.append(from_deviations(estimate, mean_pulls, (deviation**2).sum(0), squares, count, whole))
    return whole, found


def total_variance(driver: np.ndarray, share: Share, trained: Sequence[Trained]) -> tuple[np.ndarray, np.ndarray]:
    """Return the variance over drivers and trainings, and Satterthwaite's degrees of freedom."""
    training, double = total([x.variance for x in trained]), total([x.double for x in trained])
    variance = driver + np.maximum(0, training - double)
    of_trainings = total(
        [_uncertainty(v, df) for x in trained for v, df in ((x.variance, x.df), (x.double, x.double_df))]
    )
    return variance, ratio(variance**2, _uncertainty(driver, share.df) + np.where(training > double, of_trainings, 0))


def _uncertainty(variance: np.ndarray, df: np.ndarray) -> np.ndarray:
    """Return half the variance of an estimated variance."""
    return np.nan_to_num(ratio(variance**2, df))


def whole_folds(counts: np.ndarray, predicted: Sequence[np.ndarray], folds: np.ndarray) -> np.ndarray:
    """Return `counts`, bool [..., driver], less the folds of which some variant has no training that predicted all."""
    member = members(folds)
    for known in predicted:
        whole = ((~known & counts).astype(float) @ member == 0).any(0)
        counts = counts & (whole @ member.T > 0)
    return counts


def members(folds: np.ndarray) -> np.ndarray:
    """Return 1 where a driver is of a fold, [driver, fold]; folds below 0 are none."""
    return (folds[:, None] == np.unique(folds[folds >= 0])).astype(float)


def total(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Return the sum of arrays of one shape."""
    return np.sum(np.stack(arrays), axis=0)
