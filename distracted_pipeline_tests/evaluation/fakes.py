"""A data root with a manifest and predictions, but no pixels and no networks."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from distracted_pipeline.evaluation.predictions import PROBABILITIES, write_predictions
from distracted_pipeline.images.manifest import SCHEMA, labelled, read_manifest
from distracted_pipeline.settings import Settings
from distracted_pipeline.variants.config import load_catalogue
from distracted_pipeline.vocabulary import CLASS_IDS, CROSS_FOLDS, SEED_FOLD

DRIVERS = tuple(f"p{i:03d}" for i in range(12))


def make_root(
    root: Path, drivers: Sequence[str] = DRIVERS, frames: int = 3, classes: Sequence[int] = range(10)
) -> Settings:
    """Write a manifest of `frames` images per driver and class; drivers 0, 5, 10 are dev and 1, 6, 11 are test.

    The catalogue has two variants: `base`, the baseline, and `other`.
    """
    root.mkdir(parents=True, exist_ok=True)
    rows = [
        {
            "img": f"{driver}_c{c}_{f}.jpg",
            "subject": driver,
            "classname": CLASS_IDS[c],
            "split": {0: "dev", 1: "test"}.get(d % 5, "train"),
            "fold": d % len(CROSS_FOLDS),
            "path": f"imgs/train/{CLASS_IDS[c]}/{driver}_c{c}_{f}.jpg",
            "bytes": 1,
            "width": 64,
            "height": 48,
            "sha256": f"{driver}{c}{f}",
            "status": "ok",
        }
        for d, driver in enumerate(drivers)
        for c in classes
        for f in range(frames)
    ]
    catalogue = root / "variants.yaml"
    catalogue.write_text(
        "\n".join(f"{name}: null" for name in load_catalogue(Settings(data=root)))
        + "\nbase: {kind: top_only}\nother: {kind: masks_only}\n"
    )
    settings = Settings(data=root, variants_file=catalogue, baseline="base")
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), settings.manifest)
    return settings


def held_out(settings: Settings, fold: str) -> pa.Table:
    """Return the images that a fold predicts."""
    images = labelled(read_manifest(settings))
    rows = images.to_pylist()
    keep = [row["split"] in ("dev", "test") if fold == SEED_FOLD else row["fold"] == int(fold) for row in rows]
    return images.filter(pa.array(keep))


def table(images: pa.Table, predicted: Sequence[int], sure: float = 0.91) -> pa.Table:
    """Return predictions of `images` that say `predicted`, each with probability `sure`."""
    probabilities = np.full((images.num_rows, 10), (1 - sure) / 9, np.float32)
    probabilities[np.arange(images.num_rows), np.asarray(predicted)] = sure
    true = np.array([CLASS_IDS.index(name) for name in images["classname"].to_pylist()], np.int8)
    columns = {name: probabilities[:, c] for c, name in enumerate(PROBABILITIES)}
    return pa.table({"img": images["img"], "subject": images["subject"], "true": true, **columns})


def right(images: pa.Table) -> np.ndarray:
    """Return the true classes, int [N]."""
    return np.array([CLASS_IDS.index(name) for name in images["classname"].to_pylist()])


def predict(
    settings: Settings,
    variant: str,
    folds: Sequence[str] = (*CROSS_FOLDS, SEED_FOLD),
    wrong: dict[int, int] | None = None,
    drivers: Sequence[str] = (),
) -> None:
    """Write predictions that are right but for `wrong` (true class -> predicted class), only of `drivers` if given."""
    for fold in folds:
        images = held_out(settings, fold)
        predicted = right(images)
        chosen = [not drivers or subject in drivers for subject in images["subject"].to_pylist()]
        for true, said in (wrong or {}).items():
            predicted[(right(images) == true) & chosen] = said
        write_predictions(settings, variant, fold, table(images, predicted))
