"""Real frames and a real Pascal VOC model, where a machine has them."""

import csv
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from distracted_pipeline.images.ingest import ingest
from distracted_pipeline.images.manifest import read_manifest
from distracted_pipeline.masks.cache import open_cache
from distracted_pipeline.masks.fill import fill_missing
from distracted_pipeline.masks.summary import checks, summarise
from distracted_pipeline.options import RunOptions
from distracted_pipeline.settings import Settings

FRAMES = os.environ.get("DISTRACTED_TEST_FRAMES", "")
WEIGHTS = os.environ.get("DISTRACTED_TEST_WEIGHTS", "")


@pytest.mark.real
@pytest.mark.skipif(not (FRAMES and WEIGHTS), reason="DISTRACTED_TEST_FRAMES and DISTRACTED_TEST_WEIGHTS are not set")
def test_a_real_semantic_model_finds_the_driver_in_real_frames(tmp_path: Path) -> None:
    with (Path(FRAMES) / "driver_imgs_list.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))[::250]
    for row in rows:
        target = tmp_path / "imgs" / "train" / row["classname"] / row["img"]
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(Path(FRAMES) / "imgs" / "train" / row["classname"] / row["img"], target)
    with (tmp_path / "driver_imgs_list.csv").open("w", newline="") as handle:
        writer = csv.DictWriter(handle, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    settings = Settings(data=tmp_path, segmenter=str(Path(WEIGHTS) / "deeplabv3_mobilenet_v2_voc"))
    ingest(settings, log=lambda line: None)
    results = fill_missing(settings, options=RunOptions(log=lambda line: None))
    cache = open_cache(settings)
    summary = summarise(cache, read_manifest(settings), list(results), settings.dataset.categories)
    found = {check.name: check for check in checks(summary)}
    assert found["complete"].passed
    assert found["expected_in_most_frames"].passed
    assert set(found["every_category_seen"].facts["never_seen"]) >= {"cup", "cell phone"}  # VOC has neither
    shares = summary.pixels / summary.pixels.sum()
    assert 0.1 < shares[1] < 0.8
    centre = np.mean([cache.mask(row["img"])[200:400, 150:400] == 1 for row in rows])
    assert centre > shares[1]  # the driver sits in the middle
