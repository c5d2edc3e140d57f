"""Simulated reports of variants that do nothing: how often is something decided all the same?

Drivers differ, and each variant has its own luck with each driver's film of a class; nothing else does. Luck of
trainings is not in it.
"""

from dataclasses import dataclass

import numpy as np

from distracted_pipeline.evaluation import statistics as st

DRIVERS, CLASSES, FRAMES = 26, 10, 86


@dataclass(frozen=True)
class Decided:
    """Shares of simulated reports that decide something of any class.

    Attributes:
        together: By Holm over every class of every variant.
        each_alone: By Holm over the classes of each variant, as reports did before.
        means: Of any mean over classes, by Holm over the variants.
    """

    together: float
    each_alone: float
    means: float


def null_report(rng: np.random.Generator, variants: int, luck: float = 0.05) -> tuple[np.ndarray, np.ndarray]:
    """Return right images of the variants, [variant, class, driver], and of their baseline, [class, driver]."""
    level = rng.normal(0.8, 0.1, (CLASSES, DRIVERS))
    chance = level + rng.normal(0, luck, (1 + variants, CLASSES, DRIVERS))
    right = rng.binomial(FRAMES, chance.clip(0, 1))
    return right[1:], right[0]


def decided(reports: int, variants: int = 8, draws: int = 3999, seed: int = 0) -> Decided:
    """Return how often reports of so many variants decide something."""
    rng = np.random.default_rng(seed)
    signs = st.swap_signs([f"p{d:03d}" for d in range(DRIVERS)], draws)
    found = []
    for _ in range(reports):
        right, base = null_report(rng, variants)
        n = np.full(right.shape, FRAMES)
        p, mean = st.swap_test(right, n, np.broadcast_to(base, right.shape), n, signs)
        drivers = np.full(p.shape, DRIVERS)
        alone = np.stack([st.holm_of_askable(row, of, draws) for row, of in zip(p, drivers, strict=True)])
        levels = (st.holm_of_askable(p, drivers, draws), alone, st.holm_of_askable(mean, drivers[:, 0], draws))
        found.append([(adjusted < st.ALPHA).any() for adjusted in levels])
    return Decided(*np.mean(found, axis=0).tolist())
