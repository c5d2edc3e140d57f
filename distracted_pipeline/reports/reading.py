"""Everything a report shows, read from the data root into plain objects; nothing is computed twice.

Statistics come from the evaluation's files as they are. What is derived here are only look-ups that a
page needs (which image, which probabilities). How it looks belongs to `pages`, `figures` and `pictures`.
"""

import json
import math
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pyarrow.parquet as pq

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.evaluation.comparison import sentence
from distracted_pipeline.evaluation.predictions import read_predictions
from distracted_pipeline.evaluation.tables import ClassAccuracy, read_class_accuracy
from distracted_pipeline.images.manifest import labelled, read_manifest
from distracted_pipeline.settings import Settings
from distracted_pipeline.variants.config import VariantConfig, load_catalogue
from distracted_pipeline.vocabulary import CLASS_IDS, FOLDS, MASK_CATEGORIES

if TYPE_CHECKING:
    import pandas as pd

SCOPES = {
    "oof": "out-of-fold predictions over all drivers",
    "test": "the seed split's test drivers",
    "dev": "the seed split's dev drivers",
}
"""The three sets of predictions that the evaluation scores, the most telling first."""


@dataclass(frozen=True)
class ClassScore:
    """One variant on one class; None where undefined (n = 0, or no test)."""

    variant: str
    class_id: int
    n: int
    verdict: str
    recall: float | None = None
    recall_low: float | None = None
    recall_high: float | None = None
    precision: float | None = None
    f1: float | None = None
    delta_recall: float | None = None
    delta_low: float | None = None
    delta_high: float | None = None
    p: float | None = None
    p_holm: float | None = None


@dataclass(frozen=True)
class VariantScore:
    """One variant over all classes."""

    variant: str
    n: int
    drivers: int
    accuracy: float | None = None
    macro_recall: float | None = None
    macro_delta: float | None = None
    macro_p: float | None = None
    worst_class: int | None = None
    worst_class_recall: float | None = None
    worst_driver: str | None = None
    worst_driver_recall: float | None = None
    log_loss: float | None = None
    calibration_error: float | None = None
    trainable_parameters: int | None = None
    total_parameters: int | None = None
    train_seconds: float | None = None
    folds_present: list[str] = field(default_factory=list)
    folds_missing: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Scope:
    """All scores on one set of predictions.

    Attributes:
        name: `oof`, `test` or `dev`.
        classes: By variant, ten in class order.
        variants: By variant; only those with predictions.
        confusion: By variant, int64 [driver, true, predicted].
    """

    name: str
    classes: dict[str, list[ClassScore]]
    variants: dict[str, VariantScore]
    confusion: dict[str, np.ndarray]

    @property
    def words(self) -> str:
        """What the predictions of this scope are."""
        return SCOPES[self.name]

    def verdict(self, variant: str) -> str:
        """Return what a variant changed: `2 of 10 classes improved, 1 worsened, 7 undetermined`."""
        return sentence([score.verdict for score in self.classes[variant]])


@dataclass(frozen=True)
class Cam:
    """One Grad-CAM: `row` is its place in the variant's array."""

    img: str
    row: int
    target: str
    kind: str
    true: int
    predicted: int
    fold: str
    all_zero: bool
    lifts: dict[str, float]


@dataclass(frozen=True)
class Cams:
    """Grad-CAMs of one variant; `maps` is uint8 [N, h, w]."""

    rows: list[Cam]
    maps: np.ndarray


@dataclass(frozen=True)
class Image:
    """What the manifest says of a labelled image."""

    img: str
    subject: str
    true: int
    path: str
    split: str


@dataclass(frozen=True)
class Predictions:
    """Probabilities of the main scope, float32 [variant, image, 10], NaN where a variant has none."""

    variants: list[str]
    probabilities: np.ndarray

    def predicted(self) -> np.ndarray:
        """Return int [variant, image]: the likeliest class, -1 where there is no prediction."""
        filled = np.nan_to_num(self.probabilities, nan=-1.0)
        return np.where(np.isfinite(self.probabilities).all(-1), filled.argmax(-1), -1)


@dataclass(frozen=True)
class Findings:
    """All that one report tells.

    Attributes:
        settings: The data root and models in force.
        catalogue: The variants that should be there.
        variants: Those with results in any scope, in catalogue order, then others.
        scopes: By name, the most telling first; only those with predictions.
        drivers: Second axis of the tensors.
        images: Labelled images by name, in manifest order.
        predictions: Of the main scope.
        cams: By variant; variants without Grad-CAMs are not in it.
        runs: What training wrote, by variant and fold.
        rows: Images in the manifest, labelled or not, usable or not.
        unlabelled: Usable images without a label.
        unusable: Images that were found damaged.
        missing: Sentences that say what is not in the evaluation, and why.
    """

    settings: Settings
    catalogue: dict[str, VariantConfig]
    variants: list[str]
    scopes: dict[str, Scope]
    drivers: tuple[str, ...]
    images: dict[str, Image]
    predictions: Predictions
    cams: dict[str, Cams]
    runs: dict[str, dict[str, dict[str, Any]]]
    rows: int
    unlabelled: int
    unusable: int
    missing: list[str]

    @property
    def main(self) -> Scope:
        """The scope that the report is about: out-of-fold where there is any, else test, else dev."""
        return next(iter(self.scopes.values()))

    @property
    def baseline(self) -> str:
        """The variant that every other one is compared with."""
        return self.settings.baseline

    @property
    def absent(self) -> list[str]:
        """Variants of the catalogue without any result."""
        return [name for name in self.catalogue if name not in self.variants]

    def title(self, variant: str) -> str:
        """Return the label of a variant, or its name where the catalogue has none."""
        return self.catalogue[variant].title if variant in self.catalogue else variant


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
    scopes = {name: scope for name in SCOPES if (scope := _scope(result, name)).variants}
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


def _scope(result: ClassAccuracy, name: str) -> Scope:
    rows = _records(result.variants[result.variants["scope"] == name])
    classes: dict[str, list[ClassScore]] = {}
    for row in _records(result.classes[result.classes["scope"] == name]):
        classes.setdefault(row["variant"], []).append(_made(ClassScore, row))
    return Scope(
        name,
        {variant: sorted(scores, key=lambda score: score.class_id) for variant, scores in classes.items()},
        {row["variant"]: _made(VariantScore, row) for row in rows},
        {row["variant"]: result.confusion.of(row["variant"], name) for row in rows},
    )


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
        return Cams(rows, arrays["cams"])


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


T = TypeVar("T", ClassScore, VariantScore)


def _made(kind: type[T], row: dict[str, Any]) -> T:
    """Return the known fields of a row as an object; undefined ones keep their default, None."""
    values: dict[str, Any] = {f.name: row[f.name] for f in fields(kind) if row.get(f.name) is not None}
    return kind(**values)
