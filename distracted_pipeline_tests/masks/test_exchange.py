import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.masks import exports, identity
from distracted_pipeline.masks.cache import open_cache
from distracted_pipeline.masks.exchange import collect_garbage, import_npz, import_panoptic
from distracted_pipeline.masks.exports import export_npz
from distracted_pipeline.masks.fill import fill_missing, fill_subject
from distracted_pipeline.masks.map_digests import maps_digest
from distracted_pipeline.settings import Settings
from distracted_pipeline_tests.masks.conftest import QUIET, Bright, bright_cache, quiet, save_tiny_mask2former


def test_exported_masks_come_back_the_same_under_a_name_of_their_own(ingested: Settings, tmp_path: Path) -> None:
    fill_missing(ingested, options=QUIET)
    lines: list[str] = []
    assert export_npz(ingested, tmp_path / "npz", log=quiet) == 33
    cache = open_cache(ingested)
    with np.load(tmp_path / "npz" / "img_1.jpg.npz") as arrays:
        (mask,) = arrays.values()
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, cache.mask("img_1.jpg"))
    results = import_npz(ingested, tmp_path / "npz", log=lines.append)
    assert sum(result.done for result in results.values()) == 33
    taken = open_cache(replace(ingested, segmenter=f"folder:{tmp_path / 'npz'}"))
    assert taken.fingerprint != cache.fingerprint
    for subject in cache.subjects_done():
        for img, mask in cache.masks(subject):
            np.testing.assert_array_equal(taken.mask(img), mask)
    assert f"looking at class maps folder:{tmp_path / 'npz'}" in lines
    assert f"DISTRACTED_SEGMENTER=folder:{tmp_path / 'npz'}" in lines[-1]


def test_boolean_masks_are_refused_with_the_reason_before_anything_is_written(ingested: Settings) -> None:
    folder = ingested.data / "original"
    folder.mkdir()
    np.savez_compressed(folder / "img_1.jpg.npz", np.zeros((48, 64), np.uint8))
    np.savez_compressed(folder / "img_2.jpg.npz", np.zeros((48, 64), bool))
    with pytest.raises(DistractedError, match=r"img_2.jpg.npz holds booleans: which of the categories .* was lost"):
        import_npz(ingested, folder, log=quiet)
    assert not ingested.masks.exists()


def test_images_without_an_imported_file_are_named(ingested: Settings) -> None:
    folder = ingested.data / "original"
    folder.mkdir()
    np.savez_compressed(folder / "img_1.jpg.npz", np.zeros((48, 64), np.uint8))
    results = import_npz(ingested, folder, log=quiet)
    assert results["p002"].done == 1
    assert "no class map for img_2.jpg" in results["p002"].failed["img_2.jpg"]


def test_the_folder_of_an_import_is_looked_through_as_often_for_many_drivers_as_for_one(
    ingested: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[Path] = []

    def noting(folder: Path, note: Path) -> str:
        looked.append(folder)
        return maps_digest(folder, note)

    monkeypatch.setattr(identity, "maps_digest", noting)
    times = []
    for subjects in (["p002"], None):
        folder = tmp_path / f"maps_{len(times)}"
        folder.mkdir()
        np.savez_compressed(folder / "img_1.jpg.npz", np.full((48, 64), len(times), np.uint8))
        fill_missing(replace(ingested, segmenter=f"folder:{folder}"), subjects, options=QUIET)
        times.append(looked.count(folder))
    assert times[0] == times[1]


def test_nothing_to_export_or_import_is_said(ingested: Settings, tmp_path: Path) -> None:
    with pytest.raises(DistractedError, match="no masks in .*--select masks"):
        export_npz(ingested, tmp_path / "npz", log=quiet)
    with pytest.raises(DistractedError, match=r"holds no .npz file"):
        import_npz(ingested, tmp_path / "npz", log=quiet)


def test_old_caches_go_only_when_told_and_the_one_in_force_never(ingested: Settings, tmp_path: Path) -> None:
    fill_subject(ingested, "test-000", options=QUIET)
    newer = replace(ingested, segmenter=str(save_tiny_mask2former(tmp_path / "newer", seed=4)))
    fill_subject(newer, "test-000", options=QUIET)
    (ingested.masks / "my notes").mkdir()
    (old,) = collect_garbage(newer)
    assert old.segmenter == ingested.segmenter
    assert old.bytes > 0
    assert old.path == open_cache(ingested).root
    assert open_cache(ingested).subjects_done() == ["test-000"]
    assert collect_garbage(newer, delete=True) == [old]
    assert not old.path.exists()
    assert open_cache(newer).subjects_done() == ["test-000"]
    assert (ingested.masks / "my notes").is_dir()
    assert collect_garbage(newer) == []


def test_masks_for_other_tools_come_back_the_same(
    frames: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_missing(frames, segmenter=Bright(), options=QUIET)
    cache = bright_cache(frames)
    bright = {img: mask for subject in cache.subjects_done() for img, mask in cache.masks(subject)}
    monkeypatch.setattr(exports, "open_cache", lambda settings: cache)
    assert exports.export_panoptic(frames, tmp_path / "coco", log=quiet) == len(bright)
    assert exports.export_png(frames, tmp_path / "png", log=quiet) == len(bright)
    exports.export_instances(frames, tmp_path / "instances.json", log=quiet)
    results = import_panoptic(frames, tmp_path / "coco", log=quiet)
    assert sum(result.done for result in results.values()) == len(bright)
    for name in ("coco", "png"):
        given = replace(frames, segmenter=f"folder:{tmp_path / name}")
        fill_missing(given, options=QUIET)
        taken = open_cache(given)
        for img, mask in bright.items():
            np.testing.assert_array_equal(taken.mask(img), mask)
    document = json.loads((tmp_path / "instances.json").read_text())
    assert {image["file_name"] for image in document["images"]} == set(bright)
    assert sum(each["area"] for each in document["annotations"]) == sum(
        int((mask > 0).sum()) for mask in bright.values()
    )


def test_a_folder_without_an_export_is_no_import(frames: Settings, tmp_path: Path) -> None:
    with pytest.raises(DistractedError, match="holds no COCO panoptic export"):
        import_panoptic(frames, tmp_path, log=quiet)
