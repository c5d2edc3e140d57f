"""A small data root that is ingested and has masks: what training starts from."""

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from distracted_pipeline.images.ingest import ingest
from distracted_pipeline.images.manifest import labelled, read_manifest
from distracted_pipeline.settings import Settings
from distracted_pipeline_tests.conftest import write_kaggle_tree
from distracted_pipeline_tests.once import copy_once

CATALOGUE = """
linear_probe: {epochs: 3}
top_only: {epochs: 2, batch_size: 32, top_lr: 1.0}
fine_tune: {epochs: 1}
adapter_serial: {epochs: 2, batch_size: 32, top_lr: 1.0}
adapter_parallel: null
masks_only: {epochs: 2}
masks_fused: {epochs: 1}
masks_fused_checkpoint: {epochs: 1}
lora: {epochs: 1}
batch_norm: {epochs: 1}
"""


@pytest.fixture(scope="session")
def ingested(tmp_path_factory: pytest.TempPathFactory, efficientnet: Path) -> Settings:
    """Eight drivers, 160 labelled and 3 test frames, a short catalogue, two trainings each; no masks, no taps yet."""
    return settings_over(copy_once(tmp_path_factory, "ingested", partial(_ingest, efficientnet)), efficientnet)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory, efficientnet: Path) -> Settings:
    """As `ingested`, with exact masks and an MLflow store.

    Shared by the session: tests that change the data take `own_root`.
    """
    return settings_over(copy_once(tmp_path_factory, "prepared", partial(prepare, efficientnet)), efficientnet)


def settings_over(root: Path, backbone: Path) -> Settings:
    """Settings over such a data root."""
    return Settings(
        data=root,
        backbone=str(backbone),
        segmenter=f"folder:{root / 'label_maps'}",
        variants_file=root / "variants.yaml",
        replicates=2,
    )


def _ingest(backbone: Path, root: Path) -> Settings:
    settings = settings_over(write_kaggle_tree(root), backbone)
    (root / "variants.yaml").write_text(CATALOGUE)
    ingest(settings, log=lambda line: None)
    return settings


def prepare(backbone: Path, root: Path) -> Settings:
    """Make what `prepared` gives, in `root`."""
    from distracted_pipeline.masks.fill import fill_missing
    from distracted_pipeline.options import RunOptions
    from distracted_pipeline.training.tracking import open_client

    settings = _ingest(backbone, root)
    _write_label_maps(settings, root / "label_maps")
    fill_missing(settings, settings.subjects(), RunOptions(log=lambda line: None))
    open_client(settings)
    return settings


@pytest.fixture
def own_root(prepared: Settings, tmp_path: Path) -> Settings:
    """A copy of `prepared` that a test may change; nothing is trained in it."""
    root = tmp_path / "data"
    shutil.copytree(prepared.data, root, ignore=shutil.ignore_patterns("models", "predictions", "mlartifacts"))
    return replace(prepared, data=root, variants_file=root / "variants.yaml")


def images(settings: Settings) -> pa.Table:
    """The labelled images."""
    return labelled(read_manifest(settings))


def _write_label_maps(settings: Settings, folder: Path) -> None:
    """A person everywhere, and an object whose category and place tell the class."""
    folder.mkdir()
    table = read_manifest(settings)
    for img, classname in zip(table["img"].to_pylist(), table["classname"].to_pylist(), strict=True):
        number = int(classname[1:]) if classname else 0
        ids = np.ones((48, 64), np.uint8)
        ids[10 + 20 * (number // 5) :, 5 * (number % 5) :][:8, :8] = 2 + number % 5
        Image.fromarray(ids).save(folder / f"{Path(img).stem}.png")
