"""Simulated reports of variants that do nothing: how often is something decided all the same?

Drivers differ, and each variant has its own luck with each driver's film of a class; nothing else does in `decided`.
In `decided_again` trainings have luck too.
"""

from dataclasses import dataclass

import numpy as np

from distracted_pipeline.evaluation import inference as inf
from distracted_pipeline.evaluation import statistics as st
from distracted_pipeline.testability import ALPHA
from distracted_pipeline_tests.evaluation.two_noises import FOLD_OF, NAMES, Noise, averaged, simulate

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
        found.append([(adjusted < ALPHA).any() for adjusted in levels])
    return Decided(*np.mean(found, axis=0).tolist())


@dataclass(frozen=True)
class DecidedAgain:
    """Shares of simulated reports, with luck of trainings, that decide something of any class.

    Attributes:
        together: By Holm over every class of every variant, p of drivers and trainings.
        drivers_alone: The same for one training and the swap test alone, as reports did before.
        means: Of any mean over classes, by Holm over the variants, p of drivers and trainings.
        best_level: The smallest p, over all classes and variants, that 5 in 100 reports stay below: what any correction
            could ask of a single class at best, `statistics.ALPHA` / questions being what Holm asks of the first.
    """

    together: float
    drivers_alone: float
    means: float
    best_level: float


def decided_again(
    reports: int, noise: Noise, variants: int = 8, replicates: int = 3, draws: int = 3999, seed: int = 0
) -> DecidedAgain:
    """Return how often reports of variants that do nothing decide something, where trainings differ as well."""
    rng = np.random.default_rng(seed)
    signs = st.swap_signs(list(NAMES), draws)
    found, smallest = [], []
    for _ in range(reports):
        base, *others = simulate(rng, noise, (CLASSES,), replicates, variants=1 + variants)
        a = inf.Rates(np.stack([x.hits for x in others], 1), np.stack([x.n for x in others]))
        b = inf.Rates(np.broadcast_to(base.hits[:, None], a.hits.shape), np.broadcast_to(base.n, a.n.shape))
        once = st.swap_test(a.hits[0], a.n, b.hits[0], b.n, signs)[0]
        swapped, mean = st.swap_test(averaged(a).hits[0], a.n, averaged(b).hits[0], b.n, signs)
        p = inf.p_value(inf.contrast(a, b, FOLD_OF), swapped)
        mean = inf.p_value(inf.macro_contrast(a, b, FOLD_OF), mean)
        drivers = np.full(p.shape, DRIVERS)
        levels = ((p, drivers), (once, drivers), (mean, drivers[:, 0]))
        found.append([(st.holm_of_askable(x, of, draws) < ALPHA).any() for x, of in levels])
        smallest.append(p.min())
    return DecidedAgain(*np.mean(found, axis=0).tolist(), float(np.quantile(smallest, ALPHA)))
