"""Masks against the drawing, and that the bars can say no."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from distracted_pipeline.demo.dataset import LABEL_MAPS
from distracted_pipeline.demo.mask_quality import cached_iou, mean_iou, reaches_bars
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.images.ingest import ingest
from distracted_pipeline.masks.fill import fill_missing
from distracted_pipeline.options import RunOptions
from distracted_pipeline.settings import Settings
from distracted_pipeline_tests.conftest import DRIVERS, write_kaggle_tree

GOOD = {"person": 0.95, "bottle": 0.8, "cell phone": 0.7, "cup": 0.7, "car": 0.6, "chair": 0.95}


def quiet(line: str) -> None:
    """Log nothing."""


@pytest.fixture
def root(tmp_path: Path) -> Settings:
    """Two drivers whose cached masks are exactly the label maps beside their frames."""
    data = write_kaggle_tree(tmp_path / "data", DRIVERS[:2], frames=1, test_frames=0)
    (data / LABEL_MAPS).mkdir()
    for path in data.glob("imgs/train/*/*.jpg"):
        ids = np.zeros((48, 64), np.uint8)
        ids[:24], ids[30:32, 30:33] = 1, 3
        Image.fromarray(ids).save(data / LABEL_MAPS / f"{path.stem}.png")
    settings = Settings(data=data, segmenter=f"folder:{data / LABEL_MAPS}")
    ingest(settings, log=quiet)
    fill_missing(settings, options=RunOptions(log=quiet))
    return settings


def test_the_mean_is_over_the_categories_that_are_there() -> None:
    assert mean_iou({"person": 0.5, "chair": 1.0}) == 0.75


@pytest.mark.parametrize(
    ("worse", "good"),
    [({}, True), ({"cell phone": 0.59}, False), ({"person": 0.89}, False), ({"car": 0.1, "cup": 0.6}, False)],
)
def test_every_bar_counts(worse: dict[str, float], good: bool) -> None:
    assert reaches_bars(GOOD | worse) is good


def test_masks_of_the_cache_are_compared_with_what_was_drawn(root: Settings) -> None:
    assert cached_iou(root) == {"person": 1.0, "cell phone": 1.0}
    for path in (root.data / LABEL_MAPS).glob("*.png"):  # the drawing changes, the cache does not
        Image.fromarray(np.full((48, 64), 1, np.uint8)).save(path)
    with pytest.raises(DistractedError, match="no masks"):
        cached_iou(root)  # other label maps, another fingerprint


def test_without_label_maps_the_next_command_is_named(settings: Settings) -> None:
    with pytest.raises(DistractedError, match=r"label_maps.*distracted demo"):
        cached_iou(settings)
