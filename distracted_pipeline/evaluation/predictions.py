"""Held-out probabilities on disk: their schema, how they are written, and what makes a file unusable.

A prediction file counts only if it fits the manifest as it is now: same data fingerprint, only images
that its fold holds out, no NaN. What does not fit is left out and named, never averaged in.
What is computed from predictions belongs to `confusion`, `statistics` and `tables`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from distracted_pipeline.advice import materialize_fold
from distracted_pipeline.dataset import Dataset
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.files import atomic_path
from distracted_pipeline.fingerprints import file_digest, fingerprint
from distracted_pipeline.images.manifest import class_positions, data_fingerprint, labelled, read_manifest
from distracted_pipeline.scopes import FOLDS, ORIGINAL_FOLD, SCOPES, canonical_fold, fold_path
from distracted_pipeline.settings import Settings
from distracted_pipeline.variants.config import load_catalogue

_SUM_TOLERANCE = 1e-2


@dataclass(frozen=True)
class Part:
    """The usable predictions of one variant on one fold.

    Attributes:
        variant: Variant name.
        fold: One of `scopes.FOLDS`.
        img: Image names, str [N].
        subject: Drivers, str [N].
        split: Which part of the original split each driver belongs to, str [N].
        true: Class positions, int8 [N].
        probabilities: float32 [N, class].
    """

    variant: str
    fold: str
    img: np.ndarray
    subject: np.ndarray
    split: np.ndarray
    true: np.ndarray
    probabilities: np.ndarray

    @cached_property
    def predicted(self) -> np.ndarray:
        """Most probable class positions, int8 [N]; the first one wins a tie."""
        return self.probabilities.argmax(1).astype(np.int8)

    def rows(self, scope: str) -> np.ndarray:
        """Return which rows belong to a scope, bool [N]."""
        if self.fold not in SCOPES[scope].folds:
            return np.zeros(len(self.true), bool)
        return np.ones(len(self.true), bool) if scope == "oof" else self.split == scope


@dataclass(frozen=True)
class Predictions:
    """Every usable prediction of a data root, and what is not there.

    Attributes:
        parts: By (variant, fold).
        variants: The catalogue's variants in its order, then others that were found on disk.
        drivers: Every labelled driver of the manifest, sorted.
        folds: Those that hold out any driver of this data.
        classes: How many classes the data set has.
        missing: One sentence per variant that lacks a fold.
        rejected: One sentence per file that was left out, with the remedy.
        incomplete: One sentence per file that lacks images of its fold.
    """

    parts: dict[tuple[str, str], Part]
    variants: tuple[str, ...]
    drivers: tuple[str, ...]
    folds: tuple[str, ...]
    classes: int
    missing: list[str] = field(default_factory=list)
    rejected: list[str] = field(default_factory=list)
    incomplete: list[str] = field(default_factory=list)

    def of(self, variant: str, scope: str) -> list[Part]:
        """Return the parts of a variant that a scope uses, in fold order."""
        return [self.parts[variant, fold] for fold in SCOPES[scope].folds if (variant, fold) in self.parts]

    def absent_folds(self, variant: str, scope: str) -> list[str]:
        """Return the folds of a scope that this data has and the variant has not predicted."""
        return [fold for fold in SCOPES[scope].folds if fold in self.folds and (variant, fold) not in self.parts]


def probability_columns(class_ids: Sequence[str]) -> list[str]:
    """Return the columns of the probabilities, in the order of the class ids."""
    return [f"p_{class_id}" for class_id in class_ids]


def predictions_schema(class_ids: Sequence[str]) -> pa.Schema:
    """Return the columns of a prediction file."""
    columns = [(name, pa.float32()) for name in probability_columns(class_ids)]
    return pa.schema([("img", pa.string()), ("subject", pa.string()), ("true", pa.int8()), *columns])


def predictions_path(settings: Settings, variant: str, fold: str) -> Path:
    """Return where the predictions of a variant on a fold lie."""
    return fold_path(settings.predictions / variant, fold, ".parquet")


def is_predicted(settings: Settings, variant: str, fold: str) -> bool:
    """Tell whether the predictions of the checkpoint as it is now are there; False where either cannot be read."""
    made_by = recorded_facts(predictions_path(settings, variant, fold)).get("model_fingerprint", "")
    return bool(made_by) and made_by == model_fingerprint(settings, variant, fold)


def model_fingerprint(settings: Settings, variant: str, fold: str) -> str:
    """Return what a checkpoint says it was made from; empty where there is none that can be read."""
    return str(model_facts(settings, variant, fold).get("fingerprint", ""))


def model_facts(settings: Settings, variant: str, fold: str) -> dict[str, Any]:
    """Return what `training.checkpoint` wrote beside the weights; empty where there is nothing that can be read.

    Loads no torch, so that what is out of date can be told at once.
    """
    try:
        meta = json.loads((fold_path(settings.models / variant, fold) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return meta if isinstance(meta, dict) else {}


def images_fingerprint(settings: Settings) -> str:
    """Return the fingerprint of the labelled images, their drivers, classes and bytes, and of who is held out where.

    Raises:
        DistractedError: There is no manifest.
    """
    digest = file_digest(settings.manifest) if settings.manifest.is_file() else ""
    return _images_fingerprint(settings, digest)


@lru_cache(maxsize=4)
def _images_fingerprint(settings: Settings, digest: str) -> str:
    images = labelled(read_manifest(settings))
    held_out = dict(zip(*(images[name].to_pylist() for name in ("subject", "split")), strict=True))
    folds = dict(zip(*(images[name].to_pylist() for name in ("subject", "fold")), strict=True))
    return fingerprint(data_fingerprint(images), held_out, folds)


def recorded_facts(path: Path) -> dict[str, str]:
    """Return what a prediction file says of itself, without its rows; empty where it cannot be read."""
    try:
        metadata = pq.read_schema(path).metadata or {}
    except (OSError, pa.ArrowException):
        return {}
    return {key.decode(): value.decode() for key, value in metadata.items()}


def write_predictions(
    settings: Settings, variant: str, fold: str, table: pa.Table, facts: Mapping[str, str] | None = None
) -> Path:
    """Write one fold's probabilities and return the file.

    Args:
        settings: Gives the folder and the classes.
        variant: Variant name.
        fold: One of `scopes.FOLDS`.
        table: Columns of `predictions_schema`, in any order.
        facts: More of the file's metadata, such as the model's fingerprint; `data_fingerprint` where the data that
            was predicted may be another than the manifest lists now.

    Raises:
        DistractedError: NaN, probabilities that do not sum to 1, or an image twice.
    """
    schema = predictions_schema(settings.dataset.class_ids)
    table = table.select(schema.names).cast(schema)
    fault = _fault_within(table)
    if fault:
        raise DistractedError(
            f"predictions of {variant} on fold {fold}: {fault}; nothing was written. "
            f"Train it again: {materialize_fold('trained_model', variant, fold)}"
        )
    meta = {"variant": variant, "fold": fold, **(facts or {})}
    meta.setdefault("data_fingerprint", data_fingerprint(labelled(read_manifest(settings))))
    path = predictions_path(settings, variant, fold)
    with atomic_path(path) as temporary:
        pq.write_table(table.replace_schema_metadata(meta), temporary, compression="zstd")
    return path


def read_predictions(settings: Settings, variants: Sequence[str] | None = None) -> Predictions:
    """Return every usable prediction, judged against the manifest.

    Args:
        settings: Gives manifest, catalogue and folder.
        variants: Read only these; by default the catalogue's and whatever else lies on disk.

    Raises:
        DistractedError: There is no manifest.
    """
    # Unlabelled images are never predicted here: with or without them, it is the same data.
    images = labelled(read_manifest(settings))
    data = data_fingerprint(images)
    expected = {fold: _held_out(images, fold) for fold in FOLDS}
    folds = tuple(fold for fold, rows in expected.items() if rows.any())
    names = tuple(variants) if variants is not None else variant_names(settings)
    drivers = tuple(sorted(set(images["subject"].to_pylist())))
    found = Predictions({}, names, drivers, folds, len(settings.dataset.class_ids))
    for variant in names:
        for fold in folds:
            path = predictions_path(settings, variant, fold)
            if path.is_file():
                _read_into(found, path, variant, fold, data, images, expected[fold], settings.dataset)
        absent = [fold for fold in folds if (variant, fold) not in found.parts]
        if len(absent) == len(folds):
            found.missing.append(f"{variant}: no predictions yet")
        elif absent:
            found.missing.append(f"{variant}: no predictions for fold{'s' * (len(absent) > 1)} {', '.join(absent)}")
    return found


def variant_names(settings: Settings) -> tuple[str, ...]:
    """Return the catalogue's variants in its order, then others with predictions on disk."""
    catalogue = list(load_catalogue(settings))
    folders = settings.predictions.iterdir() if settings.predictions.is_dir() else ()
    others = sorted({folder.name for folder in folders if any(folder.glob("[!.]*.parquet"))} - set(catalogue))
    return (*catalogue, *others)


def _held_out(images: pa.Table, fold: str) -> np.ndarray:
    """Tell which labelled images a fold predicts, bool [N]."""
    if fold == ORIGINAL_FOLD:
        return np.isin(images["split"].to_numpy(zero_copy_only=False).astype(str), ("dev", "test"))
    return images["fold"].to_numpy() == int(fold)


def _read_into(
    found: Predictions,
    path: Path,
    variant: str,
    fold: str,
    data: str,
    images: pa.Table,
    expected: np.ndarray,
    dataset: Dataset,
) -> None:
    schema = predictions_schema(dataset.class_ids)
    try:
        table = pq.read_table(path, partitioning=None)
        fault = _fault_of_origin(table, variant, fold, data, schema.names)
        if not fault:
            table = table.select(schema.names).cast(schema)
            fault = _fault_within(table)
    except (pa.ArrowException, OSError, KeyError) as error:
        fault = f"cannot be read ({str(error).splitlines()[0]})"
    if not fault:
        rows = pc.index_in(table["img"].combine_chunks(), value_set=images["img"].combine_chunks())
        fault = _fault_of_rows(table, rows, images, expected, dataset)
    if fault:
        again = materialize_fold("predictions", variant, fold)
        found.rejected.append(f"{variant}, fold {fold}: {path} {fault}; left out. Make it again: {again}")
        return
    order = np.argsort(rows.to_numpy())
    matched = images.take(rows).take(pa.array(order))
    left = int(expected.sum()) - table.num_rows
    if left:
        predicted = set(table["img"].to_pylist())
        first = next(img for img in images.filter(pa.array(expected))["img"].to_pylist() if img not in predicted)
        found.incomplete.append(
            f"{variant}, fold {fold}: {left} of {expected.sum()} held-out images have no prediction, {first} first"
        )
    table = table.take(pa.array(order))
    found.parts[variant, fold] = Part(
        variant=variant,
        fold=fold,
        img=_strings(table, "img"),
        subject=_strings(table, "subject"),
        split=_strings(matched, "split"),
        true=table["true"].to_numpy(),
        probabilities=probabilities_of(table),
    )


def probabilities_of(table: pa.Table) -> np.ndarray:
    """Return the probabilities of a prediction file, [N, class]."""
    names = [name for name in table.column_names if name.startswith("p_")]
    return np.stack([table[name].to_numpy() for name in names], axis=1)


def _strings(table: pa.Table, column: str) -> np.ndarray:
    return table[column].to_numpy(zero_copy_only=False).astype(str)


def _fault_of_origin(table: pa.Table, variant: str, fold: str, data: str, columns: Sequence[str]) -> str:
    meta = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
    if (meta.get("variant"), canonical_fold(meta.get("fold", ""))) != (variant, fold):
        return f"says it is {meta.get('variant')!r}, fold {meta.get('fold')!r}"
    if meta.get("data_fingerprint") != data:
        return f"was made from other data (fingerprint {meta.get('data_fingerprint')}, the manifest has {data})"
    absent = [name for name in columns if name not in table.column_names]
    return f"lacks the columns {', '.join(absent)}" if absent else ""


def _fault_within(table: pa.Table) -> str:
    """Return what is wrong with a table by itself, or nothing."""
    if table.num_rows == 0:
        return "has no rows"
    names = table["img"].to_pylist()
    if any(column.null_count for column in table.columns):
        return "has empty cells"
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        return f"has {len(names) - len(set(names))} images twice, {twice} first"
    probabilities = probabilities_of(table)
    bad = ~np.isfinite(probabilities).all(1)
    if bad.any():
        return f"has NaN or infinite probabilities in {bad.sum()} of {len(names)} rows, {names[bad.argmax()]} first"
    bad = (probabilities < 0).any(1) | (abs(probabilities.sum(1) - 1) > _SUM_TOLERANCE)
    if bad.any():
        return f"has {bad.sum()} rows that are no probabilities summing to 1, {names[bad.argmax()]} first"
    return ""


def _fault_of_rows(table: pa.Table, rows: pa.Array, images: pa.Table, expected: np.ndarray, dataset: Dataset) -> str:
    """Return what the manifest objects to, or nothing."""
    names = table["img"].to_pylist()
    if rows.null_count:
        unknown = names[rows.is_null().to_numpy(zero_copy_only=False).argmax()]
        return f"predicts {rows.null_count} images that the manifest does not label, {unknown} first"
    leaked = ~expected[rows.to_numpy()]
    if leaked.any():
        return f"predicts {leaked.sum()} images that the fold does not hold out, {names[leaked.argmax()]} first"
    matched = images.take(rows)
    classes = class_positions(matched, dataset)
    differs = (table["true"].to_numpy() != classes) | (_strings(table, "subject") != _strings(matched, "subject"))
    if differs.any():
        return (
            f"disagrees with the manifest on driver or class of {differs.sum()} images, {names[differs.argmax()]} first"
        )
    return ""
