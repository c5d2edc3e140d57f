"""A data root with a manifest and predictions, but no pixels and no networks."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from distracted_pipeline.dataset import STATE_FARM, Dataset
from distracted_pipeline.evaluation.prediction_table import REPLICATE, probability_columns
from distracted_pipeline.evaluation.predictions import write_predictions
from distracted_pipeline.images.manifest import SCHEMA, labelled, read_manifest
from distracted_pipeline.scopes import CROSS_FOLDS, FOLDS, ORIGINAL_FOLD
from distracted_pipeline.settings import Settings
from distracted_pipeline.variants.config import load_catalogue

DRIVERS = tuple(f"p{i:03d}" for i in range(12))


def make_root(
    root: Path,
    drivers: Sequence[str] = DRIVERS,
    frames: int = 3,
    classes: Sequence[int] = (),
    dataset: Dataset = STATE_FARM,
) -> Settings:
    """Write a manifest of `frames` images per driver and class; drivers 0, 5, 10 are dev and 1, 6, 11 are test.

    The catalogue has two variants: `base`, the baseline, and `other`.
    """
    root.mkdir(parents=True, exist_ok=True)
    rows = [
        {
            "img": f"{driver}_c{c}_{f}.jpg",
            "subject": driver,
            "classname": dataset.class_ids[c],
            "split": {0: "dev", 1: "test"}.get(d % 5, "train"),
            "fold": d % len(CROSS_FOLDS),
            "path": f"imgs/train/{dataset.class_ids[c]}/{driver}_c{c}_{f}.jpg",
            "bytes": 1,
            "width": 64,
            "height": 48,
            "sha256": f"{driver}{c}{f}",
            "status": "ok",
        }
        for d, driver in enumerate(drivers)
        for c in classes or range(len(dataset.class_ids))
        for f in range(frames)
    ]
    catalogue = root / "variants.yaml"
    catalogue.write_text(
        "\n".join(f"{name}: null" for name in load_catalogue(Settings(data=root)))
        + "\nbase: {kind: top_only}\nother: {kind: masks_only}\n"
    )
    settings = Settings(data=root, variants_file=catalogue, baseline="base", dataset=dataset)
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), settings.manifest)
    return settings


def held_out(settings: Settings, fold: str) -> pa.Table:
    """Return the images that a fold predicts."""
    images = labelled(read_manifest(settings))
    rows = images.to_pylist()
    keep = [row["split"] in ("dev", "test") if fold == ORIGINAL_FOLD else row["fold"] == int(fold) for row in rows]
    return images.filter(pa.array(keep))


def table(
    images: pa.Table, predicted: Sequence[int], sure: float = 0.91, class_ids: Sequence[str] = STATE_FARM.class_ids
) -> pa.Table:
    """Return predictions of `images` by one training that say `predicted`, each with probability `sure`."""
    others = len(class_ids) - 1
    probabilities = np.full((images.num_rows, len(class_ids)), (1 - sure) / others, np.float32)
    probabilities[np.arange(images.num_rows), np.asarray(predicted)] = sure
    true = right(images, class_ids).astype(np.int8)
    columns = {name: probabilities[:, c] for c, name in enumerate(probability_columns(class_ids))}
    return pa.table({"img": images["img"], "subject": images["subject"], "true": true, **columns})


def right(images: pa.Table, class_ids: Sequence[str] = STATE_FARM.class_ids) -> np.ndarray:
    """Return the true classes, int [N]."""
    return np.array([class_ids.index(name) for name in images["classname"].to_pylist()])


def trainings(each: Sequence[pa.Table]) -> pa.Table:
    """Return the predictions of several trainings as one table."""
    return pa.concat_tables(
        [one.append_column(REPLICATE, pa.array(np.full(one.num_rows, r, np.int8))) for r, one in enumerate(each)]
    )


def predict(
    settings: Settings,
    variant: str,
    folds: Sequence[str] = FOLDS,
    wrong: dict[int, int] | None = None,
    drivers: Sequence[str] = (),
    replicates: int = 3,
) -> None:
    """Write predictions that are right but for `wrong` (true class -> predicted class), only of `drivers` if given.

    All trainings answer alike.
    """
    class_ids = settings.dataset.class_ids
    for fold in folds:
        images = held_out(settings, fold)
        true_classes = right(images, class_ids)
        predicted = true_classes.copy()
        chosen = [not drivers or subject in drivers for subject in images["subject"].to_pylist()]
        for true, said in (wrong or {}).items():
            predicted[(true_classes == true) & chosen] = said
        one = table(images, predicted, class_ids=class_ids)
        write_predictions(settings, variant, fold, trainings([one] * replicates))


def write_model(settings: Settings, variant: str, fold: str, fingerprint: str = "made", replicates: int = 3) -> None:
    """Write what checkpoints say of themselves; each took 1.5 s."""
    for replicate in range(replicates):
        path = settings.models / variant / fold / str(replicate) / "config.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        meta = {"fingerprint": f"{fingerprint}{replicate}", "trainable_parameters": 10, "total_parameters": 99}
        path.write_text(json.dumps({**meta, "seconds": 1.5}))
