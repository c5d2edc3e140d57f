"""Everything a report shows, read from the data root into the objects of `report_data`; nothing is computed twice.

Statistics come from the evaluation's files as they are. What is derived here are only look-ups that a page needs
(which image, which probabilities). What pages make of it belongs to `pages`, `figures` and `pictures`.
"""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from distracted_pipeline.advice import RUN, materialize
from distracted_pipeline.arrays import read_arrays
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.evaluation.checkpoint_facts import replicates
from distracted_pipeline.evaluation.comparison import NO_CLAIM
from distracted_pipeline.evaluation.confusion import Confusion
from distracted_pipeline.evaluation.predictions import read_predictions
from distracted_pipeline.evaluation.table_schemas import Bin, ClassScore, Move, VariantScore
from distracted_pipeline.evaluation.tables import (
    CALIBRATION_FILE,
    CLASSES_FILE,
    CONFUSIONS_FILE,
    VARIANTS_FILE,
    read_class_accuracy,
)
from distracted_pipeline.evaluation.tables_io import check_listed, read_rows
from distracted_pipeline.explanation.explain import CAMS_FILE, ROWS_FILE, gradcam_folder
from distracted_pipeline.explanation.means import LIFT_FILE, MEANS_FILE
from distracted_pipeline.explanation.tables import EVERY_CLASS, CamRow, Lift
from distracted_pipeline.files import read_json
from distracted_pipeline.images.manifest import class_positions, labelled, read_manifest
from distracted_pipeline.images.problems import OK
from distracted_pipeline.masks.cache import open_cache
from distracted_pipeline.parquet import read_notes
from distracted_pipeline.reports.report_data import Cams, Image, Probabilities, ReportData, ScopeScores
from distracted_pipeline.scopes import FOLDS, SCOPES, fold_path
from distracted_pipeline.settings import Settings
from distracted_pipeline.variants.config import load_catalogue


def read_report_data(settings: Settings) -> ReportData:
    """Read what has been evaluated so far.

    Raises:
        DistractedError: Nothing has been evaluated, or a file of the evaluation is unreadable.
    """
    table = read_manifest(settings)
    known = labelled(table)
    columns = (known[name].to_pylist() for name in ("img", "subject", "path", "split"))
    images = {
        img: Image(img, subject, true, path, split)
        for img, subject, path, split, true in zip(
            *columns, class_positions(known, settings.dataset).tolist(), strict=True
        )
    }
    result = read_class_accuracy(settings)
    scopes = _scopes(settings, result.confusion)
    if not scopes:
        raise DistractedError(f"no variant in {settings.evaluation} has predictions yet. Type: {RUN}")
    catalogue = load_catalogue(settings)
    named = {name for scope in scopes.values() for name in scope.variants}
    variants = [name for name in catalogue if name in named] + sorted(named - set(catalogue))
    variants.sort(key=lambda name: name != settings.baseline)
    usable = sum(status == OK for status in table["status"].to_pylist())
    return ReportData(
        settings=settings,
        catalogue=catalogue,
        variants=variants,
        scopes=scopes,
        drivers=result.confusion.drivers,
        images=images,
        predictions=_probabilities(settings, variants, next(iter(scopes)), list(images)),
        cams={name: cams for name in variants if (cams := _cams(settings, name)) is not None},
        runs={name: _runs(settings, name) for name in variants},
        found=_found(settings, list(images.values())),
        unlabelled=usable - len(images),
        unusable=table.num_rows - usable,
        missing=[*result.missing, *_alone(scopes)],
    )


def _scopes(settings: Settings, confusion: Confusion) -> dict[str, ScopeScores]:
    """Return the scopes that have predictions, the most telling first."""
    folder = settings.evaluation
    variants = _by_scope(read_rows(folder / VARIANTS_FILE, VariantScore))
    classes = _by_scope(read_rows(folder / CLASSES_FILE, ClassScore))
    bins = _by_scope(read_rows(folder / CALIBRATION_FILE, Bin))
    moves = _by_scope(read_rows(folder / CONFUSIONS_FILE, Move))
    return {
        name: ScopeScores(
            name,
            classes={key: sorted(rows, key=lambda row: row.class_id) for key, rows in classes[name].items()},
            variants={key: row for key, (row,) in variants[name].items()},
            confusion={key: confusion.of(key, name) for key in variants[name]},
            reliability={key: sorted(rows, key=lambda row: row.low) for key, rows in bins.get(name, {}).items()},
            moves={key: {(row.true, row.predicted): row for row in rows} for key, rows in moves.get(name, {}).items()},
            cells=sum(row.verdict not in NO_CLAIM for rows in classes[name].values() for row in rows),
            questions=sum(_asked_together(row) for rows in classes[name].values() for row in rows),
            means=sum(row.macro_p_holm is not None for rows in variants[name].values() for row in rows),
            trainings={key: confusion.trainings(key, name) for key in variants[name]},
            folds=confusion.folds[name],
        )
        for name in SCOPES
        if name in variants
    }


def _asked_together(score: ClassScore) -> bool:
    """Tell whether p is corrected over all variants; earlier versions, which wrote no `p_own`, asked of each alone."""
    return score.p_holm is not None and score.p_own is not None


def _alone(scopes: dict[str, ScopeScores]) -> list[str]:
    """Return what to say of tables that an earlier version wrote."""
    scores = [score for scope in scopes.values() for rows in scope.classes.values() for score in rows]
    if not any(score.p_holm is not None and not _asked_together(score) for score in scores):
        return []
    again = materialize("class_accuracy")
    return [f"p and verdicts are of an earlier version, corrected over each variant's own classes only: type {again}"]


class _Scored(Protocol):
    """A row of a table of the evaluation."""

    @property
    def scope(self) -> str: ...

    @property
    def variant(self) -> str: ...


T = TypeVar("T", bound=_Scored)


def _by_scope(rows: Iterable[T]) -> dict[str, dict[str, list[T]]]:
    """Return a table's rows by scope, then variant."""
    found: dict[str, dict[str, list[T]]] = {}
    for row in rows:
        found.setdefault(row.scope, {}).setdefault(row.variant, []).append(row)
    return found


def _probabilities(settings: Settings, variants: list[str], scope: str, imgs: list[str]) -> Probabilities:
    place = {img: i for i, img in enumerate(imgs)}
    values = np.full((len(variants), len(imgs), len(settings.dataset.class_ids)), np.nan, np.float32)
    found = read_predictions(settings, variants)
    for v, variant in enumerate(variants):
        for part in found.of(variant, scope):
            rows = part.rows(scope)
            values[v, [place[img] for img in part.img[rows]]] = part.mean[rows]
    return Probabilities(variants, values)


def _found(settings: Settings, images: list[Image]) -> np.ndarray | None:
    """Return which images have a cached mask, and which of its categories; never fills the cache."""
    try:
        cache = open_cache(settings)
    except DistractedError:  # no segmenter: the pictures say why there are no masks
        return None
    seen: dict[str, np.ndarray] = {}
    for subject in sorted({image.subject for image in images}):
        areas = cache.shard_areas(subject) > 0
        areas[:, 0] = True
        seen |= dict(zip(cache.imgs(subject), areas, strict=True))
    nothing = np.zeros(1 + len(settings.dataset.categories), bool)
    return np.stack([seen.get(image.img, nothing) for image in images]) if seen else None


def _cams(settings: Settings, variant: str) -> Cams | None:
    folder = gradcam_folder(settings, variant)
    if not (folder / ROWS_FILE).is_file() or not (folder / CAMS_FILE).is_file():
        return None
    try:
        return _read_cams(folder)
    except (DistractedError, OSError, ValueError, KeyError):
        return None  # damaged: the report says that it has none, and `gradcam` makes them anew


def _read_cams(folder: Path) -> Cams:
    rows = read_rows(folder / ROWS_FILE, CamRow)
    check_listed(folder / ROWS_FILE)
    notes, arrays = read_notes(folder / ROWS_FILE), read_arrays(folder / CAMS_FILE)
    found = Cams(
        rows,
        arrays["cams"],
        lifts=[lift for lift in read_rows(folder / LIFT_FILE, Lift) if lift.class_id == EVERY_CLASS],
        mask_maps=arrays.get("mask_cams"),
        image_share=_share(notes, "image_share"),
        mask_share=_share(notes, "mask_share"),
    )
    if not (folder / MEANS_FILE).is_file():
        return found
    means = read_arrays(folder / MEANS_FILE)
    return replace(found, means=means["class_means"], drivers=(means["counts"] > 0).sum(0))


def _share(notes: dict[str, str], name: str) -> float | None:
    return float(notes[name]) if name in notes else None


def _runs(settings: Settings, variant: str) -> dict[str, list[dict[str, Any]]]:
    """Return what the trainings of each fold wrote, in their order; folds without any are left out."""
    found = {}
    for fold in FOLDS:
        folder = fold_path(settings.models / variant, fold)
        paths = [folder / str(replicate) / "config.json" for replicate in range(replicates(settings, variant, fold))]
        found[fold] = [meta for path in paths if (meta := read_json(path)) is not None]
    return {fold: runs for fold, runs in found.items() if runs}
