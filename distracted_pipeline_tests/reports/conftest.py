"""A data root that has been evaluated: small frames, given masks, drawn-up predictions and Grad-CAMs."""

import json
import pickle
import shutil
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import yaml
from PIL import Image

from distracted_pipeline.evaluation.prediction_table import predictions_schema
from distracted_pipeline.evaluation.predictions import read_predictions, write_predictions
from distracted_pipeline.evaluation.tables import class_accuracy
from distracted_pipeline.evaluation.tables_io import to_table, write_table
from distracted_pipeline.explanation.explain import CAMS_FILE, ROWS_FILE, gradcam_folder
from distracted_pipeline.explanation.flips import flips_of
from distracted_pipeline.explanation.means import CamMeans
from distracted_pipeline.explanation.selection import choose
from distracted_pipeline.explanation.tables import CamRow, lift_column
from distracted_pipeline.images.ingest import ingest
from distracted_pipeline.images.manifest import class_positions, labelled, read_manifest
from distracted_pipeline.masks.fill import fill_missing
from distracted_pipeline.options import RunOptions
from distracted_pipeline.reports.build import ReportResult, build_report
from distracted_pipeline.scopes import FOLDS, ORIGINAL_FOLD
from distracted_pipeline.settings import Settings
from distracted_pipeline.variants.config import load_catalogue
from distracted_pipeline_tests.conftest import DRIVERS, write_kaggle_tree
from distracted_pipeline_tests.once import copy_once, made_once

SHORT = ("top_only", "fine_tune", "masks_only", "masks_fused")
"""The baseline, fine-tuning, and the two with masks."""


TRAININGS = 2
"""Of each variant on each fold."""


def quiet(_: str) -> None:
    """Log nowhere."""


def write_masks(settings: Settings) -> None:
    """Give every labelled frame a mask: a person in the middle, a phone where the class has one."""
    folder = Path(settings.segmenter.removeprefix("folder:"))
    folder.mkdir(parents=True, exist_ok=True)
    for row in read_manifest(settings).to_pylist():
        ids = np.zeros((row["height"], row["width"]), np.uint8)
        ids[row["height"] // 4 :, row["width"] // 3 : 2 * row["width"] // 3] = 1
        if row["classname"] in ("c1", "c2", "c3", "c4"):
            ids[: row["height"] // 4, : row["width"] // 4] = 3
        Image.fromarray(ids).save(folder / f"{Path(row['img']).stem}.png")
    fill_missing(settings, settings.subjects(), RunOptions(log=quiet))


def write_fold(settings: Settings, variant: str, fold: str, skill: float) -> None:
    """Write predictions of several trainings, right with probability `skill`, in the classes 2 to 5 a little more."""
    images = labelled(read_manifest(settings))
    classes, schema = len(settings.dataset.class_ids), predictions_schema(settings.dataset.class_ids)
    columns: dict[str, list[object]] = {name: [] for name in schema.names}
    labels = class_positions(images, settings.dataset).tolist()
    for replicate, (row, true) in product(range(TRAININGS), list(zip(images.to_pylist(), labels, strict=True))):
        if not (row["split"] in ("dev", "test") if fold == ORIGINAL_FOLD else row["fold"] == int(fold)):
            continue
        rng = np.random.default_rng([*row["img"].encode(), *variant.encode(), replicate])
        logits = rng.normal(0, 1, classes)
        if rng.random() < skill + 0.1 * (true in (1, 2, 3, 4)):
            logits[true] += 4
        p = np.exp(logits) / np.exp(logits).sum()
        values = (row["img"], row["subject"], true, replicate, *p.tolist())
        for name, value in zip(schema.names, values, strict=True):
            columns[name].append(value)
    write_predictions(settings, variant, fold, pa.table(columns, schema=schema))


def write_training(settings: Settings, variant: str, fold: str, seconds: float = 83.0) -> None:
    """Write what the trainings of a fold leave behind, but the weights."""
    meta = {
        "trainable_parameters": 15_370,
        "total_parameters": 10_711_602,
        "seconds": seconds,
        "history": [
            {"epoch": 1, "train_loss": 2.2, "validation_loss": 2.3, "validation_macro_recall": 0.2},
            {"epoch": 2, "train_loss": 1.1, "validation_loss": 1.4, "validation_macro_recall": 0.5},
        ],
        "best_epoch": 2,
        "mlflow_run_id": f"run{fold}of{variant}",
        "dagster_run_id": f"<dagster>/{fold}",
    }
    for replicate in range(TRAININGS):
        folder = settings.models / variant / fold / str(replicate)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps({"variant": variant, "replicate": replicate, **meta}))


def write_cams(settings: Settings, variant: str, per_class: int = 1) -> None:
    """Write Grad-CAMs: for each class one right image and one confused one, and flips; the first of them all zero.

    Of `masks_fused` also those of the mask branch, on a grid of their own, with the shares of both branches.
    """
    dataset = settings.dataset
    predictions = read_predictions(settings)
    parts = predictions.of(variant, "oof")
    rows, cams = [], []
    drivers = sorted({subject for part in parts for subject in part.subject.tolist()})
    means = CamMeans(drivers, (7, 7), len(dataset.class_ids), dataset.category_names)
    lifts = [lift_column(category) for category in dataset.category_names]
    for i, row, kind in choose(parts, per_class, dataset.class_ids, flips_of(settings, predictions, variant)):
        part = parts[i]
        for target in ("predicted",) if kind == "correct" else ("predicted", "true"):
            rng = np.random.default_rng([i, row])
            cam = np.zeros((7, 7), np.uint8)
            if rows:
                y, x = rng.integers(1, 6, 2)
                cam[y - 1 : y + 2, x - 1 : x + 2] = 140
                cam[y, x] = 255
            cams.append(cam)
            if target == "true" or kind == "correct":
                means.add(str(part.subject[row]), int(part.true[row]), cam, np.ones((14, 14), np.uint8))
            rows.append(
                CamRow(
                    img=str(part.img[row]),
                    subject=str(part.subject[row]),
                    true=int(part.true[row]),
                    predicted=int(part.predicted[row]),
                    fold=part.fold,
                    target=target,
                    kind=kind,
                    all_zero=not cam.any(),
                    lifts={lifts[0]: 1.5, lifts[2]: 2.25 if part.true[row] in (1, 2, 3, 4) else None},
                )
            )
    folder = gradcam_folder(settings, variant)
    folder.mkdir(parents=True, exist_ok=True)
    branches: dict[str, np.ndarray] = {}
    shares: dict[str, str] = {}
    if variant == "masks_fused":
        branches = {"mask_cams": np.stack([np.kron(cam.T[:6, :4], np.ones((2, 2), np.uint8)) for cam in cams])}
        shares = {"image_share": "0.5743", "mask_share": "0.4257"}
    write_table(folder / ROWS_FILE, to_table(CamRow, rows, lifts), shares)
    np.savez_compressed(folder / CAMS_FILE, cams=np.stack(cams), **branches)  # type: ignore[arg-type]
    means.write(folder, "the images that are shown")


def evaluate(settings: Settings, variants: Sequence[str], *, cams: bool = True) -> None:
    """Predict, score and explain the variants, each a little better than the one before."""
    for i, variant in enumerate(variants):
        for fold in FOLDS:
            write_fold(settings, variant, fold, skill=0.3 + 0.07 * i)
            write_training(settings, variant, fold)
    class_accuracy(settings, log=quiet)
    for variant in variants if cams else ():
        write_cams(settings, variant)


def without_controls(data: Path, keep: Sequence[str] = ()) -> Path:
    """Write a catalogue of the shipped entries, all to be compared with the baseline; only those of `keep` if given."""
    shipped = load_catalogue(Settings(data=data))
    controls = {config.control for config in shipped.values()}
    kept = [name for name in keep or shipped if name not in controls]
    entries = {name: {"control": None} if name in kept else None for name in shipped}
    path = data / "variants.yaml"
    path.write_text(yaml.safe_dump(entries, sort_keys=False), encoding="utf-8")
    return path


def settings_over(root: Path, **settings: object) -> Settings:
    """Return settings over a data root whose masks are given."""
    return Settings(data=root, segmenter=f"folder:{root / 'label_maps'}", **settings)  # type: ignore[arg-type]


def prepared(root: Path, keep: Sequence[str] = (), **settings: object) -> Settings:
    """Return settings over an ingested data root with given masks; by default, a catalogue `without_controls`."""
    if "variants_file" not in settings:
        settings["variants_file"] = without_controls(root, keep)
    made = settings_over(root, **settings)
    ingest(made, log=quiet)
    write_masks(made)
    return made


@pytest.fixture(scope="session")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """All variants of a short catalogue but the last, with masks and Grad-CAMs; synthetic. Not to be changed."""
    return _over_evaluated(copy_once(tmp_path_factory, "evaluated", _prepare_evaluated))


@pytest.fixture(scope="session")
def built(evaluated: Settings) -> ReportResult:
    """The report on `evaluated`."""
    made: ReportResult = pickle.loads((evaluated.data / BUILT).read_bytes())
    path = evaluated.reports / made.report_id / made.path.name
    return replace(made, path=path, summary=path.with_name(made.summary.name))


BUILT = "built.pickle"


def _over_evaluated(root: Path) -> Settings:
    note = "a note with <angle> brackets & an ampersand"
    return settings_over(root, variants_file=root / "variants.yaml", synthetic=True, notes=(note,))


def _prepare_evaluated(root: Path) -> None:
    prepared(write_kaggle_tree(root, DRIVERS, frames=1), SHORT)
    settings = _over_evaluated(root)
    evaluate(settings, list(load_catalogue(settings))[:-1])
    (root / BUILT).write_bytes(pickle.dumps(build_report(settings, log=quiet)))


@pytest.fixture
def small(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Settings:
    """Six drivers, masks given, nothing predicted; free to be changed."""
    return _own(made_once(tmp_path_factory, "small", _prepare_small), tmp_path)


@pytest.fixture
def alone(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Settings:
    """`small` with the baseline evaluated, without Grad-CAMs; free to be changed."""
    return _own(made_once(tmp_path_factory, "alone", partial(_prepare_small, variants=["top_only"])), tmp_path)


@pytest.fixture
def pair(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Settings:
    """`small` with the baseline and another variant evaluated, without Grad-CAMs; free to be changed."""
    return _own(made_once(tmp_path_factory, "pair", partial(_prepare_small, variants=PAIR)), tmp_path)


PAIR = ("top_only", "fine_tune")


def _own(made: Path, folder: Path) -> Settings:
    root = shutil.copytree(made, folder / "data")
    return settings_over(root, variants_file=root / "variants.yaml")


def _prepare_small(root: Path, variants: Sequence[str] = ()) -> None:
    settings = prepared(write_kaggle_tree(root, DRIVERS[:6], frames=1, test_frames=0))
    if variants:
        evaluate(settings, variants, cams=False)
