"""The class-wise tables: the files in the evaluation folder that hold them, and what is asked of them.

    confusion.npz           the tensor that all else derives from
    class_accuracy.parquet  scope, variant, class: recall, precision, F1, and what changed against the baseline
    variants.parquet        scope, variant: means, worst cases, log loss, calibration error, cost
    calibration.parquet     scope, variant, bin of confidence
    confusions.parquet      scope, variant, true and wrongly predicted class
    drivers.parquet         scope, variant, class, driver

Their columns are `rows`; what a number means is `statistics`, what makes a verdict is `comparison`.
"""

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.evaluation import statistics as st
from distracted_pipeline.evaluation import table_schemas as columns
from distracted_pipeline.evaluation.comparison import Difference, difference, sentence
from distracted_pipeline.evaluation.confusion import Confusion, build_confusion, read_confusion, write_confusion
from distracted_pipeline.evaluation.predictions import SCOPES, Predictions, read_predictions
from distracted_pipeline.files import atomic_path
from distracted_pipeline.settings import Settings
from distracted_pipeline.variants.config import load_catalogue

if TYPE_CHECKING:
    import pandas as pd

CONFUSION_FILE = "confusion.npz"
CLASSES_FILE = "class_accuracy.parquet"
VARIANTS_FILE = "variants.parquet"
CALIBRATION_FILE = "calibration.parquet"
CONFUSIONS_FILE = "confusions.parquet"
DRIVERS_FILE = "drivers.parquet"


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
    settings.evaluation.mkdir(parents=True, exist_ok=True)
    write_confusion(settings.evaluation / CONFUSION_FILE, confusion)
    notes = {"missing": json.dumps(missing), "rejected": json.dumps(predictions.rejected)}
    for name, (rows, schema) in _tables(settings, predictions, confusion).items():
        _write(settings.evaluation / name, rows, schema, notes if name == VARIANTS_FILE else {})
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
    for name in (field.name for field in variants.schema if pa.types.is_list(field.type)):
        frame[name] = variants[name].to_pylist()
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


def _tables(
    settings: Settings, predictions: Predictions, confusion: Confusion
) -> dict[str, tuple[list[columns.Row], pa.Schema]]:
    """Return rows and schema of every table by file name."""
    schemas = {
        CALIBRATION_FILE: columns.CALIBRATION,
        CONFUSIONS_FILE: columns.CONFUSIONS,
        DRIVERS_FILE: columns.DRIVERS,
        VARIANTS_FILE: columns.VARIANTS,
        CLASSES_FILE: columns.CLASSES,
    }
    rows: dict[str, list[columns.Row]] = {name: [] for name in schemas}
    signs = st.swap_signs(confusion.drivers)
    families = columns.replicates(load_catalogue(settings))
    baseline = settings.baseline
    for scope in SCOPES:
        present = [variant for variant in confusion.variants if confusion.of(variant, scope).sum()]
        for variant in present:
            counts = confusion.of(variant, scope)
            change = _change(confusion, scope, variant, baseline, signs)
            alike = [name for name in families.get(variant, ()) if name in present]
            spread, _ = columns.seed_spread(confusion, scope, [variant, *alike])
            rows[CLASSES_FILE] += columns.class_rows(scope, variant, counts, baseline, change, spread)
            rows[VARIANTS_FILE].append(
                columns.variant_row(settings, predictions, confusion, scope, variant, change, alike)
            )
            rows[CALIBRATION_FILE] += columns.calibration_rows(predictions, scope, variant)
            rows[CONFUSIONS_FILE] += columns.confusion_rows(scope, variant, counts, change)
            rows[DRIVERS_FILE] += columns.driver_rows(scope, variant, counts, confusion.drivers, change)
    return {name: (rows[name], schema) for name, schema in schemas.items()}


def _write(path: Path, rows: Iterable[columns.Row], schema: pa.Schema, notes: dict[str, str]) -> None:
    plain = [{key: _plain(value) for key, value in row.items()} for row in rows]
    table = pa.Table.from_pylist(plain, schema=schema).replace_schema_metadata(notes)
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def _plain(value: Any) -> Any:
    """Return a Python value; NaN becomes null."""
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and math.isnan(value) else value
