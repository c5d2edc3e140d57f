"""What a technique, trained again and on other drivers, does to a class: differences, their variance, their p.

Drivers are one noise and trainings another: the drivers of a fold share one training, so its luck looks like an
effect to a test that asks about drivers alone. Both are in every variance here. Plain functions of NumPy arrays.
The test that swaps drivers, and corrections for many questions, are in `statistics`; what variances mean for the next
study is in `planning`; which tables these fill is `tables`. docs/statistics.md has the model and its error rates.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from distracted_pipeline.evaluation.spread import (
    Rates,
    Share,
    Trained,
    from_deviations,
    members,
    of_recall,
    total,
    total_variance,
    whole_folds,
)
from distracted_pipeline.evaluation.statistics import ratio

__all__ = ["Rates"]

LEVEL = 0.95
TRAINING_SETS = 1.5
"""What the spread of drivers is multiplied by in a mean over classes: drivers are trained on as well as tested.

A driver that suits a variant also teaches it well, and is in the training sets of all other folds, which the spread of
drivers within a fold cannot show. In a single class it is the other way round, so there nothing is added.
Measured: docs/statistics.md, "Training sets overlap".
"""
_NO_VARIANCE = 1e-24
"""Rounding alone leaves less than this where nothing varies; one image in a million moves a variance by 1e-12."""


@dataclass(frozen=True)
class Contrast:
    """Variant minus reference, and what its variance is made of; each array has the leading axes of the inputs.

    Attributes:
        delta: Difference of the pooled scores, averaged over trainings.
        variance: Of `delta`, over other drivers and other trainings: `driver` + max(0, `training` - `double`).
        df: Satterthwaite's degrees of freedom of `variance`.
        p_training: Two-sided p of delta / sqrt(variance), a t test; NaN where not testable, 1 where nothing varies.
        low: Lower end of the interval of `delta`, within -1 and 1; NaN where not testable or nothing varies.
        high: Upper end.
        driver: Variance of `delta` by the spread of drivers within folds.
        training: By the spread of trainings within folds, of both variants.
        double: What `driver` and `training` both contain: the luck of a training with a single driver.
        replicated: bool; False where a variant has fewer than two trainings in a fold that counts. `p_training` then is
            NaN: one training says nothing of another.
    """

    delta: np.ndarray
    variance: np.ndarray
    df: np.ndarray
    p_training: np.ndarray
    low: np.ndarray
    high: np.ndarray
    driver: np.ndarray
    training: np.ndarray
    double: np.ndarray
    replicated: np.ndarray


@dataclass(frozen=True)
class Components:
    """Standard deviations of one variant's recall in a class, each [...]; NaN where there is nothing to tell them from.

    Attributes:
        driver: Between drivers of a fold, trainings averaged out.
        driver_df: Its degrees of freedom.
        training: Between trainings of a fold, common to the fold's drivers.
        training_df: Its degrees of freedom.
        residual: Driver x training: what a training does to one driver alone.
        residual_df: Its degrees of freedom.
        training_alone: Of the pooled recall, if every fold is trained once more and nothing else changes.
    """

    driver: np.ndarray
    driver_df: np.ndarray
    training: np.ndarray
    training_df: np.ndarray
    residual: np.ndarray
    residual_df: np.ndarray
    training_alone: np.ndarray


def contrast(a: Rates, b: Rates, folds: np.ndarray, level: float = LEVEL) -> Contrast:
    """Return recall(a) - recall(b) of each class as an estimate for other drivers and other trainings.

    Counted are drivers that have images of the class and were predicted by both. A training counts in a fold if it
    predicted all those of the fold's drivers.

    A fold with one driver of the class shows no spread of drivers; its driver is taken to vary as the others do. Where
    no fold has two, nothing is testable (NaN).

    Args:
        a: The variant.
        b: Its reference, over the same images.
        folds: The fold that held each driver out, int [driver]; -1 for none.
        level: Confidence level of the interval.

    Raises:
        ValueError: If both have images of a driver and class, but not as many.
    """
    return _contrast(a, b, folds, level, macro=False)


def paired_contrast(change: Rates, folds: np.ndarray, level: float = LEVEL) -> Contrast:
    """Return what one variant's trainings change between two looks at the same images, as `contrast` does of variants.

    The same training judges both looks, so what it does to both alike is no noise of the change. Where every driver and
    training changes by the same amount, there is no variance to test with: `p_training` is 0 and the swap test decides.

    Args:
        change: As `hits`, the sum over images of what changed, such as in the probability of the true class.
        folds: The fold that held each driver out, int [driver]; -1 for none.
        level: Confidence level of the interval.
    """
    share, (one,) = of_recall([change], folds, macro=False)
    found = _assemble(one.estimate, share, one.pulls, [one], level)
    unanimous = (found.variance <= _NO_VARIANCE) & (np.abs(found.delta) > _NO_VARIANCE**0.5)
    return replace(found, p_training=np.where(unanimous & np.isfinite(found.p_training), 0.0, found.p_training))


def macro_contrast(a: Rates, b: Rates, folds: np.ndarray, level: float = LEVEL) -> Contrast:
    """Return the mean over the present classes of recall(a) - recall(b), as `contrast` does of each class.

    The variance by drivers is `TRAINING_SETS` times what their spread within folds implies.

    Args:
        a: The variant; the class axis is the last but one.
        b: Its reference, over the same images.
        folds: The fold that held each driver out, int [driver]; -1 for none.
        level: Confidence level of the interval.
    """
    return _contrast(a, b, folds, level, macro=True)


def p_value(found: Contrast, p_swap: np.ndarray) -> np.ndarray:
    """Return the larger p of the t test and of the swap test on hits averaged over trainings; NaN where either is.

    The swap test knows nothing of trainings, and the t test trusts that a sum over few drivers is normal.
    """
    return np.maximum(found.p_training, p_swap)


def recall_interval(rates: Rates, folds: np.ndarray, level: float = LEVEL) -> np.ndarray:
    """Return the interval of one variant's recall over other drivers and other trainings.

    Clopper-Pearson with the effective sample size that the variance implies (Korn and Graubard, Survey Methodology
    24, 1998), corrected for the variance's degrees of freedom. Where every image is right, or every one wrong,
    each driver counts as one observation.

    Args:
        rates: The variant.
        folds: The fold that held each driver out, int [driver]; -1 for none.
        level: Confidence level.

    Returns:
        Low and high, [..., 2]; NaN where `contrast` would not be testable.
    """
    from scipy import special

    share, (one,) = of_recall([rates], folds, macro=False)
    variance, df = total_variance(share.between(one.pulls**2 @ share.member), share, [one])
    drivers, n = share.k.sum(-1), np.where(share.driver > 0, rates.n, 0).sum(-1).astype(float)
    p, perfect = one.estimate, (one.estimate < 1e-12) | (one.estimate > 1 - 1e-12)
    tail = (1 + level) / 2
    with np.errstate(invalid="ignore"):
        correction = (special.stdtrit(np.maximum(n - 1, 1), tail) / special.stdtrit(df, tail)) ** 2
        # No spread at all between drivers that are not perfect: nothing speaks against the images' own number.
        effective = np.fmin(ratio(p * (1 - p), np.where(variance > _NO_VARIANCE, variance, 0)) * correction, n)
        effective = np.where(perfect, drivers, effective)
        right = p * effective
        low = np.where(perfect & (p < 0.5), 0.0, special.betaincinv(right, effective - right + 1, 1 - tail))
        high = np.where(perfect & (p > 0.5), 1.0, special.betaincinv(right + 1, effective - right, tail))
    return np.where(np.isfinite(variance)[..., None], np.stack([low, high], -1), np.nan)


def components(rates: Rates, folds: np.ndarray) -> Components:
    """Return how much of a variant's recall is luck of drivers, of trainings, and of a training with a driver.

    By the method of moments; an estimate below 0 is 0.

    Args:
        rates: The variant.
        folds: The fold that held each driver out, int [driver]; -1 for none.
    """
    share, (one,) = of_recall([rates], folds, macro=False)
    of_folds = ratio(share.fold**2, one.count).sum(-1)
    of_drivers = ratio(share.squares, one.count).sum(-1)
    return Components(
        driver=_root(ratio(share.between(one.pulls**2 @ share.member) - one.double, share.squares.sum(-1))),
        driver_df=share.df,
        training=_root(ratio(one.variance - one.double, of_folds)),
        training_df=one.df,
        residual=_root(ratio(one.double, of_drivers)),
        residual_df=one.double_df,
        training_alone=_root(one.once),
    )


def score_contrast(
    a: np.ndarray, b: np.ndarray, folds: np.ndarray, score: Callable[[np.ndarray], np.ndarray], level: float = LEVEL
) -> Contrast:
    """Return score(a) - score(b) as `contrast` does of recalls, for scores that are no mean over drivers.

    The variances are those of jackknives: one driver deleted, centred within its fold; one training of a fold
    deleted, and one training of a single driver. A driver counts for a class if it has images of it or images taken
    for it.

    Args:
        a: Counts of the variant, float [replicate, driver, true, predicted]; NaN where a replicate did not predict a
            driver, and no image where the driver does not count.
        b: Counts of its reference on the same drivers.
        folds: The fold that held each driver out, int [driver]; -1 for none.
        score: From counts [..., true, predicted] to [..., class], such as `statistics.precision`.
        level: Confidence level of the interval.

    Returns:
        Arrays [class]; the variance is NaN where a single driver or training alone makes the score defined.
    """
    predicted = [np.isfinite(x).all((2, 3)) & (np.nan_to_num(x).sum((2, 3)) > 0) for x in (a, b)]
    counts = whole_folds((folds >= 0) & predicted[0].any(0) & predicted[1].any(0), predicted, folds)
    sides = [_Side.of(x * counts[:, None, None], ~p & counts, folds) for x, p in zip((a, b), predicted, strict=True)]
    images = total([side.mean.sum(-1) + side.mean.sum(-2) for side in sides]).T
    share = Share.of(ratio(images, images.sum(-1, keepdims=True)), folds)
    drivers = share.k.sum(-1, keepdims=True)
    deleted = [side.change(score, -side.mean).T for side in sides]
    pulls = share.pulls(deleted[0] - deleted[1]) * ratio(drivers - 1, drivers)
    trained = [side.trained(score, share) for side in sides]
    delta = score(sides[0].mean.sum(0)) - score(sides[1].mean.sum(0))
    return _assemble(delta, share, pulls, trained, level)


@dataclass(frozen=True)
class _Side:
    """Counts of one variant whose score is no mean over drivers.

    Attributes:
        counts: [replicate, driver, true, predicted]; 0 where the training does not count.
        mean: Over the trainings of each driver's fold, [driver, true, predicted].
        trainings: Those that count, bool [replicate, fold].
        member: [driver, fold].
    """

    counts: np.ndarray
    mean: np.ndarray
    trainings: np.ndarray
    member: np.ndarray

    @classmethod
    def of(cls, counts: np.ndarray, lacking: np.ndarray, folds: np.ndarray) -> "_Side":
        member = members(folds)
        trainings = lacking.astype(float) @ member == 0
        counts = np.nan_to_num(counts) * (trainings @ member.T)[..., None, None]
        mean = counts.sum(0) * np.nan_to_num(ratio(np.ones(1), trainings.sum(0) @ member.T))[:, None, None]
        return cls(counts, mean, trainings, member)

    def change(self, score: Callable[[np.ndarray], np.ndarray], added: np.ndarray) -> np.ndarray:
        """Return by how much the score of all counts changes if some are added, [..., class]."""
        whole = self.mean.sum(0)
        return np.where(np.any(added != 0, axis=(-2, -1))[..., None], score(whole + added) - score(whole), 0)

    def trained(self, score: Callable[[np.ndarray], np.ndarray], share: Share) -> Trained:
        """Return the variances over trainings by deleting one at a time."""
        count = self.trainings.sum(0)
        by_driver = count @ self.member.T
        left = np.nan_to_num(ratio(np.ones(1), by_driver - 1))[:, None, None]
        without = (self.mean - self.counts) * (self.trainings @ self.member.T)[..., None, None] * left
        of_fold = self.change(score, np.einsum("rdtp,df->rftp", without, self.member))
        of_fold = np.moveaxis(of_fold - of_fold.mean(0, keepdims=True), -1, 1)
        of_driver = share.pulls(np.moveaxis(self.change(score, without), -1, 1))
        return from_deviations(
            score(self.mean.sum(0)),
            np.zeros(share.driver.shape),
            (of_fold**2).sum(0) * (count - 1) ** 2,
            ((of_driver**2).sum(0) * (by_driver - 1) ** 2) @ self.member,
            np.broadcast_to(count, share.k.shape),
            share,
        )


def _contrast(a: Rates, b: Rates, folds: np.ndarray, level: float, macro: bool) -> Contrast:
    share, (of_a, of_b) = of_recall([a, b], folds, macro)
    pulls = (of_a.pulls - of_b.pulls) * (TRAINING_SETS**0.5 if macro else 1)
    return _assemble(of_a.estimate - of_b.estimate, share, pulls, [of_a, of_b], level)


def _assemble(delta: np.ndarray, share: Share, pulls: np.ndarray, trained: Sequence[Trained], level: float) -> Contrast:
    from scipy import special

    driver = share.between(pulls**2 @ share.member)
    variance, df = total_variance(driver, share, trained)
    varies = variance > _NO_VARIANCE
    with np.errstate(invalid="ignore"):
        p = np.where(varies, 2 * special.stdtr(df, -np.abs(delta) / np.sqrt(np.where(varies, variance, 1))), 1.0)
        half = special.stdtrit(df, (1 + level) / 2) * np.sqrt(variance)
    counted = share.k > 0
    return Contrast(
        delta=delta,
        variance=variance,
        df=df,
        p_training=np.where(np.isnan(variance), np.nan, p),
        low=np.where(varies, np.clip(delta - half, -1, 1), np.nan),
        high=np.where(varies, np.clip(delta + half, -1, 1), np.nan),
        driver=driver,
        training=total([x.variance for x in trained]),
        double=total([x.double for x in trained]),
        replicated=counted.any(-1) & np.all([((x.count > 1) | ~counted).all(-1) for x in trained], axis=0),
    )


def _root(variance: np.ndarray) -> np.ndarray:
    return np.sqrt(np.maximum(variance, 0))
