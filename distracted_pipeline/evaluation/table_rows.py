"""The rows of every evaluation table: which number goes into which column.

The columns are `table_schemas`; what a number means is `statistics` and `heterogeneity`, what makes a verdict
`comparison`, files are `tables`.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from distracted_pipeline.evaluation import heterogeneity
from distracted_pipeline.evaluation import statistics as st
from distracted_pipeline.evaluation.comparison import ABSENT, BASELINE, NOT_TESTABLE, Difference
from distracted_pipeline.evaluation.confusion import Confusion
from distracted_pipeline.evaluation.predictions import Predictions, model_facts
from distracted_pipeline.evaluation.ranking import Ranking
from distracted_pipeline.evaluation.table_schemas import Bin, ClassScore, DriverScore, Move, VariantScore
from distracted_pipeline.evaluation.tables_io import made
from distracted_pipeline.settings import Settings
from distracted_pipeline.variants.config import VariantConfig


def class_rows(
    scope: str,
    variant: str,
    counts: np.ndarray,
    baseline: str,
    change: Difference | None,
) -> Iterator[ClassScore]:
    """Yield a variant's row of each class.

    Args:
        scope: A name of `scopes.SCOPES`.
        variant: Variant name.
        counts: Its counts, [driver, true, predicted].
        baseline: What it is compared with.
        change: The comparison; None for the baseline itself, or without one.
    """
    pooled = counts.sum(0)
    n, recall, precision, f1 = st.support(pooled), st.recall(pooled), st.precision(pooled), st.f1(pooled)
    interval = st.korn_graubard(st.hits(counts).T, st.support(counts).T)
    alone = BASELINE if variant == baseline else NOT_TESTABLE
    columns = {
        "n": n,
        "recall": recall,
        "recall_low": interval[:, 0],
        "recall_high": interval[:, 1],
        "precision": precision,
        "f1": f1,
        "verdict": np.where(n > 0, alone, ABSENT),
        **(_comparison_columns(change) if change else {}),
    }
    for c in range(len(n)):
        key = {"scope": scope, "variant": variant, "class_id": c, "baseline": baseline}
        yield made(ClassScore, key | {name: values[c] for name, values in columns.items()})


def _comparison_columns(change: Difference) -> dict[str, Any]:
    deltas = heterogeneity.driver_deltas(change.variant, change.baseline)
    seen = np.isfinite(deltas)
    some = seen.any(0)
    return {
        "drivers_compared": change.drivers,
        "delta_recall": change.delta,
        "delta_low": change.interval[:, 0],
        "delta_high": change.interval[:, 1],
        "p": change.p,
        "p_holm": change.p_holm,
        "p_own": change.p_own,
        "verdict": change.verdicts,
        "delta_precision": change.precision,
        "delta_precision_low": change.precision_interval[:, 0],
        "delta_precision_high": change.precision_interval[:, 1],
        "delta_f1": change.f1,
        "delta_f1_low": change.f1_interval[:, 0],
        "delta_f1_high": change.f1_interval[:, 1],
        "driver_delta_low": np.where(some, np.where(seen, deltas, np.inf).min(0), np.nan),
        "driver_delta_high": np.where(some, np.where(seen, deltas, -np.inf).max(0), np.nan),
        "i2": heterogeneity.i_squared(change.variant, change.baseline),
    }


def variant_row(
    settings: Settings,
    predictions: Predictions,
    confusion: Confusion,
    scope: str,
    variant: str,
    change: Difference | None,
    ranking: Ranking,
    alike: list[str],
) -> VariantScore:
    """Return a variant's row; `alike` are its replicates, itself not among them."""
    counts = confusion.of(variant, scope)
    pooled = counts.sum(0)
    recall = st.recall(pooled)
    present = np.flatnonzero(counts.sum((1, 2)))
    comparable = present[ranking.shared[present]] if ranking.shared[present].any() else present
    by_driver = np.array([st.mean_present(st.recall(counts[d])) for d in comparable])
    worst_class, worst_driver = int(np.nanargmin(recall)), int(by_driver.argmin())
    probabilities, true = _of_scope(predictions, variant, scope)
    folds = [part.fold for part in predictions.of(variant, scope)]
    columns = {
        "scope": scope,
        "variant": variant,
        "n": pooled.sum(),
        "drivers": len(present),
        "accuracy": pooled.trace() / pooled.sum(),
        "macro_recall": st.mean_present(recall),
        "ranked_recall": ranking.recall.get(variant),
        "flattery": ranking.flattery,
        "macro_delta": change.macro_delta if change else None,
        "macro_p": change.macro_p if change else None,
        "macro_p_holm": change.macro_p_holm if change else None,
        "worst_class": worst_class,
        "worst_class_recall": recall[worst_class],
        "worst_driver": confusion.drivers[comparable[worst_driver]],
        "worst_driver_recall": by_driver[worst_driver],
        "log_loss": st.log_loss(probabilities, true),
        "calibration_error": st.calibration_error(*st.reliability(probabilities, true)),
        **_cost(settings, variant, folds),
        "folds_present": folds,
        "folds_missing": predictions.absent_folds(variant, scope),
        "replicates": alike,
    }
    return made(VariantScore, columns)


def calibration_rows(predictions: Predictions, scope: str, variant: str) -> Iterator[Bin]:
    """Yield a row of each bin of confidence; an empty bin has n = 0 and no confidence."""
    n, confidence, accuracy = st.reliability(*_of_scope(predictions, variant, scope))
    for i in range(st.BINS):
        columns = {
            "scope": scope,
            "variant": variant,
            "bin": i,
            "low": i / st.BINS,
            "high": (i + 1) / st.BINS,
            "n": n[i],
            "confidence": confidence[i],
            "accuracy": accuracy[i],
        }
        yield made(Bin, columns)


def confusion_rows(scope: str, variant: str, counts: np.ndarray, change: Difference | None) -> Iterator[Move]:
    """Yield a row of each pair of classes that the variant or its baseline confuses, the commonest of either first.

    n and share are over the variant's own drivers; what is compared is over those that the baseline has too.
    """
    pooled = counts.sum(0)
    share = st.ratio(pooled, st.support(pooled)[:, None])
    known, largest = pooled.copy(), share
    if change:
        (hits_a, n_a), (hits_b, n_b) = _cells(change.variant), _cells(change.baseline)
        known += change.baseline.sum(0)
        baseline_share = st.ratio(hits_b.sum(-1), n_b.sum(-1))
        largest = np.fmax(share, baseline_share)
        delta = st.ratio(hits_a.sum(-1), n_a.sum(-1)) - baseline_share
        interval = st.delta_interval(hits_a, n_a, hits_b, n_b)
    np.fill_diagonal(known, 0)
    pairs = np.argwhere(known)
    for true, predicted in pairs[np.argsort(-largest[tuple(pairs.T)], kind="stable")]:
        columns = {
            "scope": scope,
            "variant": variant,
            "true": true,
            "predicted": predicted,
            "n": pooled[true, predicted],
            "share": share[true, predicted],
        }
        if change:
            columns |= {
                "baseline_share": baseline_share[true, predicted],
                "delta_share": delta[true, predicted],
                "delta_low": interval[true, predicted, 0],
                "delta_high": interval[true, predicted, 1],
            }
        yield made(Move, columns)


def driver_rows(
    scope: str, variant: str, counts: np.ndarray, drivers: tuple[str, ...], change: Difference | None
) -> Iterator[DriverScore]:
    """Yield a row of each class and driver of the variant; n = 0 and no recall where a driver lacks the class."""
    n, recall = st.support(counts), st.recall(counts)
    nothing = np.full(recall.shape, np.nan)
    baseline = st.recall(change.baseline) if change else nothing
    delta = heterogeneity.driver_deltas(change.variant, change.baseline) if change else nothing
    for c in range(n.shape[1]):
        for d in np.flatnonzero(n.sum(1)):
            columns = {
                "scope": scope,
                "variant": variant,
                "class_id": c,
                "driver": drivers[d],
                "n": n[d, c],
                "recall": recall[d, c],
                "baseline_recall": baseline[d, c],
                "delta": delta[d, c],
            }
            yield made(DriverScore, columns)


def replicates(catalogue: Mapping[str, VariantConfig]) -> dict[str, list[str]]:
    """Return, for each variant of the catalogue, the others that differ only in random seed and wording."""
    key = {name: config.model_copy(update={"seed": 0}).fingerprint() for name, config in catalogue.items()}
    return {name: [other for other in key if other != name and key[other] == key[name]] for name in key}


def _cells(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return images per cell, [true, predicted, driver], and those of its true class, the same shape."""
    cells = counts.transpose(1, 2, 0)
    return cells, np.broadcast_to(st.support(counts).T[:, None, :], cells.shape)


def _of_scope(predictions: Predictions, variant: str, scope: str) -> tuple[np.ndarray, np.ndarray]:
    parts = predictions.of(variant, scope)
    probabilities = np.concatenate([part.probabilities[part.rows(scope)] for part in parts])
    return probabilities, np.concatenate([part.true[part.rows(scope)] for part in parts])


def training_facts(settings: Settings, variant: str, fold: str) -> dict[str, Any]:
    """Return parameters and training time of one fold's checkpoint, each None where it is not known."""
    meta = model_facts(settings, variant, fold)
    return {name: meta.get(name) for name in ("trainable_parameters", "total_parameters", "seconds")}


def _cost(settings: Settings, variant: str, folds: list[str]) -> dict[str, Any]:
    """Return parameters and the summed training time of a variant's folds; nothing where one of them is not known."""
    facts = [training_facts(settings, variant, fold) for fold in folds]
    if any(None in found.values() for found in facts):
        return {}
    return {
        "trainable_parameters": facts[0]["trainable_parameters"],
        "total_parameters": facts[0]["total_parameters"],
        "train_seconds": sum(found["seconds"] for found in facts),
    }
