"""A folder for FiftyOne: what its importer reads is there, frames are not copied, and what is missing is said."""

import csv
import errno
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from distracted_pipeline.images.ingest import ingest
from distracted_pipeline.images.manifest import labelled, read_manifest
from distracted_pipeline.masks.fill import fill_missing
from distracted_pipeline.scopes import CROSS_FOLDS
from distracted_pipeline.serving import fiftyone_folder
from distracted_pipeline.serving.fiftyone_folder import export_fiftyone
from distracted_pipeline.settings import Settings
from distracted_pipeline_tests.conftest import write_kaggle_tree
from distracted_pipeline_tests.evaluation.fakes import held_out, predict
from distracted_pipeline_tests.masks.conftest import QUIET, Bright, bright_cache, quiet
from distracted_pipeline_tests.masks.test_exports import croissant_faults

VARIANT = "top_only"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """20 labelled frames of two drivers with masks, and out-of-fold answers that take c1 for c2."""
    settings = Settings(data=write_kaggle_tree(tmp_path_factory.mktemp("data"), ("p002", "p014"), frames=1))
    ingest(settings, log=quiet)
    fill_missing(settings, segmenter=Bright(), options=QUIET)
    predict(settings, VARIANT, [fold for fold in CROSS_FOLDS if len(held_out(settings, fold))], wrong={1: 2})
    return settings


@pytest.fixture(autouse=True)
def _bright(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fiftyone_folder, "open_cache", bright_cache)


def samples(folder: Path) -> dict[str, dict[str, Any]]:
    """Return samples by file name, read as FiftyOne does where `metadata.json` has no `version`."""
    metadata = json.loads((folder / "metadata.json").read_text())
    assert "version" not in metadata
    assert metadata["media_type"] == "image"
    found = json.loads((folder / "samples.json").read_text())["samples"]
    media = {path.name for path in (folder / "fields").iterdir()}  # fields whose files are relative to the folder
    for sample in found:
        sample["filepath"] = folder / sample["filepath"]
        for field in media & sample.keys():
            sample[field]["mask_path"] = folder / sample[field]["mask_path"]
    return {sample["filepath"].name: sample for sample in found}


def test_every_labelled_frame_comes_with_label_driver_mask_and_the_answers_of_each_variant(
    root: Settings, tmp_path: Path
) -> None:
    images = labelled(read_manifest(root)).to_pylist()
    assert export_fiftyone(root, tmp_path, log=quiet) == len(images) == 20
    found, cache, dataset = samples(tmp_path), bright_cache(root), root.dataset
    assert found.keys() == {row["img"] for row in images}
    for row in images:
        sample, true = found[row["img"]], dataset.class_ids.index(row["classname"])
        assert sample["filepath"].read_bytes() == (root.data / row["path"]).read_bytes()
        assert (sample["driver"], sample["fold"], sample["tags"]) == (row["subject"], row["fold"], [row["split"]])
        assert sample["ground_truth"] == {"_cls": "Classification", "label": dataset.class_label(true)}
        answer = sample[f"oof_{VARIANT}"]
        assert answer["label"] == dataset.class_label(2 if true == 1 else true)
        assert answer["confidence"] == pytest.approx(0.91)
        assert f"original_{VARIANT}" not in sample
        mask = np.asarray(Image.open(sample["masks"]["mask_path"]))
        np.testing.assert_array_equal(mask, cache.mask(row["img"]))
    info = json.loads((tmp_path / "metadata.json").read_text())["info"]
    assert info["default_mask_targets"]["3"] == "cell phone"
    assert info["default_classes"][3] == "c3 texting - left"


def test_the_table_says_the_same_and_croissant_metadata_fits_it(root: Settings, tmp_path: Path) -> None:
    export_fiftyone(root, tmp_path, log=quiet)
    with (tmp_path / "samples.csv").open(encoding="utf-8", newline="") as handle:
        rows = {row["img"]: row for row in csv.DictReader(handle)}
    for img, sample in samples(tmp_path).items():
        assert sample["ground_truth"]["label"].startswith(rows[img]["class"])
        assert sample[f"oof_{VARIANT}"]["label"].startswith(rows[img][f"oof_{VARIANT}"])
        assert (tmp_path / rows[img]["mask"]).is_file()
    assert croissant_faults(tmp_path / "croissant.json") == []


def test_frames_in_folders_are_linked_and_take_no_space(root: Settings, tmp_path: Path) -> None:
    export_fiftyone(root, tmp_path, log=quiet)
    assert all(sample["filepath"].stat().st_nlink > 1 for sample in samples(tmp_path).values())


@pytest.mark.parametrize("refused", [("link",), ("link", "symlink")])
def test_where_links_cannot_be_made_the_next_best_is_taken(
    root: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: tuple[str, ...]
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    for name in refused:
        monkeypatch.setattr(os, name, refuse)
    export_fiftyone(root, tmp_path, log=quiet)
    files = [sample["filepath"] for sample in samples(tmp_path).values()]
    assert all(path.is_symlink() is ("symlink" not in refused) for path in files)
    assert all(Image.open(path).size == (64, 48) for path in files)


def test_frames_in_a_zip_are_written_out_once(tmp_path: Path) -> None:
    tree = write_kaggle_tree(tmp_path / "tree", ("p002", "p014"), frames=1, test_frames=0)
    (tmp_path / "data").mkdir()
    with zipfile.ZipFile(tmp_path / "data" / "state-farm.zip", "w") as archive:
        for path in sorted(tree.rglob("*.*")):
            archive.write(path, path.relative_to(tree))
    zipped, lines = Settings(data=tmp_path / "data"), []
    ingest(zipped, log=quiet)
    assert export_fiftyone(zipped, tmp_path / "out", log=lines.append) == 20
    (original,) = tree.rglob("img_7.jpg")
    written = tmp_path / "out" / "data" / "img_7.jpg"
    assert written.read_bytes() == original.read_bytes()
    assert any("20 of 20 frames have no mask yet" in line for line in lines)
    assert any(line.startswith("no predictions yet") for line in lines)
    kept = written.stat().st_ino
    export_fiftyone(zipped, tmp_path / "out", log=quiet)
    assert written.stat().st_ino == kept


def test_a_killed_export_cannot_be_loaded_until_it_went_on(
    root: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(fiftyone_folder, "each_mask", killed)
    with pytest.raises(KeyboardInterrupt):
        export_fiftyone(root, tmp_path, log=quiet)
    assert not (tmp_path / "samples.json").exists()
    monkeypatch.undo()
    monkeypatch.setattr(fiftyone_folder, "open_cache", bright_cache)
    assert export_fiftyone(root, tmp_path, log=quiet) == len(samples(tmp_path))
