"""Whether a variant does the same for every driver: what is described, and why nothing is tested."""

import numpy as np
import pytest
from scipy import stats

from distracted_pipeline.evaluation.heterogeneity import cochran_q, driver_deltas, i_squared


def simulate(
    rng: np.random.Generator, luck: float = 0.9, taste: float = 0.0, drivers: int = 14
) -> tuple[np.ndarray, np.ndarray]:
    """Counts of two variants: each driver has a level, each of their films too, and each variant its luck with a film.

    `taste` is how much the first variant suits some drivers better than others, in every class.
    """
    n = rng.integers(8, 60, (drivers, 10))
    level = rng.normal(1.5, 1.2, (drivers, 1)) + rng.normal(0, 0.7, (drivers, 10))

    def counts(shift: np.ndarray | float) -> np.ndarray:
        right = rng.binomial(n, 1 / (1 + np.exp(-(level + shift + rng.normal(0, luck, level.shape)))))
        found = np.zeros((drivers, 10, 10), np.int64)
        c = np.arange(10)
        found[:, c, c], found[:, c, (c + 1) % 10] = right, n - right
        return found

    return counts(rng.normal(0, 1, (drivers, 1)) * taste), counts(0)


def test_cochran_s_q_takes_near_duplicates_for_different_drivers() -> None:
    """The reason why no p is given within one class: with nothing but luck, nine in ten are called different."""
    rng = np.random.default_rng(3)
    called = []
    for _ in range(100):
        q, drivers = cochran_q(*simulate(rng))
        called.append(stats.chi2.sf(q, drivers - 1) <= 0.05)
    assert np.mean(called) > 0.9


def test_independent_images_leave_no_i2() -> None:
    rng = np.random.default_rng(4)
    alike, apart = (np.mean([i_squared(*simulate(rng, luck)) for _ in range(50)]) for luck in (0.0, 0.9))
    assert alike < 0.2 < 0.6 < apart


def test_differences_of_drivers_worked_by_hand() -> None:
    variant, baseline = np.zeros((2, 2, 10, 10), int)
    variant[0, 3, 3], variant[0, 3, 5] = 3, 1
    baseline[0, 3, 3], baseline[0, 3, 5] = 1, 3
    variant[1, 3, 3] = 2  # the baseline has no image of the second driver
    assert driver_deltas(variant, baseline)[0, 3] == pytest.approx(0.5)
    assert np.isfinite(driver_deltas(variant, baseline)).sum() == 1
