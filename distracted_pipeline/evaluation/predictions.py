"""Held-out probabilities on disk: how they are written, and which of them can be used.

A file holds the probabilities of every training of a variant on one fold, N rows each, the same images. It counts only
if it fits the manifest as it is now: same data fingerprint, only images that its fold holds out, no NaN. What does not
fit is left out and named, never averaged in.
A file's columns and faults are in `prediction_table`; what is computed from predictions, in `confusion`, `statistics`
and `tables`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from distracted_pipeline.advice import materialize_fold
from distracted_pipeline.checksums import CHECKSUM, is_whole
from distracted_pipeline.dataset import Dataset
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.evaluation.checkpoint_facts import model_fingerprint
from distracted_pipeline.evaluation.prediction_table import (
    REPLICATE,
    fault_of_origin,
    fault_of_rows,
    fault_within,
    numbered,
    predictions_schema,
    probabilities_of,
    strings,
)
from distracted_pipeline.files import write_parquet
from distracted_pipeline.fingerprints import file_digest, fingerprint
from distracted_pipeline.images.manifest import data_fingerprint, labelled, read_manifest
from distracted_pipeline.parquet import read_notes, read_table
from distracted_pipeline.scopes import FOLDS, ORIGINAL_FOLD, SCOPES, fold_path
from distracted_pipeline.settings import Settings
from distracted_pipeline.variants.config import dropped_variants, load_catalogue


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
        probabilities: Of each training, float32 [replicate, N, class].
    """

    variant: str
    fold: str
    img: np.ndarray
    subject: np.ndarray
    split: np.ndarray
    true: np.ndarray
    probabilities: np.ndarray

    @cached_property
    def mean(self) -> np.ndarray:
        """Probabilities averaged over trainings, float32 [N, class]: what single images are shown with."""
        mean: np.ndarray = self.probabilities.mean(0)
        return mean

    @cached_property
    def predicted(self) -> np.ndarray:
        """Most probable class positions by `mean`, int8 [N]; the first one wins a tie."""
        return self.mean.argmax(1).astype(np.int8)

    @cached_property
    def answers(self) -> np.ndarray:
        """Most probable class positions of each training by itself, int8 [replicate, N]: what is counted."""
        return self.probabilities.argmax(2).astype(np.int8)

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


def predictions_path(settings: Settings, variant: str, fold: str) -> Path:
    """Return where the predictions of a variant on a fold lie."""
    return fold_path(settings.predictions / variant, fold, ".parquet")


def is_predicted(settings: Settings, variant: str, fold: str) -> bool:
    """Tell whether usable predictions of all checkpoints and of the images as they are now are there.

    A sealed file was judged when it was written; what is in one of an earlier version is read and judged now.
    """
    facts = recorded_facts(predictions_path(settings, variant, fold))
    made_by = facts.get("model_fingerprint", "")
    if not made_by or made_by != model_fingerprint(settings, variant, fold):
        return False
    if facts.get("data_fingerprint") != _labelled_fingerprint(settings, _manifest_digest(settings)):
        return False
    if CHECKSUM in facts:
        return True
    found = read_predictions(settings, [variant])
    return (variant, fold) in found.parts and not any(f"fold {fold}:" in line for line in found.incomplete)


def images_fingerprint(settings: Settings) -> str:
    """Return the fingerprint of the labelled images, their drivers, classes and bytes, and of who is held out where.

    Raises:
        DistractedError: There is no manifest.
    """
    return _images_fingerprint(settings, _manifest_digest(settings))


def _manifest_digest(settings: Settings) -> str:
    return file_digest(settings.manifest) if settings.manifest.is_file() else ""


@lru_cache(maxsize=4)
def _labelled_fingerprint(settings: Settings, digest: str) -> str:
    return data_fingerprint(labelled(read_manifest(settings)))


@lru_cache(maxsize=4)
def _images_fingerprint(settings: Settings, digest: str) -> str:
    images = labelled(read_manifest(settings))
    held_out = dict(zip(*(images[name].to_pylist() for name in ("subject", "split")), strict=True))
    folds = dict(zip(*(images[name].to_pylist() for name in ("subject", "fold")), strict=True))
    return fingerprint(data_fingerprint(images), held_out, folds)


def recorded_facts(path: Path) -> dict[str, str]:
    """Return what a prediction file says of itself, without its rows; empty where it is damaged."""
    if not is_whole(path):
        return {}
    return read_notes(path)


def write_predictions(
    settings: Settings, variant: str, fold: str, table: pa.Table, facts: Mapping[str, str] | None = None
) -> Path:
    """Write one fold's probabilities, training after training, and return the file.

    Args:
        settings: Gives the folder and the classes.
        variant: Variant name.
        fold: One of `scopes.FOLDS`.
        table: Columns of `predictions_schema`, in any order; those of one training may lack `REPLICATE`.
        facts: More of the file's metadata, such as the models' fingerprint; `data_fingerprint` where the data that
            was predicted may be another than the manifest lists now.

    Raises:
        DistractedError: NaN, probabilities that do not sum to 1, an image twice, or trainings of different images.
    """
    schema = predictions_schema(settings.dataset.class_ids)
    table = numbered(table).select(schema.names).cast(schema)
    fault = fault_within(table)
    if fault:
        raise DistractedError(
            f"predictions of {variant} on fold {fold}: {fault}; nothing was written. "
            f"Train it again: {materialize_fold('trained_model', variant, fold)}"
        )
    meta = {"variant": variant, "fold": fold, **(facts or {})}
    meta.setdefault("data_fingerprint", data_fingerprint(labelled(read_manifest(settings))))
    path = predictions_path(settings, variant, fold)
    order = np.argsort(table[REPLICATE].to_numpy(), kind="stable")
    table = table.take(pa.array(order))
    write_parquet(path, table, meta)
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
    """Return the catalogue's variants in its order, then others with predictions on disk, but those it drops."""
    catalogue = list(load_catalogue(settings))
    folders = settings.predictions.iterdir() if settings.predictions.is_dir() else ()
    found = {folder.name for folder in folders if any(folder.glob("[!.]*.parquet"))}
    return (*catalogue, *sorted(found - {*catalogue, *dropped_variants(settings)}))


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
        table = numbered(read_table(path))
        fault = "" if is_whole(path) else "is not as it was written"
        fault = fault or fault_of_origin(table, read_notes(path), variant, fold, data, schema.names)
        if not fault:
            table = table.select(schema.names).cast(schema)
            fault = fault_within(table)
    except (pa.ArrowException, OSError, KeyError) as error:
        fault = f"cannot be read ({str(error).splitlines()[0]})"
    if not fault:
        rows = pc.index_in(table["img"].combine_chunks(), value_set=images["img"].combine_chunks())
        fault = fault_of_rows(table, rows, images, expected, dataset)
    if fault:
        again = materialize_fold("predictions", variant, fold)
        found.rejected.append(f"{variant}, fold {fold}: {path} {fault}; left out. Make it again: {again}")
        return
    replicate, position = table[REPLICATE].to_numpy(), rows.to_numpy()
    order = np.lexsort((position, replicate))
    trainings = int(replicate.max()) + 1
    first = order[: len(order) // trainings]  # the same images in each, as `fault_within` found
    matched = images.take(pa.array(position[first]))
    left = int(expected.sum()) - len(first)
    if left:
        predicted = set(matched["img"].to_pylist())
        missed = next(img for img in images.filter(pa.array(expected))["img"].to_pylist() if img not in predicted)
        found.incomplete.append(
            f"{variant}, fold {fold}: {left} of {expected.sum()} held-out images have no prediction, {missed} first"
        )
    of_first = table.select(["img", "subject", "true"]).take(pa.array(first))
    found.parts[variant, fold] = Part(
        variant=variant,
        fold=fold,
        img=strings(of_first, "img"),
        subject=strings(of_first, "subject"),
        split=strings(matched, "split"),
        true=of_first["true"].to_numpy(),
        probabilities=probabilities_of(table)[order].reshape(trainings, len(first), -1),
    )
