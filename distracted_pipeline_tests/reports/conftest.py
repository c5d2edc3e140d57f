"""A data root that has been evaluated: small frames, given masks, drawn-up predictions and Grad-CAMs."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from distracted_pipeline.evaluation.predictions import SCHEMA as PREDICTIONS
from distracted_pipeline.evaluation.predictions import write_predictions
from distracted_pipeline.evaluation.tables import class_accuracy
from distracted_pipeline.explanation import explain
from distracted_pipeline.explanation.means import CamMeans
from distracted_pipeline.explanation.selection import choose
from distracted_pipeline.images.ingest import ingest
from distracted_pipeline.images.manifest import labelled, read_manifest
from distracted_pipeline.masks.fill import fill_missing
from distracted_pipeline.reports.build import ReportResult, build_report
from distracted_pipeline.settings import Settings
from distracted_pipeline.variants.config import load_catalogue
from distracted_pipeline.vocabulary import CLASS_IDS, CROSS_FOLDS, SEED_FOLD
from distracted_pipeline_tests.conftest import DRIVERS, write_kaggle_tree

SHORT_CATALOGUE = "".join(
    f"{name}: null\n"
    for name in ("linear_probe", "adapter_serial", "adapter_parallel", "masks_fused_checkpoint", "lora", "batch_norm")
)
"""Leaves the baseline, fine-tuning, and the two with masks."""


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
    fill_missing(settings, settings.subjects(), log=quiet)


def write_fold(settings: Settings, variant: str, fold: str, skill: float, absent: Sequence[int] = ()) -> None:
    """Write predictions that are right with probability `skill`, a little more for the classes c1 to c4."""
    images = labelled(read_manifest(settings)).to_pylist()
    held_out = [
        row for row in images if (row["split"] in ("dev", "test") if fold == SEED_FOLD else row["fold"] == int(fold))
    ]
    columns: dict[str, list[object]] = {name: [] for name in PREDICTIONS.names}
    for row in held_out:
        rng = np.random.default_rng([*row["img"].encode(), *variant.encode()])
        true = CLASS_IDS.index(row["classname"])
        logits = rng.normal(0, 1, 10)
        if rng.random() < skill + 0.1 * (true in (1, 2, 3, 4)):
            logits[true] += 4
        p = np.exp(logits) / np.exp(logits).sum()
        for name, value in zip(PREDICTIONS.names, (row["img"], row["subject"], true, *p.tolist()), strict=True):
            columns[name].append(value)
    write_predictions(settings, variant, fold, pa.table(columns, schema=PREDICTIONS))


def write_training(settings: Settings, variant: str, fold: str) -> None:
    """Write what training leaves behind, but the weights."""
    folder = settings.models / variant / fold
    folder.mkdir(parents=True, exist_ok=True)
    meta = {
        "trainable_parameters": 15_370,
        "total_parameters": 10_711_602,
        "seconds": 83.0,
        "history": [
            {"epoch": 1, "train_loss": 2.2, "validation_loss": 2.3, "validation_macro_recall": 0.2},
            {"epoch": 2, "train_loss": 1.1, "validation_loss": 1.4, "validation_macro_recall": 0.5},
        ],
        "best_epoch": 2,
        "mlflow_run_id": f"run{fold}of{variant}",
        "dagster_run_id": f"<dagster>/{fold}",
    }
    (folder / "config.json").write_text(json.dumps({"variant": variant, **meta}))


def write_cams(settings: Settings, variant: str, per_class: int = 1) -> None:
    """Write Grad-CAMs: for each class one right image and one confused one, the first of them all zero."""
    from distracted_pipeline.evaluation.predictions import read_predictions

    parts = read_predictions(settings, [variant]).of(variant, "oof")
    rows, cams = [], []
    means = CamMeans(sorted({subject for part in parts for subject in part.subject.tolist()}), (7, 7))
    for i, row, kind in choose(parts, per_class):
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
                {
                    "img": str(part.img[row]),
                    "subject": str(part.subject[row]),
                    "true": int(part.true[row]),
                    "predicted": int(part.predicted[row]),
                    "fold": part.fold,
                    "target": target,
                    "kind": kind,
                    "all_zero": not cam.any(),
                    "lift_person": 1.5,
                    "lift_cell_phone": 2.25 if part.true[row] in (1, 2, 3, 4) else None,
                }
            )
    folder = settings.evaluation / "gradcam" / variant
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=explain.SCHEMA), folder / "rows.parquet")
    np.savez_compressed(folder / "cams.npz", cams=np.stack(cams))
    means.write(folder, "the images that are shown")


def evaluate(settings: Settings, variants: Sequence[str], *, cams: bool = True) -> None:
    """Predict, score and explain the variants, each a little better than the one before."""
    for i, variant in enumerate(variants):
        for fold in (SEED_FOLD, *CROSS_FOLDS):
            write_fold(settings, variant, fold, skill=0.3 + 0.07 * i)
            write_training(settings, variant, fold)
    class_accuracy(settings, log=quiet)
    for variant in variants if cams else ():
        write_cams(settings, variant)


def prepared(root: Path, **settings: object) -> Settings:
    """Return settings over an ingested data root with given masks."""
    made = Settings(data=root, segmenter=f"folder:{root / 'label_maps'}", **settings)  # type: ignore[arg-type]
    ingest(made, log=quiet)
    write_masks(made)
    return made


@pytest.fixture(scope="session")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """All variants of a short catalogue but the last, with masks and Grad-CAMs; synthetic. Not to be changed."""
    root = write_kaggle_tree(tmp_path_factory.mktemp("evaluated") / "data", DRIVERS, frames=1)
    (root / "variants.yaml").write_text(SHORT_CATALOGUE, encoding="utf-8")
    settings = prepared(
        root,
        synthetic=True,
        variants_file=root / "variants.yaml",
        notes=("a note with <angle> brackets & an ampersand",),
    )
    evaluate(settings, list(load_catalogue(settings))[:-1])
    return settings


@pytest.fixture(scope="session")
def built(evaluated: Settings) -> ReportResult:
    """The report on `evaluated`."""
    return build_report(evaluated, log=quiet)


@pytest.fixture
def small(tmp_path: Path) -> Settings:
    """Six drivers, masks given, nothing predicted; free to be changed."""
    return prepared(write_kaggle_tree(tmp_path / "data", DRIVERS[:6], frames=1, test_frames=0))
