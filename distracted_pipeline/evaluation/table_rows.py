"""The rows of every evaluation table: which number goes into which column.

The columns are `table_schemas`; what a number means is `statistics` and `heterogeneity`, what makes a verdict
`comparison`, files are `tables`.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from distracted_pipeline.evaluation import heterogeneity
from distracted_pipeline.evaluation import statistics as st
from distracted_pipeline.evaluation.checkpoint_facts import all_facts
from distracted_pipeline.evaluation.comparison import ABSENT, NOT_COMPARED, NOT_TESTABLE, Difference, rates
from distracted_pipeline.evaluation.confusion import Confusion, averaged, fewest_trainings
from distracted_pipeline.evaluation.inference import Rates, components, contrast, recall_interval
from distracted_pipeline.evaluation.predictions import Predictions
from distracted_pipeline.evaluation.ranking import Ranking
from distracted_pipeline.evaluation.table_schemas import Bin, ClassScore, DriverScore, Move, VariantScore
from distracted_pipeline.evaluation.tables_io import made
from distracted_pipeline.settings import Settings


def class_rows(
    scope: str,
    variant: str,
    trainings: np.ndarray,
    folds: np.ndarray,
    baseline: str,
    change: Difference | None,
    alone: str = NOT_TESTABLE,
) -> Iterator[ClassScore]:
    """Yield a variant's row of each class.

    Args:
        scope: A name of `scopes.SCOPES`.
        variant: Variant name.
        trainings: Counts of each training, [replicate, driver, true, predicted].
        folds: The fold that held each driver out, int [driver].
        baseline: What it is compared with.
        change: The comparison; None without one.
        alone: The verdict without a comparison.
    """
    pooled, own = averaged(trainings).sum(0), rates(trainings)
    n, interval, parts = st.support(pooled), recall_interval(own, folds), components(own, folds)
    columns = {
        "n": n.round().astype(int),
        "recall": st.recall(pooled),
        "recall_low": interval[:, 0],
        "recall_high": interval[:, 1],
        "precision": st.precision(pooled),
        "f1": st.f1(pooled),
        "sd_drivers": parts.driver,
        "sd_training": parts.training,
        "sd_double": parts.residual,
        "training_alone": parts.training_alone,
        "verdict": np.where(n > 0, alone, ABSENT),
        "obstacle": np.where((n > 0) & (alone == NOT_TESTABLE), NOT_COMPARED, ""),
        **(_comparison_columns(change) if change else {}),
    }
    fewest = fewest_trainings(trainings)
    for c in range(len(n)):
        key = {"scope": scope, "variant": variant, "class_id": c, "baseline": baseline, "trainings": fewest}
        yield made(ClassScore, key | {name: values[c] for name, values in columns.items()})


def _comparison_columns(change: Difference) -> dict[str, Any]:
    means = averaged(change.variant), averaged(change.reference)
    deltas = heterogeneity.driver_deltas(*means)
    seen = np.isfinite(deltas)
    some = seen.any(0)
    intervals = {
        f"delta_{name}{end}": getattr(getattr(change, name), value)
        for name in ("precision", "f1")
        for end, value in (("", "delta"), ("_low", "low"), ("_high", "high"))
    }
    return {
        "drivers_compared": change.drivers,
        "delta_recall": change.recall.delta,
        "delta_low": change.recall.low,
        "delta_high": change.recall.high,
        **{f"delta_sd_{name}": np.sqrt(part) for name, part in _parts(change).items()},
        "df": change.recall.df,
        "p": change.p,
        "p_holm": change.p_holm,
        "p_own": change.p_own,
        "verdict": change.verdicts,
        "obstacle": change.obstacles,
        **intervals,
        "driver_delta_low": np.where(some, np.where(seen, deltas, np.inf).min(0), np.nan),
        "driver_delta_high": np.where(some, np.where(seen, deltas, -np.inf).max(0), np.nan),
        "i2": heterogeneity.i_squared(*means),
    }


def _parts(change: Difference) -> dict[str, np.ndarray]:
    """Return what the variance of the difference of recall is made of."""
    return {"drivers": change.recall.driver, "training": change.recall.training, "double": change.recall.double}


def variant_row(
    settings: Settings,
    predictions: Predictions,
    confusion: Confusion,
    scope: str,
    variant: str,
    baseline: str,
    change: Difference | None,
    ranking: Ranking,
) -> VariantScore:
    """Return a variant's row; `baseline` is what it is compared with, `change` the comparison if there is one."""
    counts = confusion.of(variant, scope)
    pooled = counts.sum(0)
    recall = st.recall(pooled)
    present = np.flatnonzero(counts.sum((1, 2)))
    comparable = present[ranking.shared[present]] if ranking.shared[present].any() else present
    by_driver = np.array([st.mean_present(st.recall(counts[d])) for d in comparable])
    worst_class, worst_driver = int(np.nanargmin(recall)), int(by_driver.argmin())
    probabilities, true, weight = _of_scope(predictions, variant, scope)
    folds = [part.fold for part in predictions.of(variant, scope)]
    of_change: dict[str, Any] = {}
    if change:
        of_change = {
            "macro_delta": change.macro.delta,
            "macro_low": change.macro.low,
            "macro_high": change.macro.high,
            "macro_p": change.macro_p,
            "macro_p_holm": change.macro_p_holm,
        }
    columns = {
        "scope": scope,
        "variant": variant,
        "baseline": baseline,
        "n": round(pooled.sum()),
        "drivers": len(present),
        "trainings": fewest_trainings(confusion.trainings(variant, scope)),
        "accuracy": pooled.trace() / pooled.sum(),
        "macro_recall": st.mean_present(recall),
        "ranked_recall": ranking.recall.get(variant),
        "flattery": ranking.flattery,
        **{name: float(value) for name, value in of_change.items()},
        "worst_class": worst_class,
        "worst_class_recall": recall[worst_class],
        "worst_driver": confusion.drivers[comparable[worst_driver]],
        "worst_driver_recall": by_driver[worst_driver],
        "log_loss": st.log_loss(probabilities, true, weight),
        "calibration_error": st.calibration_error(*st.reliability(probabilities, true, weight)),
        **_cost(settings, variant, folds),
        "folds_present": folds,
        "folds_missing": predictions.absent_folds(variant, scope),
    }
    return made(VariantScore, columns)


def calibration_rows(predictions: Predictions, scope: str, variant: str) -> Iterator[Bin]:
    """Yield a row of each bin of confidence; an empty bin, and no other, has n = 0 and no confidence."""
    n, confidence, accuracy = st.reliability(*_of_scope(predictions, variant, scope))
    for i in range(st.BINS):
        columns = {
            "scope": scope,
            "variant": variant,
            "bin": i,
            "low": i / st.BINS,
            "high": (i + 1) / st.BINS,
            "n": max(round(n[i]), int(n[i] > 0)),  # one training of three said it once
            "confidence": confidence[i],
            "accuracy": accuracy[i],
        }
        yield made(Bin, columns)


def confusion_rows(scope: str, variant: str, counts: np.ndarray, change: Difference | None) -> Iterator[Move]:
    """Yield a row of each pair of classes that the variant or its reference confuses, the commonest of either first.

    n and share are over the variant's own drivers, `counts` [driver, true, predicted] averaged over its trainings; what
    is compared is over those that the reference has too.
    """
    pooled = counts.sum(0)
    share = st.ratio(pooled, st.support(pooled)[:, None])
    known, largest = pooled.copy(), share
    if change:
        reference = averaged(change.reference).sum(0)
        reference_share = st.ratio(reference, st.support(reference)[:, None])
        known += reference
        largest = np.fmax(share, reference_share)
        moved = contrast(_cells(change.variant), _cells(change.reference), change.folds)
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
                "baseline_share": reference_share[true, predicted],
                "delta_share": moved.delta[true, predicted],
                "delta_low": moved.low[true, predicted],
                "delta_high": moved.high[true, predicted],
            }
        yield made(Move, columns)


def driver_rows(
    scope: str, variant: str, counts: np.ndarray, drivers: tuple[str, ...], change: Difference | None
) -> Iterator[DriverScore]:
    """Yield a row of each class and driver of the variant; n = 0 and no recall where a driver lacks the class."""
    n, recall = st.support(counts).round().astype(int), st.recall(counts)
    baseline = delta = np.full(recall.shape, np.nan)
    if change:
        means = averaged(change.variant), averaged(change.reference)
        baseline, delta = st.recall(means[1]), heterogeneity.driver_deltas(*means)
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


def _cells(trainings: np.ndarray) -> Rates:
    """Return images per cell, [replicate, true, predicted, driver], of those of its true class."""
    cells, n = np.moveaxis(trainings, 1, -1), rates(trainings).n
    return Rates(cells, np.broadcast_to(n[:, None], cells.shape[1:]))


def _of_scope(predictions: Predictions, variant: str, scope: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return probabilities of every training [M, class], true classes [M], and weights [M] that count an image once."""
    probabilities, true, weight = [], [], []
    for part in predictions.of(variant, scope):
        rows, trainings = part.rows(scope), len(part.probabilities)
        probabilities += list(part.probabilities[:, rows])
        true += [part.true[rows]] * trainings
        weight.append(np.full(trainings * rows.sum(), 1 / trainings))
    return np.concatenate(probabilities), np.concatenate(true), np.concatenate(weight)


def training_facts(settings: Settings, variant: str, fold: str) -> dict[str, Any]:
    """Return parameters and training time of one fold's checkpoints, each None where it is not known."""
    facts = all_facts(settings, variant, fold)
    seconds = [meta.get("seconds") for meta in facts]
    sizes = {name: facts[0].get(name) if facts else None for name in ("trainable_parameters", "total_parameters")}
    return {**sizes, "seconds": sum(seconds) if facts and None not in seconds else None}


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
