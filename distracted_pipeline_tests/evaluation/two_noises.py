"""Simulated pairs of variants whose results are luck of drivers and luck of trainings at once.

Each variant has its own luck with each driver, each training of a fold one that all drivers of the fold share, and
another with each of them; frames are binomial. What a test makes of such pairs is here too; what a whole report
makes of them is in `null_reports`.
"""

from dataclasses import dataclass

import numpy as np

from distracted_pipeline.evaluation import inference as inf
from distracted_pipeline.evaluation import statistics as st
from distracted_pipeline.testability import ALPHA

DRIVERS, FOLDS, FRAMES = 26, 5, 86
NAMES = tuple(f"p{d:03d}" for d in range(DRIVERS))
FOLD_OF = np.arange(DRIVERS) % FOLDS


@dataclass(frozen=True)
class Noise:
    """Standard deviations of recall: driver x variant, training of a fold, driver x training."""

    driver: float
    training: float
    residual: float


ROWS = (Noise(0.05, 0, 0.03), Noise(0.05, 0.05, 0.03), Noise(0.05, 0.10, 0.05), Noise(0, 0.05, 0.03))
"""The noises that error rates are stated for; the first has no luck of trainings, the last none of drivers."""


def simulate(
    rng: np.random.Generator,
    noise: Noise,
    shape: tuple[int, ...],
    replicates: int,
    folds: np.ndarray = FOLD_OF,
    n: np.ndarray | int = FRAMES,
    effect: float = 0.0,
    variants: int = 2,
    recall: float = 0.8,
) -> list[inf.Rates]:
    """Return the variants' right images, [replicate, *shape, driver]; the first is better by `effect`.

    They share how hard each driver is, and nothing else.
    """
    drivers = len(folds)
    n = np.broadcast_to(n, (*shape, drivers))
    level = rng.normal(recall, 0.1, (*shape, drivers))
    found = []
    for variant in range(variants):
        chance = level + rng.normal(0, noise.driver, level.shape) + effect * (variant == 0)
        of_fold = rng.normal(0, noise.training, (replicates, *shape, folds.max() + 1))[..., folds]
        of_driver = rng.normal(0, noise.residual, (replicates, *shape, drivers))
        right = rng.binomial(n, (chance + of_fold + of_driver).clip(0, 1))
        found.append(inf.Rates(right.astype(float), n))
    return found


def averaged(rates: inf.Rates) -> inf.Rates:
    """Return what a single training would have been that did what the trainings did on average."""
    return inf.Rates(rates.hits.mean(0, keepdims=True), rates.n)


def swap_p(a: inf.Rates, b: inf.Rates, draws: int = 1999) -> np.ndarray:
    """Return p of the swap test on hits averaged over trainings."""
    signs = st.swap_signs([f"p{d:03d}" for d in range(a.n.shape[-1])], draws)
    return st.swap_test(averaged(a).hits[0], a.n, averaged(b).hits[0], b.n, signs)[0]


@dataclass(frozen=True)
class ErrorRates:
    """What was found in pairs of variants that do not differ.

    Attributes:
        swap: Share of pairs with p <= .05 by swapping drivers alone.
        both: By the larger p of the swap test and the t test over drivers and trainings; NaN for one training.
        coverage: Share of the intervals that hold 0.
    """

    swap: float
    both: float
    coverage: float


def error_rates(
    noise: Noise, replicates: int, pairs: int, seed: int = 0, n: np.ndarray | int = FRAMES, draws: int = 1999
) -> ErrorRates:
    """Return how often pairs of variants that do not differ are called different, at the nominal .05."""
    a, b = simulate(np.random.default_rng(seed), noise, (pairs,), replicates, n=n)
    found, swapped = inf.contrast(a, b, FOLD_OF), swap_p(a, b, draws)
    p = inf.p_value(found, swapped)
    asked = np.isfinite(p)
    both = float((p[asked] <= ALPHA).mean()) if asked.any() else float("nan")
    covered = (found.low <= 0) & (found.high >= 0)
    coverage = float(covered[asked].mean()) if asked.any() else float("nan")
    return ErrorRates(float((swapped <= ALPHA).mean()), both, coverage)
