"""Everything a report shows, read from the data root into the objects of `findings`; nothing is computed twice.

Statistics come from the evaluation's files as they are. What is derived here are only look-ups that a
page needs (which image, which probabilities). How it looks belongs to `pages`, `figures` and `pictures`.
"""

import json
import math
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pyarrow.parquet as pq

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.evaluation.predictions import read_predictions
from distracted_pipeline.evaluation.tables import CALIBRATION_FILE, CONFUSIONS_FILE, ClassAccuracy, read_class_accuracy
from distracted_pipeline.explanation.means import EVERY_CLASS, LIFT_FILE, MEANS_FILE
from distracted_pipeline.images.manifest import labelled, read_manifest
from distracted_pipeline.reports.findings import (
    SCOPES,
    Bin,
    Cam,
    Cams,
    ClassScore,
    Findings,
    Image,
    Lift,
    Move,
    Predictions,
    Scope,
    VariantScore,
)
from distracted_pipeline.settings import Settings
from distracted_pipeline.variants.config import load_catalogue
from distracted_pipeline.vocabulary import CLASS_IDS, FOLDS, MASK_CATEGORIES

if TYPE_CHECKING:
    import pandas as pd


def read_findings(settings: Settings) -> Findings:
    """Read what has been evaluated so far.

    Raises:
        DistractedError: Nothing has been evaluated, or a file of the evaluation is unreadable.
    """
    table = read_manifest(settings)
    known = labelled(table)
    images = {
        row["img"]: Image(row["img"], row["subject"], CLASS_IDS.index(row["classname"]), row["path"], row["split"])
        for row in known.select(["img", "subject", "classname", "path", "split"]).to_pylist()
    }
    result = read_class_accuracy(settings)
    scopes = {name: scope for name in SCOPES if (scope := _scope(settings, result, name)).variants}
    if not scopes:
        raise DistractedError(f"no variant in {settings.evaluation} has predictions yet. Run `distracted run`.")
    catalogue = load_catalogue(settings)
    named = {name for scope in scopes.values() for name in scope.variants}
    variants = [name for name in catalogue if name in named] + sorted(named - set(catalogue))
    usable = sum(status == "ok" for status in table["status"].to_pylist())
    return Findings(
        settings=settings,
        catalogue=catalogue,
        variants=variants,
        scopes=scopes,
        drivers=result.confusion.drivers,
        images=images,
        predictions=_predictions(settings, variants, next(iter(scopes)), images),
        cams={name: cams for name in variants if (cams := _cams(settings, name)) is not None},
        runs={name: _runs(settings, name) for name in variants},
        rows=table.num_rows,
        unlabelled=usable - len(images),
        unusable=table.num_rows - usable,
        missing=result.missing,
    )


def _scope(settings: Settings, result: ClassAccuracy, name: str) -> Scope:
    rows = _records(result.variants[result.variants["scope"] == name])
    classes: dict[str, list[ClassScore]] = {}
    for row in _records(result.classes[result.classes["scope"] == name]):
        classes.setdefault(row["variant"], []).append(_made(ClassScore, row))
    return Scope(
        name,
        {variant: sorted(scores, key=lambda score: score.class_id) for variant, scores in classes.items()},
        {row["variant"]: _made(VariantScore, row) for row in rows},
        {row["variant"]: result.confusion.of(row["variant"], name) for row in rows},
        _reliability(settings.evaluation / CALIBRATION_FILE, name),
        _moves(settings.evaluation / CONFUSIONS_FILE, name),
    )


def _reliability(path: Path, scope: str) -> dict[str, list[Bin]]:
    found: dict[str, list[Bin]] = {}
    for row in sorted(_table(path), key=lambda row: row["low"]):
        if row["scope"] == scope:
            found.setdefault(row["variant"], []).append(_made(Bin, row))
    return found


def _moves(path: Path, scope: str) -> dict[str, dict[tuple[int, int], Move]]:
    found: dict[str, dict[tuple[int, int], Move]] = {}
    for row in _table(path):
        if row["scope"] == scope:
            move = _made(Move, row)
            found.setdefault(row["variant"], {})[move.true, move.predicted] = move
    return found


def _predictions(settings: Settings, variants: list[str], scope: str, images: dict[str, Image]) -> Predictions:
    place = {img: i for i, img in enumerate(images)}
    probabilities = np.full((len(variants), len(images), len(CLASS_IDS)), np.nan, np.float32)
    found = read_predictions(settings, variants)
    for v, variant in enumerate(variants):
        for part in found.of(variant, scope):
            rows = part.rows(scope)
            probabilities[v, [place[img] for img in part.img[rows]]] = part.probabilities[rows]
    return Predictions(variants, probabilities)


def _cams(settings: Settings, variant: str) -> Cams | None:
    folder = settings.evaluation / "gradcam" / variant
    if not (folder / "rows.parquet").is_file() or not (folder / "cams.npz").is_file():
        return None
    rows = [
        Cam(
            img=row["img"],
            row=i,
            target=row["target"],
            kind=row["kind"],
            true=row["true"],
            predicted=row["predicted"],
            fold=row["fold"],
            all_zero=bool(row["all_zero"]),
            lifts={
                name: value for name in MASK_CATEGORIES if (value := _finite(row.get(lift_column(name)))) is not None
            },
        )
        for i, row in enumerate(pq.read_table(folder / "rows.parquet").to_pylist())
    ]
    with np.load(folder / "cams.npz", allow_pickle=False) as arrays:
        maps = arrays["cams"]
    lifts = [_made(Lift, row) for row in _table(folder / LIFT_FILE) if row["class_id"] == EVERY_CLASS]
    if not (folder / MEANS_FILE).is_file():
        return Cams(rows, maps, lifts=lifts)
    with np.load(folder / MEANS_FILE, allow_pickle=False) as arrays:
        return Cams(rows, maps, arrays["class_means"], (arrays["counts"] > 0).sum(0), lifts)


def lift_column(category: str) -> str:
    """Return the column of a category's lift, `lift_cell_phone`."""
    return f"lift_{category.replace(' ', '_')}"


def _runs(settings: Settings, variant: str) -> dict[str, dict[str, Any]]:
    paths = {fold: settings.models / variant / fold / "config.json" for fold in FOLDS}
    return {fold: _json(path) for fold, path in paths.items() if path.is_file()}


def _records(frame: "pd.DataFrame") -> list[dict[str, Any]]:
    """Return a table as dicts, with None for every value that is null or NaN."""
    return [{str(k): _finite(v) for k, v in row.items()} for row in frame.to_dict("records")]


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _json(path: Path) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DistractedError(f"cannot read {path}: {error}. Delete it, then run `distracted run` again.") from error
    return document


def _table(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a file of the evaluation, none where an older evaluation did not write it."""
    if not path.is_file():
        return []
    return [{key: _finite(value) for key, value in row.items()} for row in pq.read_table(path).to_pylist()]


T = TypeVar("T", ClassScore, VariantScore, Bin, Move, Lift)


def _made(kind: type[T], row: dict[str, Any]) -> T:
    """Return the known fields of a row as an object; undefined ones keep their default, None."""
    values: dict[str, Any] = {f.name: row[f.name] for f in fields(kind) if row.get(f.name) is not None}
    return kind(**values)
