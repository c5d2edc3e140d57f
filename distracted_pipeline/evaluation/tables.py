"""The class-wise tables: data frames, and the files in the evaluation folder that hold them.

What a number means is `statistics`, what makes a verdict is `comparison`; this room only lays them out.
"""

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.evaluation import statistics as st
from distracted_pipeline.evaluation.comparison import ABSENT, BASELINE, NOT_TESTABLE, Difference, difference, sentence
from distracted_pipeline.evaluation.predictions import SCOPES, Predictions, read_predictions
from distracted_pipeline.evaluation.tensor import Confusion, build_confusion, read_confusion, write_confusion
from distracted_pipeline.files import atomic_path
from distracted_pipeline.settings import Settings
from distracted_pipeline.vocabulary import CLASS_IDS, CLASSES

if TYPE_CHECKING:
    import pandas as pd

CONFUSION_FILE = "confusion.npz"
CLASSES_FILE = "class_accuracy.parquet"
VARIANTS_FILE = "variants.parquet"

CLASSES_SCHEMA = pa.schema(
    [
        ("scope", pa.string()),
        ("variant", pa.string()),
        ("class_id", pa.int8()),
        ("n", pa.int64()),
        *((name, pa.float64()) for name in ("recall", "recall_low", "recall_high", "precision", "f1")),
        ("baseline", pa.string()),
        ("drivers_compared", pa.int64()),
        *((name, pa.float64()) for name in ("delta_recall", "delta_low", "delta_high", "p", "p_holm")),
        ("verdict", pa.string()),
    ]
)

VARIANTS_SCHEMA = pa.schema(
    [
        ("scope", pa.string()),
        ("variant", pa.string()),
        ("n", pa.int64()),
        ("drivers", pa.int64()),
        ("accuracy", pa.float64()),
        ("macro_recall", pa.float64()),
        ("macro_delta", pa.float64()),
        ("macro_p", pa.float64()),
        ("worst_class", pa.int8()),
        ("worst_class_recall", pa.float64()),
        ("worst_driver", pa.string()),
        ("worst_driver_recall", pa.float64()),
        ("log_loss", pa.float64()),
        ("calibration_error", pa.float64()),
        ("trainable_parameters", pa.int64()),
        ("total_parameters", pa.int64()),
        ("train_seconds", pa.float64()),
        ("folds_present", pa.list_(pa.string())),
        ("folds_missing", pa.list_(pa.string())),
    ]
)


@dataclass(frozen=True)
class ClassAccuracy:
    """The class-wise result over every variant that has predictions.

    Attributes:
        confusion: Counts by variant, driver, true and predicted class.
        classes: One row per scope, variant and class; NaN where undefined.
        variants: One row per scope and variant.
        missing: Sentences that say which variants, folds, files or images are not in it, and why.
        rejected: Those of `missing` that name unusable files.
    """

    confusion: Confusion
    classes: "pd.DataFrame"
    variants: "pd.DataFrame"
    missing: list[str]
    rejected: list[str]


def class_accuracy(settings: Settings, *, log: Callable[[str], object] = print) -> ClassAccuracy:
    """Compute the class-wise tables from whatever predictions exist, write them and return them.

    Raises:
        DistractedError: No usable predictions at all, no manifest, or an unknown baseline.
    """
    predictions = read_predictions(settings)
    if settings.baseline not in predictions.variants:
        raise DistractedError(
            f"DISTRACTED_BASELINE is {settings.baseline!r}, which is no variant. "
            f"Set it to one of {', '.join(predictions.variants)} and run `distracted run` again."
        )
    if not predictions.parts:
        reasons = "".join(f"\n  {line}" for line in predictions.rejected)
        raise DistractedError(f"no usable predictions in {settings.predictions}; run `distracted run`.{reasons}")
    confusion = build_confusion(predictions)
    missing = _missing(predictions, settings.baseline)
    classes: list[dict[str, Any]] = []
    variants: list[dict[str, Any]] = []
    signs = st.swap_signs(confusion.drivers)
    for scope in SCOPES:
        for variant in confusion.variants:
            counts = confusion.of(variant, scope)
            if not counts.sum():
                continue
            change = _change(confusion, scope, variant, settings.baseline, signs)
            classes += _class_rows(scope, variant, counts, settings.baseline, change)
            variants.append(_variant_row(settings, predictions, scope, variant, counts, confusion.drivers, change))
    settings.evaluation.mkdir(parents=True, exist_ok=True)
    write_confusion(settings.evaluation / CONFUSION_FILE, confusion)
    notes = {"missing": json.dumps(missing), "rejected": json.dumps(predictions.rejected)}
    _write(settings, VARIANTS_FILE, variants, VARIANTS_SCHEMA, notes)
    _write(settings, CLASSES_FILE, classes, CLASSES_SCHEMA, {})
    result = read_class_accuracy(settings)
    for line in headline(settings).splitlines():
        log(line)
    return result


def read_class_accuracy(settings: Settings) -> ClassAccuracy:
    """Read back what `class_accuracy` wrote.

    Raises:
        DistractedError: It has not been written yet.
    """
    folder = settings.evaluation
    for name in (CONFUSION_FILE, CLASSES_FILE, VARIANTS_FILE):
        if not (folder / name).is_file():
            raise DistractedError(
                f"there is no {folder / name} yet; run `dagster asset materialize --select class_accuracy`, "
                "or `distracted run` if nothing is trained."
            )
    classes = pq.read_table(folder / CLASSES_FILE)
    variants = pq.read_table(folder / VARIANTS_FILE)
    frame = variants.to_pandas()
    for column in ("folds_present", "folds_missing"):
        frame[column] = variants[column].to_pylist()
    notes = {key.decode(): json.loads(value) for key, value in variants.schema.metadata.items() if key != b"pandas"}
    return ClassAccuracy(
        confusion=read_confusion(folder / CONFUSION_FILE),
        classes=classes.to_pandas(),
        variants=frame,
        missing=notes["missing"],
        rejected=notes["rejected"],
    )


def verdict_sentence(classes: "pd.DataFrame", variant: str, scope: str = "oof") -> str:
    """Return what a variant changed, in words: `2 of 10 classes improved, 1 worsened, 7 undetermined`."""
    rows = rows_of(classes, scope, variant)
    return sentence([row["verdict"] for row in rows]) if rows else "no predictions yet"


def headline(settings: Settings) -> str:
    """Return the result so far, one line per variant, and what is missing from it."""
    result = read_class_accuracy(settings)
    return "\n".join((*leaderboard(result), *(f"missing: {line}" for line in result.missing)))


def leaderboard(result: ClassAccuracy, scope: str = "") -> list[str]:
    """Return one line per variant, best macro recall first, on `scope` or else the first that has predictions."""
    scope = scope or main_scope(result.variants)
    rows = sorted(rows_of(result.variants, scope), key=lambda row: -row["macro_recall"])
    return [
        f"{row['variant']}: macro recall {row['macro_recall']:.3f} "
        f"({verdict_sentence(result.classes, row['variant'], scope)})"
        for row in rows
    ]


def rows_of(frame: "pd.DataFrame", scope: str, variant: str | None = None) -> list[dict[str, Any]]:
    """Return the rows of a scope, and of one variant if named, as plain dictionaries."""
    records = [{str(key): value for key, value in record.items()} for record in frame.to_dict("records")]
    return [row for row in records if row["scope"] == scope and variant in (None, row["variant"])]


def main_scope(variants: "pd.DataFrame") -> str:
    """Return the scope to speak of: out of fold where there is any, else the test drivers, else the dev drivers."""
    return next(scope for scope in ("oof", "test", "dev") if (variants["scope"] == scope).any())


def compare(settings: Settings, a: str, b: str, *, scope: str = "oof") -> "pd.DataFrame":
    """Return what variant `b` changed against variant `a`, one row per class.

    Columns: class_id, name, n, drivers, recall_a, recall_b, delta (b minus a, on common drivers), delta_low,
    delta_high, p, p_holm, verdict.

    Raises:
        DistractedError: There are no tables yet, or none for one of the two.
    """
    import pandas as pd

    confusion = read_class_accuracy(settings).confusion
    for name in (a, b):
        if name not in confusion.variants or not confusion.of(name, scope).sum():
            known = [v for v in confusion.variants if confusion.of(v, scope).sum()]
            raise DistractedError(
                f"variant {name!r} has no {scope} predictions in {settings.evaluation / CONFUSION_FILE} "
                f"(those with: {', '.join(known) or 'none'}). Run `distracted run`, or choose another."
            )
    change = difference(confusion.of(b, scope), confusion.of(a, scope), st.swap_signs(confusion.drivers))
    return pd.DataFrame(
        {
            "class_id": range(len(CLASS_IDS)),
            "name": list(CLASSES.values()),
            "n": st.support(confusion.of(b, scope).sum(0)),
            "drivers": change.drivers,
            "recall_a": change.baseline_recall,
            "recall_b": change.baseline_recall + change.delta,
            "delta": change.delta,
            "delta_low": change.interval[:, 0],
            "delta_high": change.interval[:, 1],
            "p": change.p,
            "p_holm": change.p_holm,
            "verdict": change.verdicts,
        }
    )


def _missing(predictions: Predictions, baseline: str) -> list[str]:
    lines = [*predictions.missing, *predictions.rejected, *predictions.incomplete]
    if not predictions.of(baseline, "oof"):
        lines.append(
            f"the baseline {baseline} has no out-of-fold predictions, so nothing is compared with it there "
            "(DISTRACTED_BASELINE chooses another)"
        )
    return lines


def _change(confusion: Confusion, scope: str, variant: str, baseline: str, signs: np.ndarray) -> Difference | None:
    """Return the difference to the baseline, or nothing where there is none to speak of."""
    if variant == baseline or baseline not in confusion.variants or not confusion.of(baseline, scope).sum():
        return None
    return difference(confusion.of(variant, scope), confusion.of(baseline, scope), signs)


def _class_rows(
    scope: str, variant: str, counts: np.ndarray, baseline: str, change: Difference | None
) -> Iterable[dict[str, Any]]:
    pooled = counts.sum(0)
    n, recall, precision, f1 = st.support(pooled), st.recall(pooled), st.precision(pooled), st.f1(pooled)
    interval = st.korn_graubard(st.hits(counts).T, st.support(counts).T)
    alone = BASELINE if variant == baseline else NOT_TESTABLE
    for c in range(len(CLASS_IDS)):
        row = {
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
        }
        if change:
            row |= {
                "drivers_compared": change.drivers[c],
                "delta_recall": change.delta[c],
                "delta_low": change.interval[c, 0],
                "delta_high": change.interval[c, 1],
                "p": change.p[c],
                "p_holm": change.p_holm[c],
                "verdict": change.verdicts[c],
            }
        yield row


def _variant_row(
    settings: Settings,
    predictions: Predictions,
    scope: str,
    variant: str,
    counts: np.ndarray,
    drivers: tuple[str, ...],
    change: Difference | None,
) -> dict[str, Any]:
    pooled = counts.sum(0)
    recall = st.recall(pooled)
    present = np.flatnonzero(counts.sum((1, 2)))
    by_driver = np.array([st.mean_present(st.recall(counts[d])) for d in present])
    worst_class, worst_driver = int(np.nanargmin(recall)), int(by_driver.argmin())
    parts = predictions.of(variant, scope)
    probabilities = np.concatenate([part.probabilities[part.rows(scope)] for part in parts])
    true = np.concatenate([part.true[part.rows(scope)] for part in parts])
    folds = [part.fold for part in parts]
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
        "worst_driver": drivers[present[worst_driver]],
        "worst_driver_recall": by_driver[worst_driver],
        "log_loss": st.log_loss(probabilities, true),
        "calibration_error": st.calibration_error(probabilities, true),
        **_training_facts(settings, variant, folds),
        "folds_present": folds,
        "folds_missing": predictions.absent_folds(variant, scope),
    }


def _training_facts(settings: Settings, variant: str, folds: list[str]) -> dict[str, Any]:
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


def _write(settings: Settings, name: str, rows: list[dict[str, Any]], schema: pa.Schema, notes: dict[str, str]) -> None:
    plain = [{key: _plain(value) for key, value in row.items()} for row in rows]
    table = pa.Table.from_pylist(plain, schema=schema).replace_schema_metadata(notes)
    with atomic_path(settings.evaluation / name) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def _plain(value: Any) -> Any:
    """Return a Python value; NaN becomes null."""
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and math.isnan(value) else value
