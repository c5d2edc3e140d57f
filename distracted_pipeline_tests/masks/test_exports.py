"""Masks for other tools: what a killed export left is kept, what is of other masks is not, metadata fits the files."""

import json
import multiprocessing
import os
import signal
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from distracted_pipeline.checksums import file_digest
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.images.ingest import ingest
from distracted_pipeline.masks import exports
from distracted_pipeline.masks.export_folders import RECORD, begin
from distracted_pipeline.masks.fill import fill_missing
from distracted_pipeline.settings import Settings
from distracted_pipeline_tests.conftest import write_kaggle_tree
from distracted_pipeline_tests.masks.conftest import QUIET, Bright, bright_cache, quiet

Export = Callable[[Settings, Path], int]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """23 frames, each with a mask by `Bright`."""
    settings = Settings(data=write_kaggle_tree(tmp_path_factory.mktemp("data"), ("p002", "p014"), frames=1))
    ingest(settings, log=quiet)
    fill_missing(settings, segmenter=Bright(), options=QUIET)
    return settings


@pytest.fixture
def root(filled: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings whose segmenter in force, for the exports, is `Bright`."""
    monkeypatch.setattr(exports, "open_cache", bright_cache)
    return filled


def export_and_die(root: str, folder: str, after: int) -> None:
    """Export as PNG and get SIGKILL in the middle of a file."""
    exports.open_cache = bright_cache
    written = 0
    save = Image.Image.save

    def save_half(self: Image.Image, path: Path, *rest: Any) -> None:
        nonlocal written
        written += 1
        save(self, path, *rest)
        if written > after:
            path.write_bytes(path.read_bytes()[:20])
            os.kill(os.getpid(), signal.SIGKILL)

    Image.Image.save = save_half  # type: ignore[method-assign]
    exports.export_png(Settings(data=Path(root)), Path(folder), log=quiet)


def test_a_killed_export_goes_on_with_the_file_that_was_not_finished(root: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "png"
    process = multiprocessing.get_context("forkserver").Process(
        target=export_and_die, args=(str(root.data), str(folder), 9)
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    first = {path: path.stat().st_ino for path in folder.glob("*.png")}
    assert len(first) == 9
    assert list(folder.glob(".*.part"))
    assert exports.export_png(root, folder, log=quiet) == 23
    assert {path: path.stat().st_ino for path in first} == first
    assert not list(folder.glob(".*.part"))
    cache = bright_cache(root)
    for subject in cache.subjects_done():
        for img, mask in cache.masks(subject):
            np.testing.assert_array_equal(np.asarray(Image.open(folder / f"{img}.png")), mask)


@pytest.mark.parametrize(
    ("export", "file"),
    [
        (exports.export_png, "img_1.jpg.png"),
        (exports.export_npz, "img_1.jpg.npz"),
        (exports.export_panoptic, "panoptic/img_1.jpg.png"),
    ],
)
def test_what_is_there_is_kept_and_what_is_not_is_made(
    root: Settings, tmp_path: Path, export: Export, file: str
) -> None:
    export(root, tmp_path)
    path, other = tmp_path / file, (tmp_path / file).with_name(file.rpartition("/")[2].replace("_1.", "_2."))
    kept = path.stat().st_ino
    other.unlink()
    assert export(root, tmp_path) == 23
    assert path.stat().st_ino == kept
    assert other.is_file()


def test_frames_without_a_mask_are_told_of_for_the_count_alone_does_not_show_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "open_cache", bright_cache)
    settings = Settings(data=write_kaggle_tree(tmp_path / "data", ("p002",), frames=1, test_frames=0))
    ingest(settings, log=quiet)
    (settings.data / "imgs/train/c0/img_1.jpg").write_bytes(b"")
    fill_missing(settings, segmenter=Bright(), options=QUIET)
    lines: list[str] = []
    assert exports.export_npz(settings, tmp_path / "npz", lines.append) == 9
    assert lines[-1].startswith("without a mask, so left out: 1, such as img_1.jpg: ")
    assert "distracted run" in lines[-1]


def test_a_listing_waits_on_the_disk_it_is_for_and_names_it_where_that_is_full(
    root: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def full(*args: object, **kwargs: object) -> None:
        asked.append(kwargs["dir"])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with pytest.raises(
        DistractedError, match=r"cannot write .*instances\.json: No space left on device \([\d,]+ bytes"
    ):
        exports.export_instances(root, tmp_path / "instances.json", log=quiet)
    assert asked == [tmp_path]
    assert list(tmp_path.iterdir()) == []


def test_files_of_an_export_of_other_masks_are_never_taken_for_finished(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "a.png", tmp_path / "notes.txt"
    begin(tmp_path, "one", [ours])
    ours.write_text("of one")
    theirs.write_text("a person's")
    begin(tmp_path, "one", [ours])
    assert ours.is_file()
    begin(tmp_path, "two", [ours])
    assert not ours.exists()
    assert theirs.is_file()
    ours.write_text("of two")
    (tmp_path / RECORD).write_text("{}")  # damaged: nobody knows what the files are of
    begin(tmp_path, "two", [ours])
    assert not ours.exists()


def croissant_faults(path: Path) -> list[str]:
    """Return what is wrong with a Croissant document and its files; mlcroissant takes seconds to import."""
    document = json.loads(path.read_text())
    assert document["conformsTo"] == "http://mlcommons.org/croissant/1.0"
    nodes = [
        *document["distribution"],
        *document["recordSet"],
        *(field for records in document["recordSet"] for field in records["field"]),
    ]
    ids = [node["@id"] for node in nodes]
    faults = [f"{each} twice" for each in set(ids) if ids.count(each) > 1]
    for node in document["distribution"]:
        if node["@type"] == "cr:FileObject" and file_digest(path.parent / node["contentUrl"]) != node["sha256"]:
            faults.append(f"{node['contentUrl']} has another digest")
        if node["@type"] == "cr:FileSet" and not list(path.parent.glob(node["includes"])):
            faults.append(f"nothing fits {node['includes']}")
    for records in document["recordSet"]:
        names = {field["@id"] for field in records["field"]}
        faults += [f"{row} lacks a field" for row in records.get("data", []) if row.keys() != names]
        for source in (field["source"] for field in records["field"] if "source" in field):
            faults += [f"{of} is no file" for of in (v["@id"] for v in source.values() if "@id" in v) if of not in ids]
            if "fileObject" in source:
                header = (path.parent / source["fileObject"]["@id"]).read_text().splitlines()[0].split(",")
                faults += [] if source["extract"]["column"] in header else [f"no column {source['extract']}"]
    return faults


@pytest.mark.parametrize(
    ("export", "target", "described"),
    [
        (exports.export_png, "masks", "masks/croissant.json"),
        (exports.export_npz, "masks", "masks/croissant.json"),
        (exports.export_panoptic, "coco", "coco/croissant.json"),
        (exports.export_instances, "instances.json", "instances.croissant.json"),
    ],
)
def test_croissant_metadata_beside_an_export_fits_its_files(
    root: Settings, tmp_path: Path, export: Export, target: str, described: str
) -> None:
    export(root, tmp_path / target)
    assert croissant_faults(tmp_path / described) == []
    document = json.loads((tmp_path / described).read_text())
    assert document["license"].endswith("/rules")  # State Farm's frames
    ids = next(records for records in document["recordSet"] if records["@id"] == "categories")["data"]
    assert [row["categories/name"] for row in ids] == list(root.dataset.mask_names)
    assert str(tmp_path) not in json.dumps(document)


def test_metadata_of_drawn_frames_claims_no_licence(root: Settings, tmp_path: Path) -> None:
    exports.export_png(replace(root, synthetic=True), tmp_path, log=quiet)
    document = json.loads((tmp_path / "croissant.json").read_text())
    assert "license" not in document
    assert "drawn, not photographed" in document["description"]
