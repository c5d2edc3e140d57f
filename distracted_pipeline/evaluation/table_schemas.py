"""The rows of every evaluation table: which columns there are, and which number goes into which.

What a number means is `statistics` and `heterogeneity`, what makes a verdict `comparison`, files are `tables`.
Undefined values are NaN here and null on disk.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from distracted_pipeline.evaluation import heterogeneity
from distracted_pipeline.evaluation import statistics as st
from distracted_pipeline.evaluation.comparison import ABSENT, BASELINE, NOT_TESTABLE, Difference
from distracted_pipeline.evaluation.confusion import Confusion
from distracted_pipeline.evaluation.predictions import Predictions
from distracted_pipeline.settings import Settings
from distracted_pipeline.variants.config import VariantConfig
from distracted_pipeline.vocabulary import CLASS_IDS

Row = dict[str, Any]


def _floats(*names: str) -> list[tuple[str, pa.DataType]]:
    return [(name, pa.float64()) for name in names]


_KEY = [("scope", pa.string()), ("variant", pa.string())]

CLASSES = pa.schema(
    [
        *_KEY,
        ("class_id", pa.int8()),
        ("n", pa.int64()),
        *_floats("recall", "recall_low", "recall_high", "precision", "f1"),
        ("baseline", pa.string()),
        ("drivers_compared", pa.int64()),
        *_floats("delta_recall", "delta_low", "delta_high", "p", "p_holm"),
        ("verdict", pa.string()),
        *_floats("delta_precision", "delta_precision_low", "delta_precision_high"),
        *_floats("delta_f1", "delta_f1_low", "delta_f1_high"),
        # Range of delta_recall over drivers, and I2 as an upper bound. heterogeneity_p is null throughout: within one
        # class nothing tells drivers from near-duplicate frames (`heterogeneity`); the variants' table has a test.
        *_floats("driver_delta_low", "driver_delta_high", "i2", "heterogeneity_p"),
        *_floats("seed_spread"),
    ]
)

VARIANTS = pa.schema(
    [
        *_KEY,
        ("n", pa.int64()),
        ("drivers", pa.int64()),
        *_floats("accuracy", "macro_recall", "macro_delta", "macro_p"),
        ("worst_class", pa.int8()),
        *_floats("worst_class_recall"),
        ("worst_driver", pa.string()),
        *_floats("worst_driver_recall", "log_loss", "calibration_error"),
        ("trainable_parameters", pa.int64()),
        ("total_parameters", pa.int64()),
        *_floats("train_seconds"),
        ("folds_present", pa.list_(pa.string())),
        ("folds_missing", pa.list_(pa.string())),
        *_floats("heterogeneity_p"),
        ("replicates", pa.list_(pa.string())),
        *_floats("seed_spread"),
    ]
)

CALIBRATION = pa.schema(
    [*_KEY, ("bin", pa.int8()), *_floats("low", "high"), ("n", pa.int64()), *_floats("confidence", "accuracy")]
)

CONFUSIONS = pa.schema(
    [
        *_KEY,
        ("true", pa.int8()),
        ("predicted", pa.int8()),
        ("n", pa.int64()),
        *_floats("share", "baseline_share", "delta_share", "delta_low", "delta_high"),
    ]
)

DRIVERS = pa.schema(
    [
        *_KEY,
        ("class_id", pa.int8()),
        ("driver", pa.string()),
        ("n", pa.int64()),
        *_floats("recall", "baseline_recall", "delta"),
    ]
)


def class_rows(
    scope: str,
    variant: str,
    counts: np.ndarray,
    baseline: str,
    change: Difference | None,
    spread: np.ndarray,
) -> Iterator[Row]:
    """Yield ten rows of `CLASSES`.

    Args:
        scope: `oof`, `dev` or `test`.
        variant: Variant name.
        counts: Its counts, [driver, true, predicted].
        baseline: What it is compared with.
        change: The comparison; None for the baseline itself, or without one.
        spread: From `seed_spread`.
    """
    pooled = counts.sum(0)
    n, recall, precision, f1 = st.support(pooled), st.recall(pooled), st.precision(pooled), st.f1(pooled)
    interval = st.korn_graubard(st.hits(counts).T, st.support(counts).T)
    alone = BASELINE if variant == baseline else NOT_TESTABLE
    compared = _comparison_columns(change) if change else {}
    for c in range(len(CLASS_IDS)):
        yield {
            "scope": scope,
            "variant": variant,
            "class_id": c,
            "n": n[c],
            "recall": recall[c],
            "recall_low": interval[c, 0],
            "recall_high": interval[c, 1],
            "precision": precision[c],
            "f1": f1[c],
            "baseline": baseline,
            "drivers_compared": 0,
            "verdict": alone if n[c] else ABSENT,
            "seed_spread": spread[c],
            **{name: values[c] for name, values in compared.items()},
        }


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
    alike: list[str],
) -> Row:
    """Return one row of `VARIANTS`; `alike` are its replicates, itself not among them."""
    counts = confusion.of(variant, scope)
    pooled = counts.sum(0)
    recall = st.recall(pooled)
    present = np.flatnonzero(counts.sum((1, 2)))
    by_driver = np.array([st.mean_present(st.recall(counts[d])) for d in present])
    worst_class, worst_driver = int(np.nanargmin(recall)), int(by_driver.argmin())
    probabilities, true = _of_scope(predictions, variant, scope)
    folds = [part.fold for part in predictions.of(variant, scope)]
    return {
        "scope": scope,
        "variant": variant,
        "n": pooled.sum(),
        "drivers": len(present),
        "accuracy": pooled.trace() / pooled.sum(),
        "macro_recall": st.mean_present(recall),
        "macro_delta": change.macro_delta if change else None,
        "macro_p": change.macro_p if change else None,
        "worst_class": worst_class,
        "worst_class_recall": recall[worst_class],
        "worst_driver": confusion.drivers[present[worst_driver]],
        "worst_driver_recall": by_driver[worst_driver],
        "log_loss": st.log_loss(probabilities, true),
        "calibration_error": st.calibration_error(*st.reliability(probabilities, true)),
        **_training_facts(settings, variant, folds),
        "folds_present": folds,
        "folds_missing": predictions.absent_folds(variant, scope),
        "heterogeneity_p": heterogeneity.driver_test(change.variant, change.baseline) if change else None,
        "replicates": alike,
        "seed_spread": seed_spread(confusion, scope, [variant, *alike])[1],
    }


def calibration_rows(predictions: Predictions, scope: str, variant: str) -> Iterator[Row]:
    """Yield ten rows of `CALIBRATION`; an empty bin has n = 0 and no confidence."""
    n, confidence, accuracy = st.reliability(*_of_scope(predictions, variant, scope))
    for i in range(st.BINS):
        yield {
            "scope": scope,
            "variant": variant,
            "bin": i,
            "low": i / st.BINS,
            "high": (i + 1) / st.BINS,
            "n": n[i],
            "confidence": confidence[i],
            "accuracy": accuracy[i],
        }


def confusion_rows(scope: str, variant: str, counts: np.ndarray, change: Difference | None) -> Iterator[Row]:
    """Yield a row of `CONFUSIONS` per pair that the variant or its baseline confuses, the commonest of either first.

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
        row = {
            "scope": scope,
            "variant": variant,
            "true": true,
            "predicted": predicted,
            "n": pooled[true, predicted],
            "share": share[true, predicted],
        }
        if change:
            row |= {
                "baseline_share": baseline_share[true, predicted],
                "delta_share": delta[true, predicted],
                "delta_low": interval[true, predicted, 0],
                "delta_high": interval[true, predicted, 1],
            }
        yield row


def driver_rows(
    scope: str, variant: str, counts: np.ndarray, drivers: tuple[str, ...], change: Difference | None
) -> Iterator[Row]:
    """Yield a row of `DRIVERS` per class and driver of the variant; n = 0 and no recall where one lacks the class."""
    n, recall = st.support(counts), st.recall(counts)
    nothing = np.full(recall.shape, np.nan)
    baseline = st.recall(change.baseline) if change else nothing
    delta = heterogeneity.driver_deltas(change.variant, change.baseline) if change else nothing
    for c in range(len(CLASS_IDS)):
        for d in np.flatnonzero(n.sum(1)):
            yield {
                "scope": scope,
                "variant": variant,
                "class_id": c,
                "driver": drivers[d],
                "n": n[d, c],
                "recall": recall[d, c],
                "baseline_recall": baseline[d, c],
                "delta": delta[d, c],
            }


def replicates(catalogue: Mapping[str, VariantConfig]) -> dict[str, list[str]]:
    """Return, per variant of the catalogue, the others that differ in nothing but seed and wording."""
    key = {name: config.model_copy(update={"seed": 0}).fingerprint() for name, config in catalogue.items()}
    return {name: [other for other in key if other != name and key[other] == key[name]] for name in key}


def seed_spread(confusion: Confusion, scope: str, variants: list[str]) -> tuple[np.ndarray, float]:
    """Return largest minus smallest recall per class, [10], and macro recall, over variants that differ in the seed.

    On the drivers that all of them have; NaN for a single variant, or without a driver in common.
    """
    counts = np.stack([confusion.of(name, scope) for name in variants])
    common = (counts.sum((2, 3)) > 0).all(0)
    if len(variants) < 2 or not common.any():
        return np.full(len(CLASS_IDS), np.nan), float("nan")
    recall = st.recall(counts[:, common].sum(1))
    return np.ptp(recall, axis=0), float(np.ptp([st.mean_present(row) for row in recall]))


def _cells(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return images per cell, [true, predicted, driver], and those of its true class, the same shape."""
    cells = counts.transpose(1, 2, 0)
    return cells, np.broadcast_to(st.support(counts).T[:, None, :], cells.shape)


def _of_scope(predictions: Predictions, variant: str, scope: str) -> tuple[np.ndarray, np.ndarray]:
    parts = predictions.of(variant, scope)
    probabilities = np.concatenate([part.probabilities[part.rows(scope)] for part in parts])
    return probabilities, np.concatenate([part.true[part.rows(scope)] for part in parts])


def _training_facts(settings: Settings, variant: str, folds: list[str]) -> Row:
    """Return parameters and the summed training time of a variant's folds; nothing where it is not known."""
    paths = [settings.models / variant / fold / "config.json" for fold in folds]
    metas = [json.loads(path.read_text(encoding="utf-8")) for path in paths if path.is_file()]
    if len(metas) < len(folds):
        return {}
    return {
        "trainable_parameters": metas[0]["trainable_parameters"],
        "total_parameters": metas[0]["total_parameters"],
        "train_seconds": sum(meta["seconds"] for meta in metas),
    }
