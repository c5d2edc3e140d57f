"""Held-out probabilities on disk: their schema, how they are written, and what makes a file unusable.

A prediction file counts only if it fits the manifest as it is now: same data fingerprint, only images
that its fold holds out, no NaN. What does not fit is left out and named, never averaged in.
What is computed from predictions belongs to `tensor`, `statistics` and `tables`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.files import atomic_path
from distracted_pipeline.images.manifest import data_fingerprint, labelled, read_manifest
from distracted_pipeline.scopes import canonical_fold, fold_path
from distracted_pipeline.settings import Settings
from distracted_pipeline.variants.config import load_catalogue
from distracted_pipeline.vocabulary import CLASS_IDS, CROSS_FOLDS, FOLDS, SEED_FOLD

PROBABILITIES = tuple(f"p_{class_id}" for class_id in CLASS_IDS)
"""Probability columns in the order of the class ids."""

SCHEMA = pa.schema(
    [
        ("img", pa.string()),
        ("subject", pa.string()),
        ("true", pa.int8()),
        *((name, pa.float32()) for name in PROBABILITIES),
    ]
)

SCOPES: dict[str, tuple[str, ...]] = {"oof": CROSS_FOLDS, "dev": (SEED_FOLD,), "test": (SEED_FOLD,)}
"""What is reported together: out of fold over every driver, and the seed's dev and test drivers."""

_SUM_TOLERANCE = 1e-2


@dataclass(frozen=True)
class Part:
    """The usable predictions of one variant on one fold.

    Attributes:
        variant: Variant name.
        fold: `seed` or `0` ... `4`.
        img: Image names, str [N].
        subject: Drivers, str [N].
        split: The seed's split of each driver, str [N].
        true: Class positions, int8 [N].
        probabilities: float32 [N, 10].
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
        if self.fold not in SCOPES[scope]:
            return np.zeros(len(self.true), bool)
        return np.ones(len(self.true), bool) if scope == "oof" else self.split == scope


@dataclass(frozen=True)
class Predictions:
    """Every usable prediction of a data root, and what is not there.

    Attributes:
        parts: By (variant, fold).
        variants: The catalogue's variants in its order, then others that were found on disk.
        drivers: Every labelled driver of the manifest, sorted.
        missing: One sentence per variant that lacks a fold.
        rejected: One sentence per file that was left out, with the remedy.
        incomplete: One sentence per file that lacks images of its fold.
    """

    parts: dict[tuple[str, str], Part]
    variants: tuple[str, ...]
    drivers: tuple[str, ...]
    folds: tuple[str, ...]
    missing: list[str] = field(default_factory=list)
    rejected: list[str] = field(default_factory=list)
    incomplete: list[str] = field(default_factory=list)

    def of(self, variant: str, scope: str) -> list[Part]:
        """Return the parts of a variant that a scope uses, in fold order."""
        return [self.parts[variant, fold] for fold in SCOPES[scope] if (variant, fold) in self.parts]

    def absent_folds(self, variant: str, scope: str) -> list[str]:
        """Return the folds of a scope that this data has and the variant has not predicted."""
        return [fold for fold in SCOPES[scope] if fold in self.folds and (variant, fold) not in self.parts]


def predictions_path(settings: Settings, variant: str, fold: str) -> Path:
    """Return where the predictions of a variant on a fold lie."""
    return fold_path(settings.predictions / variant, fold, ".parquet")


def write_predictions(
    settings: Settings, variant: str, fold: str, table: pa.Table, facts: Mapping[str, str] | None = None
) -> Path:
    """Write one fold's probabilities and return the file.

    Args:
        settings: Gives the folder.
        variant: Variant name.
        fold: `seed` or `0` ... `4`.
        table: Columns of `SCHEMA`, in any order.
        facts: More of the file's metadata, such as the model's fingerprint; `data_fingerprint` where the data that
            was predicted may be another than the manifest lists now.

    Raises:
        DistractedError: NaN, probabilities that do not sum to 1, or an image twice.
    """
    table = table.select(SCHEMA.names).cast(SCHEMA)
    fault = _fault_within(table)
    if fault:
        raise DistractedError(
            f"predictions of {variant} on fold {fold}: {fault}; nothing was written. "
            f"Train it again: {_remedy(variant, fold, 'trained_model')}"
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
    fingerprint = data_fingerprint(images)
    expected = {fold: _held_out(images, fold) for fold in FOLDS}
    folds = tuple(fold for fold, rows in expected.items() if rows.any())
    names = tuple(variants) if variants is not None else _names(settings)
    found = Predictions({}, names, tuple(sorted(set(images["subject"].to_pylist()))), folds)
    for variant in names:
        for fold in folds:
            path = predictions_path(settings, variant, fold)
            if path.is_file():
                _read_into(found, path, variant, fold, fingerprint, images, expected[fold])
        absent = [fold for fold in folds if (variant, fold) not in found.parts]
        if len(absent) == len(folds):
            found.missing.append(f"{variant}: no predictions yet")
        elif absent:
            found.missing.append(f"{variant}: no predictions for fold{'s' * (len(absent) > 1)} {', '.join(absent)}")
    return found


def _names(settings: Settings) -> tuple[str, ...]:
    catalogue = list(load_catalogue(settings))
    folders = settings.predictions.iterdir() if settings.predictions.is_dir() else ()
    others = sorted({folder.name for folder in folders if any(folder.glob("[!.]*.parquet"))} - set(catalogue))
    return (*catalogue, *others)


def _held_out(images: pa.Table, fold: str) -> np.ndarray:
    """Tell which labelled images a fold predicts, bool [N]."""
    if fold == SEED_FOLD:
        return np.isin(images["split"].to_numpy(zero_copy_only=False).astype(str), ("dev", "test"))
    return images["fold"].to_numpy() == int(fold)


def _read_into(
    found: Predictions,
    path: Path,
    variant: str,
    fold: str,
    fingerprint: str,
    images: pa.Table,
    expected: np.ndarray,
) -> None:
    try:
        table = pq.read_table(path, partitioning=None)
        fault = _fault_of_origin(table, variant, fold, fingerprint)
        if not fault:
            table = table.select(SCHEMA.names).cast(SCHEMA)
            fault = _fault_within(table)
    except (pa.ArrowException, OSError, KeyError) as error:
        fault = f"cannot be read ({str(error).splitlines()[0]})"
    if not fault:
        rows = pc.index_in(table["img"].combine_chunks(), value_set=images["img"].combine_chunks())
        fault = _fault_of_rows(table, rows, images, expected)
    if fault:
        found.rejected.append(f"{variant}, fold {fold}: {path} {fault}; left out. Mend: {_remedy(variant, fold)}")
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
        probabilities=np.stack([table[name].to_numpy() for name in PROBABILITIES], axis=1),
    )


def _strings(table: pa.Table, column: str) -> np.ndarray:
    return table[column].to_numpy(zero_copy_only=False).astype(str)


def _fault_of_origin(table: pa.Table, variant: str, fold: str, fingerprint: str) -> str:
    meta = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
    if (meta.get("variant"), canonical_fold(meta.get("fold", ""))) != (variant, fold):
        return f"says it is {meta.get('variant')!r}, fold {meta.get('fold')!r}"
    if meta.get("data_fingerprint") != fingerprint:
        return f"was made from other data (fingerprint {meta.get('data_fingerprint')}, the manifest has {fingerprint})"
    absent = [name for name in SCHEMA.names if name not in table.column_names]
    return f"lacks the columns {', '.join(absent)}" if absent else ""


def _fault_within(table: pa.Table) -> str:
    """Return what is wrong with a table by itself, or nothing."""
    if table.num_rows == 0:
        return "has no rows"
    names = table["img"].to_pylist()
    if any(table[name].null_count for name in SCHEMA.names):
        return "has empty cells"
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        return f"has {len(names) - len(set(names))} images twice, {twice} first"
    probabilities = np.stack([table[name].to_numpy() for name in PROBABILITIES], axis=1)
    bad = ~np.isfinite(probabilities).all(1)
    if bad.any():
        return f"has NaN or infinite probabilities in {bad.sum()} of {len(names)} rows, {names[bad.argmax()]} first"
    bad = (probabilities < 0).any(1) | (abs(probabilities.sum(1) - 1) > _SUM_TOLERANCE)
    if bad.any():
        return f"has {bad.sum()} rows that are no probabilities summing to 1, {names[bad.argmax()]} first"
    return ""


def _fault_of_rows(table: pa.Table, rows: pa.Array, images: pa.Table, expected: np.ndarray) -> str:
    """Return what the manifest objects to, or nothing."""
    names = table["img"].to_pylist()
    if rows.null_count:
        unknown = names[rows.is_null().to_numpy(zero_copy_only=False).argmax()]
        return f"predicts {rows.null_count} images that the manifest does not label, {unknown} first"
    leaked = ~expected[rows.to_numpy()]
    if leaked.any():
        return f"predicts {leaked.sum()} images that the fold does not hold out, {names[leaked.argmax()]} first"
    matched = images.take(rows)
    classes = [CLASS_IDS.index(name) for name in matched["classname"].to_pylist()]
    differs = (table["true"].to_numpy() != classes) | (_strings(table, "subject") != _strings(matched, "subject"))
    if differs.any():
        return (
            f"disagrees with the manifest on driver or class of {differs.sum()} images, {names[differs.argmax()]} first"
        )
    return ""


def _remedy(variant: str, fold: str, asset: str = "predictions") -> str:
    partition = f"{fold}|{variant}"
    return f"dagster asset materialize --select {asset} --partition {json.dumps(partition, ensure_ascii=False)}"
