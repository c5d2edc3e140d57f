"""What a cache of masks is known by: the segmenter and the categories, and State Farm's as before there were others."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from distracted_pipeline.dataset import STATE_FARM, Category
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.masks.cache import open_cache
from distracted_pipeline.masks.fill import fill_subject
from distracted_pipeline.masks.identity import segmenter_fingerprint
from distracted_pipeline.settings import Settings
from distracted_pipeline_tests.masks.conftest import QUIET, Bright, bright_cache

OTHERS = replace(STATE_FARM, categories=(Category("driver", (0, 0, 0), ("person",)), Category("car", (255, 0, 0))))


def test_state_farms_caches_keep_the_fingerprint_that_they_had_before_there_were_other_categories(
    tiny_mask2former: Path, tmp_path: Path
) -> None:
    def sha256(name: str) -> str:
        return hashlib.sha256((tiny_mask2former / name).read_bytes()).hexdigest()

    before = {
        "stage": "1",
        "thresholds": {"score": 0.5, "mask": 0.5, "overlap": 0.8},
        "weights": {"model.safetensors": sha256("model.safetensors")},
        "configuration": [sha256("config.json"), sha256("preprocessor_config.json")],
    }
    expected = hashlib.sha256(json.dumps(before, sort_keys=True).encode()).hexdigest()[:12]
    assert segmenter_fingerprint(Settings(data=tmp_path, segmenter=str(tiny_mask2former))) == expected


@pytest.mark.parametrize(
    "facts", [{"do_pad": True}, {"pad_size": {"height": 96, "width": 96}}, {"do_center_crop": True}]
)
def test_masks_of_models_that_pad_or_crop_are_others_than_those_of_earlier_versions(
    tiny_mask2former: Path, tmp_path: Path, facts: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(tiny_mask2former, tmp_path / "model")
    settings = Settings(data=tmp_path, segmenter=str(folder))
    prints = []
    for more in ({}, facts):
        (folder / "preprocessor_config.json").write_text(
            json.dumps(json.loads((tiny_mask2former / "preprocessor_config.json").read_text()) | more)
        )
        monkeypatch.undo()
        prints.append([segmenter_fingerprint(settings)])
        monkeypatch.setattr("distracted_pipeline.masks.identity.GEOMETRY", "1")
        prints[-1].append(segmenter_fingerprint(settings))
    assert prints[0][0] == prints[0][1]
    assert prints[1][0] != prints[1][1]


@pytest.mark.parametrize(
    "categories",
    [
        STATE_FARM.categories[::-1],
        STATE_FARM.categories[:5],
        (replace(STATE_FARM.categories[0], labels=("human",)), *STATE_FARM.categories[1:]),
        (replace(STATE_FARM.categories[0], name="driver"), *STATE_FARM.categories[1:]),
    ],
)
def test_other_categories_never_share_a_cache(
    tiny_mask2former: Path, tmp_path: Path, categories: tuple[Category, ...]
) -> None:
    (tmp_path / "maps").mkdir()
    for segmenter in (str(tiny_mask2former), "folder:maps"):
        settings = Settings(data=tmp_path, segmenter=segmenter)
        other = replace(settings, dataset=replace(STATE_FARM, categories=categories))
        assert segmenter_fingerprint(other) != segmenter_fingerprint(settings)


def test_colours_change_no_mask(tmp_path: Path) -> None:
    (tmp_path / "maps").mkdir()
    settings = Settings(data=tmp_path, segmenter="folder:maps")
    grey = tuple(replace(category, colour=(9, 9, 9)) for category in OTHERS.categories)
    assert segmenter_fingerprint(replace(settings, dataset=replace(OTHERS, categories=grey))) == segmenter_fingerprint(
        replace(settings, dataset=OTHERS)
    )


def test_about_lists_the_categories_also_where_the_fingerprint_leaves_them_out(ingested: Settings) -> None:
    fill_subject(ingested, "test-000", QUIET)
    assert open_cache(ingested).about()["categories"] == [
        ["person", "human", "people"], ["bottle"], ["cell phone", "cellphone", "mobile phone"], ["cup", "mug"],
        ["car", "automobile"], ["chair"],
    ]  # fmt: skip


def test_about_of_an_earlier_version_is_kept_and_completed(ingested: Settings) -> None:
    fill_subject(ingested, "test-000", QUIET)
    cache = open_cache(ingested)
    about = cache.about()
    (cache.root / "about.json").write_text(json.dumps({"segmenter": "elsewhere", "precision": "fp32"}))
    fill_subject(ingested, "p002", QUIET)
    assert cache.about() == about | {"segmenter": "elsewhere"}


def test_a_segmenter_whose_fingerprint_ignores_the_categories_is_refused(frames: Settings) -> None:
    fill_subject(frames, "p002", QUIET, segmenter=Bright())
    other = replace(frames, dataset=OTHERS)
    with pytest.raises(DistractedError, match=r"masks of other categories \(person, bottle.*another fingerprint"):
        fill_subject(other, "p012", QUIET, segmenter=Bright())
    assert bright_cache(frames).subjects_done() == ["p002"]


def test_masks_of_other_categories_are_as_wide_as_these(frames: Settings) -> None:
    folder = frames.data / "maps"
    folder.mkdir()
    for i in range(163):
        for stem in (f"img_{i + 1}", f"img_{900_000 + i}"):
            Image.fromarray(np.full((48, 64), i % 3, np.uint8)).save(folder / f"{stem}.png")
    settings = replace(frames, segmenter="folder:maps", dataset=OTHERS)
    assert fill_subject(settings, "p002", QUIET).done == 20
    cache = open_cache(settings)
    assert cache.areas(["img_1.jpg", "img_3.jpg"]).tolist() == [[48 * 64, 0, 0], [0, 0, 48 * 64]]
    assert cache.fractions(["img_2.jpg"], (6, 8)).shape == (1, 3, 6, 8)
    assert fill_subject(replace(settings, segmenter="folder:maps"), "p002", QUIET).reused == 20
