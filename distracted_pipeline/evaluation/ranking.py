"""Which variants may be ranked, on which drivers, by how much the best of them flatters, and which one tells most.

Variants are ranked on the drivers that all of them have predicted: one that has only an easy fold would lead otherwise.
Which variant is registered is `serving.champion`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from distracted_pipeline.evaluation import statistics as st
from distracted_pipeline.evaluation.comparison import IMPROVED, WORSENED
from distracted_pipeline.evaluation.table_schemas import ClassScore, VariantScore

DRAWS = 999


@dataclass(frozen=True)
class Ranking:
    """The variants of a scope that are compared with each other.

    Attributes:
        recall: Macro recall on the shared drivers, by variant; empty where they share none.
        shared: Which drivers all of them have predicted, bool [driver].
        flattery: By how much the best one's recall is expected to lie above what it reaches on other drivers, because
            it was chosen for it; NaN where that cannot be told.
    """

    recall: dict[str, float]
    shared: np.ndarray
    flattery: float


def rank(counts: Mapping[str, np.ndarray], missing: Mapping[str, Sequence[str]]) -> Ranking:
    """Rank the variants that lack no fold, or all of them where every one lacks some.

    Args:
        counts: By variant, [driver, true, predicted], over the same drivers; at least one variant.
        missing: Folds that each variant lacks.
    """
    ranked = [name for name in counts if not missing[name]] or list(counts)
    tensor = np.stack([counts[name] for name in ranked])
    shared = (tensor.sum((2, 3)) > 0).all(0)
    if not shared.any():
        return Ranking({}, shared, float("nan"))
    tensor = tensor[:, shared]
    recall = {name: st.mean_present(st.recall(pooled)) for name, pooled in zip(ranked, tensor.sum(1), strict=True)}
    return Ranking(recall, shared, flattery(tensor))


def telling(score: VariantScore, classes: Sequence[ClassScore]) -> tuple[bool, int, float]:
    """Return how much a comparison has to tell; the largest is the headline of a report.

    The most decided classes, then the largest difference of macro recall. One that lacks folds comes after every
    complete one: it is compared on fewer drivers.
    """
    decided = sum(found.verdict in (IMPROVED, WORSENED) for found in classes)
    return not score.folds_missing, decided, abs(score.macro_delta or 0)


def flattery(counts: np.ndarray, draws: int = DRAWS, seed: int = 0) -> float:
    """Return how much higher the best variant scores on the drivers that it was chosen on than on others.

    A bootstrap over drivers: choose on the drivers drawn, score on those drawn and on those not drawn, and take the
    mean difference.

    Args:
        counts: [variant, driver, true, predicted].
        draws: Bootstrap samples.
        seed: Random seed of the draws.

    Returns:
        The mean difference of macro recall; 0 for a single variant, NaN with fewer than two drivers.
    """
    variants, drivers = counts.shape[:2]
    if drivers < 2:
        return float("nan")
    if variants < 2:
        return 0.0
    drawn = np.random.default_rng(seed).multinomial(drivers, np.full(drivers, 1 / drivers), draws)
    drawn = drawn[(drawn == 0).any(1)]
    on_drawn, on_others = (_macro_recall(counts, weight) for weight in (drawn, drawn == 0))
    best, draw = on_drawn.argmax(0), np.arange(len(drawn))
    return float((on_drawn[best, draw] - on_others[best, draw]).mean())


def _macro_recall(counts: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return macro recall, [variant, draw], of drivers weighted by `weight`, [draw, driver]."""
    right, n = (np.einsum("vdc,wd->vwc", f(counts), weight) for f in (st.hits, st.support))
    recall = st.ratio(right, n)
    present = np.isfinite(recall)
    return np.where(present, recall, 0).sum(-1) / present.sum(-1)
