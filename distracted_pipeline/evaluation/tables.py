"""The class-wise tables: the files in the evaluation folder that hold them, what they depend on, and what they say.

    confusion.npz           the tensor that all else derives from
    class_accuracy.parquet  scope, variant, class: recall, precision, F1, and what changed against the reference
    variants.parquet        scope, variant: means, worst cases, log loss, calibration error, cost
    calibration.parquet     scope, variant, bin of confidence
    confusions.parquet      scope, variant, true and wrongly predicted class
    drivers.parquet         scope, variant, class, driver

A variant's reference is its control, else the baseline. Columns are `table_schemas`, rows `table_rows`; what a number
means is `statistics` and `inference`, what makes a verdict is `comparison`.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from distracted_pipeline.advice import RUN, materialize
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.evaluation import statistics as st
from distracted_pipeline.evaluation import table_rows as rows
from distracted_pipeline.evaluation.comparison import (
    BASELINE,
    CONTROL,
    NO_CLAIM,
    NOT_TESTABLE,
    Difference,
    difference,
    sentence,
    together,
)
from distracted_pipeline.evaluation.confusion import Confusion, build_confusion, read_confusion, write_confusion
from distracted_pipeline.evaluation.predictions import (
    Predictions,
    images_fingerprint,
    predictions_path,
    read_predictions,
    variant_names,
)
from distracted_pipeline.evaluation.ranking import rank
from distracted_pipeline.evaluation.table_schemas import Bin, ClassScore, DriverScore, Move, VariantScore
from distracted_pipeline.evaluation.tables_io import check_listed, listed, listed_are_whole, to_table, write_table
from distracted_pipeline.files import create_folder, sweep_dead
from distracted_pipeline.fingerprints import INPUTS, file_digest, fingerprint, is_current
from distracted_pipeline.parquet import read_table
from distracted_pipeline.progress import Log
from distracted_pipeline.scopes import FOLDS, SCOPES
from distracted_pipeline.settings import Settings
from distracted_pipeline.variants.config import VariantConfig, load_catalogue, reference_of

if TYPE_CHECKING:
    import pandas as pd

CONFUSION_FILE = "confusion.npz"
CLASSES_FILE = "class_accuracy.parquet"
VARIANTS_FILE = "variants.parquet"
CALIBRATION_FILE = "calibration.parquet"
CONFUSIONS_FILE = "confusions.parquet"
DRIVERS_FILE = "drivers.parquet"

_KINDS: dict[str, type] = {
    CALIBRATION_FILE: Bin,
    CONFUSIONS_FILE: Move,
    DRIVERS_FILE: DriverScore,
    VARIANTS_FILE: VariantScore,
    CLASSES_FILE: ClassScore,
}

CODE_VERSION = "6"
"""Raise it when the same predictions would give other tables."""


@dataclass(frozen=True)
class ClassAccuracy:
    """The class-wise result over every variant that has predictions.

    Attributes:
        confusion: Counts by variant, training, driver, true and predicted class.
        classes: Rows of `ClassScore`; NaN where undefined.
        variants: Rows of `VariantScore`.
        missing: Sentences that say which variants, folds, files or images are not in it, and why.
        rejected: Those of `missing` that name unusable files.
    """

    confusion: Confusion
    classes: "pd.DataFrame"
    variants: "pd.DataFrame"
    missing: list[str]
    rejected: list[str]


def class_accuracy(settings: Settings, *, log: Log = print) -> ClassAccuracy:
    """Compute the class-wise tables from whatever predictions exist, write them and return them.

    Raises:
        DistractedError: No usable predictions at all, no manifest, or an unknown baseline.
    """
    inputs = tables_inputs(settings)
    predictions = read_predictions(settings)
    if settings.baseline not in predictions.variants:
        raise DistractedError(
            f"DISTRACTED_BASELINE is {settings.baseline!r}, which is no variant. "
            f"Set it to one of {', '.join(predictions.variants)} and run `{RUN}` again."
        )
    if not predictions.parts:
        reasons = "".join(f"\n  {line}" for line in predictions.rejected)
        raise DistractedError(f"no usable predictions in {settings.predictions}; run `{RUN}`.{reasons}")
    confusion = build_confusion(predictions)
    missing = _missing(settings, predictions)
    create_folder(settings.evaluation)
    sweep_dead(settings.evaluation)
    write_confusion(settings.evaluation / CONFUSION_FILE, confusion)
    notes = {"missing": json.dumps(missing), "rejected": json.dumps(predictions.rejected), INPUTS: inputs}
    notes |= listed(settings.evaluation, [CONFUSION_FILE])
    for name, found in _tables(settings, predictions, confusion).items():
        write_table(settings.evaluation / name, to_table(_KINDS[name], found), notes)
    result = read_class_accuracy(settings)
    log(f"tables of {len(confusion.variants)} variants over {len(confusion.drivers)} drivers in {settings.evaluation}")
    return result


def tables_inputs(settings: Settings) -> str:
    """Return the fingerprint of all that the tables depend on, without reading a prediction.

    Raises:
        DistractedError: There is no manifest, or no catalogue that can be read.
    """
    catalogue = load_catalogue(settings)
    files = {
        f"{variant}/{fold}": (file_digest(path), rows.training_facts(settings, variant, fold))
        for variant in variant_names(settings)
        for fold in FOLDS
        if (path := predictions_path(settings, variant, fold)).is_file()
    }
    return fingerprint(
        CODE_VERSION,
        settings.dataset.class_ids,
        images_fingerprint(settings),
        settings.baseline,
        {name: config.control for name, config in catalogue.items()},
        list(catalogue),
        files,
    )


def tables_current(settings: Settings) -> bool:
    """Tell whether every table is there, whole, and made from the predictions as they are now."""
    try:
        inputs = tables_inputs(settings)
    except (DistractedError, OSError):  # no manifest, no catalogue, a file that went away: whoever makes tables says so
        return False
    folder = settings.evaluation
    return all(is_current([folder / name], inputs) for name in _KINDS) and listed_are_whole(folder / CLASSES_FILE)


def read_class_accuracy(settings: Settings) -> ClassAccuracy:
    """Read back what `class_accuracy` wrote.

    Raises:
        DistractedError: It has not been written yet, or is damaged.
    """
    folder = settings.evaluation
    for name in (CONFUSION_FILE, CLASSES_FILE, VARIANTS_FILE):
        if not (folder / name).is_file():
            raise DistractedError(
                f"there is no {folder / name} yet; run `{materialize('class_accuracy')}`, "
                f"or `{RUN}` if nothing is trained."
            )
    try:
        classes = read_table(folder / CLASSES_FILE)
        variants = read_table(folder / VARIANTS_FILE)
        check_listed(folder / CLASSES_FILE)
        confusion = read_confusion(folder / CONFUSION_FILE)
        missing, rejected = (_noted(variants, name) for name in ("missing", "rejected"))
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        what = (str(error).splitlines() or [type(error).__name__])[0]
        raise DistractedError(f"a table in {folder} cannot be read ({what}). Make them anew: {RUN}") from error
    frame = variants.to_pandas()
    for name in (field.name for field in variants.schema if pa.types.is_list(field.type)):
        frame[name] = variants[name].to_pylist()
    return ClassAccuracy(
        confusion=confusion,
        classes=classes.to_pandas(),
        variants=frame,
        missing=missing,
        rejected=rejected,
    )


def _noted(table: pa.Table, name: str) -> list[str]:
    """Return the lines that a table notes under a name."""
    try:
        lines = json.loads((table.schema.metadata or {}).get(name.encode(), b""))
    except RecursionError as error:
        raise ValueError(str(error)) from error
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        raise ValueError(f"its note {name} is no list of lines")
    return lines


def verdict_sentence(classes: "pd.DataFrame", variant: str, scope: str = "oof") -> str:
    """Return what a variant changed, in words: `2 of 10 classes improved, 1 worsened, 7 undetermined`."""
    found = rows_of(classes, scope, variant)
    asked = sum(row["verdict"] not in NO_CLAIM for row in rows_of(classes, scope))
    if not found:
        return "no predictions yet"
    return sentence([row["verdict"] for row in found], [row.get("obstacle", "") for row in found], asked)


def headline(settings: Settings) -> str:
    """Return the result so far: one line for each variant, and what is missing from it."""
    result = read_class_accuracy(settings)
    return "\n".join((*leaderboard(result), *(f"missing: {line}" for line in result.missing)))


def leaderboard(result: ClassAccuracy, scope: str = "") -> list[str]:
    """Return one line for each variant, in the order of `ranked`, on `scope` or else the first with predictions."""
    scope = scope or main_scope(result.variants)
    return [
        f"{row['variant']}: macro recall {_ranked_recall(row):.3f} "
        f"({verdict_sentence(result.classes, row['variant'], scope)}){_lacking(row)}"
        for row in ranked(rows_of(result.variants, scope))
    ]


def ranked(variants: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows of one scope, best macro recall on the drivers in common first; those that lack folds come last."""
    return sorted(variants, key=lambda row: (bool(row["folds_missing"]), -_ranked_recall(row)))


def _ranked_recall(row: Mapping[str, Any]) -> float:
    recall = row.get("ranked_recall")  # versions before did not write it
    return row["macro_recall"] if recall is None or math.isnan(recall) else recall


def _lacking(row: Mapping[str, Any]) -> str:
    folds = row["folds_missing"]
    return f"; without fold{'s' * (len(folds) > 1)} {', '.join(folds)}, so not ranked" if folds else ""


def rows_of(frame: "pd.DataFrame", scope: str, variant: str | None = None) -> list[dict[str, Any]]:
    """Return the rows of a scope, and of one variant if named, as plain dictionaries."""
    records = [{str(key): value for key, value in record.items()} for record in frame.to_dict("records")]
    return [row for row in records if row["scope"] == scope and variant in (None, row["variant"])]


def main_scope(variants: "pd.DataFrame") -> str:
    """Return the scope to speak of: out of fold where there is any, else the test drivers, else the dev drivers."""
    return next(scope for scope in SCOPES if (variants["scope"] == scope).any())


def _missing(settings: Settings, predictions: Predictions) -> list[str]:
    lines = [*predictions.missing, *predictions.rejected, *predictions.incomplete]
    catalogue = load_catalogue(settings)
    if not predictions.of(settings.baseline, "oof"):
        lines.append(
            f"the baseline {settings.baseline} has no out-of-fold predictions, so nothing is compared with it there "
            "(DISTRACTED_BASELINE chooses another)"
        )
    for variant in predictions.variants:
        control = reference_of(settings, catalogue, variant)
        without = not predictions.of(control, "oof") and predictions.of(variant, "oof")
        if without and control != settings.baseline and variant != settings.baseline:
            lines.append(
                f"{variant}: its control {control} has no out-of-fold predictions, so it is compared with nothing there"
            )
    return lines


def _without_claim(settings: Settings, catalogue: Mapping[str, VariantConfig]) -> dict[str, str]:
    """Return the variants that are compared with nothing, each with its verdict: the baseline, and mere controls.

    What is trained on request only takes no claim from the variant that it is compared with.
    """
    controls = {config.control for config in catalogue.values() if config.control and not config.on_request}
    found = {name: CONTROL for name in controls if name not in catalogue or catalogue[name].control is None}
    return {**found, settings.baseline: BASELINE}


def _changes(confusion: Confusion, scope: str, references: Mapping[str, str]) -> dict[str, Difference]:
    """Return what each variant changed against its reference, all of it asked together.

    Args:
        confusion: All counts.
        scope: A name of `scopes.SCOPES`.
        references: By variant; both with predictions in the scope.
    """
    classes = confusion.scopes[scope].shape[-1]
    signs = st.swap_signs(confusion.drivers, st.draws_for(len(references) * classes))
    folds = confusion.folds[scope]
    changes = {
        variant: difference(confusion.trainings(variant, scope), confusion.trainings(reference, scope), folds, signs)
        for variant, reference in references.items()
    }
    return together(changes, len(signs))


def _tables(settings: Settings, predictions: Predictions, confusion: Confusion) -> dict[str, list[Any]]:
    """Return the rows of every table by file name."""
    found: dict[str, list[Any]] = {name: [] for name in _KINDS}
    catalogue = load_catalogue(settings)
    idle = _without_claim(settings, catalogue)
    reference = {variant: reference_of(settings, catalogue, variant) for variant in confusion.variants}
    for scope in SCOPES:
        present = [variant for variant in confusion.variants if confusion.of(variant, scope).any()]
        if not present:
            continue
        asked = {name: reference[name] for name in present if name not in idle and reference[name] in present}
        changes = _changes(confusion, scope, asked)
        missing = {variant: predictions.absent_folds(variant, scope) for variant in present}
        counts = {variant: confusion.of(variant, scope) for variant in present}
        ranking = rank(counts, missing)
        for variant in present:
            change, base = changes.get(variant), settings.baseline if variant in idle else reference[variant]
            trainings, alone = confusion.trainings(variant, scope), idle.get(variant, NOT_TESTABLE)
            found[CLASSES_FILE] += rows.class_rows(
                scope, variant, trainings, confusion.folds[scope], base, change, alone
            )
            found[VARIANTS_FILE].append(
                rows.variant_row(settings, predictions, confusion, scope, variant, base, change, ranking)
            )
            found[CALIBRATION_FILE] += rows.calibration_rows(predictions, scope, variant)
            found[CONFUSIONS_FILE] += rows.confusion_rows(scope, variant, counts[variant], change)
            found[DRIVERS_FILE] += rows.driver_rows(scope, variant, counts[variant], confusion.drivers, change)
    return found
