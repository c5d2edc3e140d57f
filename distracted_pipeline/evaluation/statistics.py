"""Class-wise numbers, the test that swaps drivers, and corrections for many questions.

Images of one driver are near-duplicates, so what is here treats drivers, not images, as independent. The luck of
trainings, and every interval of a recall or of a difference, is `inference`. Plain functions of NumPy arrays; which
tables they fill is `tables`. Undefined values are NaN.
"""

from collections.abc import Sequence

import numpy as np

from distracted_pipeline.testability import ALPHA, needed_drivers, smallest_p

DRAWS = 19_999
BINS = 10
"""Bins of equal width that confidences are put into, for the reliability table and its error."""

_KAGGLE_CLIP = 1e-15


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Return the quotient, NaN where the denominator is 0."""
    numerator, denominator = np.broadcast_arrays(np.asarray(numerator, float), np.asarray(denominator, float))
    return np.divide(numerator, denominator, out=np.full(numerator.shape, np.nan), where=denominator != 0)


def support(matrix: np.ndarray) -> np.ndarray:
    """Return images per true class, [..., class], from counts [..., true, predicted]."""
    return matrix.sum(-1)


def hits(matrix: np.ndarray) -> np.ndarray:
    """Return rightly classified images per class, [..., class]."""
    return np.diagonal(matrix, axis1=-2, axis2=-1)


def recall(matrix: np.ndarray) -> np.ndarray:
    """Return the class-wise accuracy, [..., class]; NaN for an absent class."""
    return ratio(hits(matrix), support(matrix))


def precision(matrix: np.ndarray) -> np.ndarray:
    """Return the share of a predicted class that is right, [..., class]; NaN if absent or never predicted."""
    return np.where(support(matrix) > 0, ratio(hits(matrix), matrix.sum(-2)), np.nan)


def f1(matrix: np.ndarray) -> np.ndarray:
    """Return the harmonic mean of precision and recall, [..., class]; NaN for an absent class."""
    return np.where(support(matrix) > 0, ratio(2 * hits(matrix), support(matrix) + matrix.sum(-2)), np.nan)


def mean_present(values: np.ndarray) -> float:
    """Return the mean over the classes that are there; NaN if none is."""
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def mean_interval(values: np.ndarray, level: float = 1 - ALPHA) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean over drivers, each counting once, and its t interval with K-1 degrees of freedom.

    Args:
        values: One value per driver, [..., driver]; NaN for a driver that has none.
        level: Confidence level.

    Returns:
        Mean [...]; low and high [..., 2], NaN with fewer than two drivers.
    """
    known = np.isfinite(values)
    drivers = known.sum(-1)
    mean = ratio(np.where(known, values, 0).sum(-1), drivers)
    squares = np.where(known, (values - mean[..., None]) ** 2, 0).sum(-1)
    half = t_quantile(np.maximum(drivers - 1, 1), level) * np.sqrt(ratio(squares, drivers * (drivers - 1)))
    return mean, np.stack([mean - half, mean + half], -1)


def t_quantile(df: np.ndarray | float, level: float = 1 - ALPHA) -> np.ndarray:
    """Return how many standard errors a two-sided t interval reaches, by its degrees of freedom, [...]."""
    from scipy import special  # `scipy.stats` has the same and takes a second to import

    return np.asarray(special.stdtrit(df, (1 + level) / 2))


def swap_signs(drivers: Sequence[str], draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """Return which drivers a draw swaps: float64 [draw, driver] of 1 (stays) and -1 (swapped).

    Where there are no more than `draws` ways of swapping, up to 14 drivers, these are all of them but the one that
    swaps nothing, so that p is exact. A driver's column follows from the sorted names, so the order in which drivers
    are given changes nothing.
    """
    if 2 ** len(drivers) - 1 <= draws:
        signs = (np.arange(1, 2 ** len(drivers))[:, None] >> np.arange(len(drivers)) & 1).astype(np.int8)
    else:
        signs = np.random.default_rng(seed).integers(0, 2, (draws, len(drivers)), dtype=np.int8)
    rank = np.argsort(np.argsort(np.array(drivers, dtype=str)))
    return signs[:, rank].astype(np.float64) * 2 - 1


def swap_test(
    hits_a: np.ndarray, n_a: np.ndarray, hits_b: np.ndarray, n_b: np.ndarray, signs: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Test whether two variants' recalls differ, by swapping all images of a driver between them at once.

    Two-sided; p = (1 + hits) / (draws + 1). Under the null hypothesis a driver's two results are exchangeable,
    and swapping whole drivers keeps whatever its near-duplicate images have in common.

    Args:
        hits_a: Right images of the variant, [..., class, driver]; drivers that lack either variant are all 0.
        n_a: Images of the variant, same shape.
        hits_b: Right images of the baseline, same shape.
        n_b: Images of the baseline, same shape.
        signs: Draws from `swap_signs`, [draw, driver].

    Returns:
        p per class, [..., class], and p of the mean over the present classes, [...].
        NaN where even one question alone has too few drivers.
    """
    shape, draws = hits_a.shape[:-1], len(signs)
    with_class = ((n_a > 0) & (n_b > 0)).sum(-1)
    with_any = ((n_a.sum(-2) > 0) & (n_b.sum(-2) > 0)).sum(-1)
    p, p_mean = np.full(shape, np.nan), np.full(shape[:-1], np.nan)
    for index in np.ndindex(shape[:-1]):  # one variant at a time bounds the memory: [draw, class] four times
        a_hits, a_n, b_hits, b_n = (x[index].astype(float) for x in (hits_a, n_a, hits_b, n_b))
        observed = ratio(a_hits.sum(-1), a_n.sum(-1)) - ratio(b_hits.sum(-1), b_n.sum(-1))
        drawn = _swapped(a_hits, a_n, b_hits, b_n, signs)
        p[index] = _two_sided(drawn, observed, draws)
        present = np.isfinite(observed)
        p_mean[index] = _two_sided(drawn[:, present].sum(1), observed[present].sum(), draws)
    enough = needed_drivers(1)
    return np.where(with_class >= enough, p, np.nan), np.where(with_any >= enough, p_mean, np.nan)


def _swapped(a_hits: np.ndarray, a_n: np.ndarray, b_hits: np.ndarray, b_n: np.ndarray, signs: np.ndarray) -> np.ndarray:
    """Return the difference of recalls after each draw of swaps, [draw, class]."""
    moved_hits = signs @ (a_hits - b_hits).T
    if (a_n == b_n).all():  # the same images, as nearly always: swaps move no denominator
        return ratio(moved_hits, a_n.sum(-1))
    moved_n = signs @ (a_n - b_n).T
    all_hits, all_n = (a_hits + b_hits).sum(-1), (a_n + b_n).sum(-1)
    return ratio(all_hits + moved_hits, all_n + moved_n) - ratio(all_hits - moved_hits, all_n - moved_n)


def _two_sided(drawn: np.ndarray, observed: np.ndarray, draws: int) -> np.ndarray:
    # Rounding must not decide ties: a draw that swaps every driver is exactly as extreme as what was seen.
    return (1 + (~(np.abs(drawn) < np.abs(observed) - 1e-9)).sum(0)) / (draws + 1)


def draws_for(questions: int) -> int:
    """Return how many swaps to draw, so that their number never decides what can be told: `DRAWS` up to 100 questions.

    The smallest p, 1 / (draws + 1), times the number of questions then is at most a tenth of `ALPHA`.
    """
    return max(DRAWS, round(10 * questions / ALPHA) - 1)


def askable(drivers: np.ndarray, draws: int = DRAWS) -> np.ndarray:
    """Return which questions can be decided when they are asked together, bool, the shape of `drivers`.

    Asked are all questions with at least k drivers, for the smallest k with which the corrected test could still
    reach `ALPHA`. That depends on numbers of drivers alone, never on what they show, so a question that is not asked
    costs the others nothing.

    Args:
        drivers: Drivers that each question rests on; 0 for what is no question.
        draws: Of the swap test.
    """
    for fewest in np.unique(drivers[drivers > 0]):
        asked = drivers >= fewest
        if _reached(int(fewest), draws) * asked.sum() < ALPHA:
            return asked
    return np.zeros(drivers.shape, bool)


def _reached(drivers: int, draws: int) -> float:
    """Return the smallest p that a test with so many draws reaches; nearly always, where they are random."""
    if (draws + 1) % 2**drivers == 0:  # every way of swapping these drivers, as often as any other
        return smallest_p(drivers)
    extreme = draws * smallest_p(drivers)  # draws that swap none of them or all, on average
    return float((1 + extreme + 2 * extreme**0.5) / (draws + 1))


def holm_of_askable(p: np.ndarray, drivers: np.ndarray, draws: int = DRAWS) -> np.ndarray:
    """Return Holm-adjusted p over the questions that are `askable`, in the shape of `p`; NaN for the others."""
    asked = np.where(askable(drivers, draws), p, np.nan)
    return holm(asked.ravel()).reshape(p.shape)


def holm(p: np.ndarray) -> np.ndarray:
    """Return Holm-adjusted p of the values that are not NaN, [class]; the others stay NaN.

    Equal to statsmodels' `multipletests`, which calls `gc.collect` each time: a second and more where torch and
    Dagster are loaded.
    """
    adjusted = np.full(p.shape, np.nan)
    tested = np.flatnonzero(np.isfinite(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    steps = p[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return adjusted


def log_loss(probabilities: np.ndarray, true: np.ndarray, weight: np.ndarray | None = None) -> float:
    """Return the multi-class log loss as Kaggle scores it: rows rescaled to sum 1, then clipped at 1e-15.

    Args:
        probabilities: [N, class].
        true: Class positions, [N].
        weight: What each row counts, [N]; by default all the same.
    """
    rows = probabilities.astype(float)
    of_true = rows[np.arange(len(true)), true] / rows.sum(1)
    return float(np.average(-np.log(np.clip(of_true, _KAGGLE_CLIP, 1 - _KAGGLE_CLIP)), weights=weight))


def reliability(
    probabilities: np.ndarray, true: np.ndarray, weight: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return images, mean confidence and accuracy by bin of the top class's probability, each [BINS].

    Confidence and accuracy are NaN where a bin is empty.

    Args:
        probabilities: [N, class].
        true: Class positions, [N].
        weight: What each row counts, [N]; by default 1.
    """
    weight = np.ones(len(true)) if weight is None else weight
    confidence = probabilities.max(1).astype(float)
    bin_of = np.minimum((confidence * BINS).astype(int), BINS - 1)
    n = np.bincount(bin_of, weights=weight, minlength=BINS)
    sure = np.bincount(bin_of, weights=weight * confidence, minlength=BINS)
    right = np.bincount(bin_of, weights=weight * (probabilities.argmax(1) == true), minlength=BINS)
    return n, ratio(sure, n), ratio(right, n)


def calibration_error(n: np.ndarray, confidence: np.ndarray, accuracy: np.ndarray) -> float:
    """Return the expected calibration error (Guo et al. 2017) of what `reliability` returns."""
    return float(np.nansum(n * np.abs(accuracy - confidence)) / n.sum())
