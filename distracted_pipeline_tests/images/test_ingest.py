"""Ingest: good data becomes a manifest, however it comes, and unchanged data is not read twice."""

import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from distracted_pipeline.dataset import STATE_FARM
from distracted_pipeline.images import ingest as ingest_module
from distracted_pipeline.images.ingest import ingest
from distracted_pipeline.images.manifest import SCHEMA, data_fingerprint, labelled, of_subject, read_manifest
from distracted_pipeline.settings import Settings
from distracted_pipeline_tests.conftest import DRIVERS, draw_frame, write_kaggle_tree
from distracted_pipeline_tests.images.ingested import only_problem, quiet, rows_of, zip_tree


def edit_csv(settings: Settings, change) -> None:
    lines = settings.csv.read_text().splitlines()
    settings.csv.write_text("\n".join(change(lines)) + "\n")


def test_a_good_tree_becomes_one_ok_row_per_image(settings: Settings) -> None:
    result = quiet(settings)
    assert result.counts == {
        "labelled": 160, "unlabelled": 3, "drivers": 8, "classes": 10, "bad": 0, "read": 163, "unchanged": 0,
    }  # fmt: skip
    assert result.problems == []
    assert result.acceptable
    table = read_manifest(settings)
    assert table.schema.equals(SCHEMA)
    assert table.num_rows == 163
    keys = list(zip(*(table[name].to_pylist() for name in ("subject", "classname", "img")), strict=True))
    assert keys == sorted(keys)
    row = rows_of(result, "img_1.jpg")[0]
    file = settings.data / row["path"]
    assert (row["subject"], row["classname"], row["path"]) == ("p002", "c0", "imgs/train/c0/img_1.jpg")
    assert (row["width"], row["height"], row["bytes"]) == (64, 48, file.stat().st_size)
    assert settings.subjects_file.read_text().split() == [*DRIVERS, "test-000"]
    assert json.loads((settings.data / "images_problems.json").read_text()) == []


def test_split_and_fold_follow_the_driver_and_test_frames_have_none(settings: Settings) -> None:
    table = quiet(settings).table
    for row in labelled(table).to_pylist():
        assert row["split"] == STATE_FARM.part_of(row["subject"])
        assert 0 <= row["fold"] < 5
    tests = of_subject(table, "test-000").to_pylist()
    assert len(tests) == 3
    assert {(row["classname"], row["split"], row["fold"]) for row in tests} == {("", "", -1)}


def test_unlabelled_images_come_in_shards(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distracted_pipeline.images.rows.TEST_SHARD", 2)
    subjects = quiet(settings).table["subject"].to_pylist()
    assert subjects.count("test-000") == 2
    assert subjects.count("test-001") == 1


def test_shards_grow_before_there_are_too_many_of_them(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distracted_pipeline.images.rows.TEST_SHARD", 1)
    monkeypatch.setattr("distracted_pipeline.images.rows.MOST_TEST_SHARDS", 2)
    subjects = ingest(settings).table["subject"].to_pylist()
    assert [subjects.count(f"test-00{number}") for number in range(3)] == [2, 1, 0]


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_gives_the_same_manifest_as_its_tree_and_is_not_unpacked(settings: Settings, compression: int) -> None:
    tree = quiet(settings).table
    zipped = Settings(data=settings.data.parent / "zipped")
    zipped.data.mkdir()
    raw = settings.data.parent / "raw"
    write_kaggle_tree(raw)
    zip_tree(raw, zipped.data / "state-farm.zip", compression=compression)
    result = quiet(zipped)
    assert result.table.drop_columns(["path"]).equals(tree.drop_columns(["path"]))
    assert result.table["path"][0].as_py() == f"state-farm.zip::{tree['path'][0].as_py()}"
    assert not (zipped.data / "imgs").exists()
    assert data_fingerprint(result.table) == data_fingerprint(tree)


def test_a_zip_with_a_folder_around_it_and_the_csv_in_another_zip_works(tmp_path: Path) -> None:
    raw = write_kaggle_tree(tmp_path / "raw")
    root = tmp_path / "data"
    root.mkdir()
    with zipfile.ZipFile(root / "driver_imgs_list.csv.zip", "w") as target:
        target.write(raw / "driver_imgs_list.csv", "driver_imgs_list.csv")
    (raw / "driver_imgs_list.csv").unlink()
    zip_tree(raw, root / "imgs.zip", prefix="state-farm/")
    assert quiet(Settings(data=root)).counts["labelled"] == 160


def test_a_zip_with_two_image_folders_uses_the_outer_and_names_what_it_leaves(settings: Settings) -> None:
    root = settings.data.parent / "zipped"
    root.mkdir()
    zip_tree(settings.data, root / "a.zip")
    with zipfile.ZipFile(root / "a.zip", "a") as archive:
        frame = (settings.data / "imgs/train/c0/img_1.jpg").read_bytes()
        for name in (
            "copy/imgs/train/c0/img_1.jpg",
            "imgs/train/c0/more/img_9000.jpg",
            "imgs/train/c0/..",
            "__MACOSX/imgs/train/c0/._img_1.jpg",
        ):
            archive.writestr(name, frame)
    result = quiet(Settings(data=root))
    assert result.counts["labelled"] == 160
    assert [(p.status, p.where) for p in result.problems] == [
        ("nested folder", "a.zip::imgs/train/c0/more"),
    ]
    assert any("ignored: copy/imgs/ (1)" in note for note in result.notes)


def test_a_csv_beside_the_zip_is_preferred_and_said(settings: Settings) -> None:
    root = settings.data.parent / "zipped"
    root.mkdir()
    zip_tree(settings.data, root / "a.zip")
    (root / "driver_imgs_list.csv").write_text(settings.csv.read_text().replace("p081", "p075"))
    result = quiet(Settings(data=root))
    assert "p075" in result.table["subject"].to_pylist()
    assert result.notes == ["driver_imgs_list.csv in the data root is used, not the one in a.zip"]


def test_the_tree_wins_over_a_zip_beside_it_and_says_so(settings: Settings) -> None:
    zip_tree(settings.data / "imgs" / "test", settings.data / "other.zip", prefix="imgs/test/")
    lines: list[str] = []
    result = ingest(settings, log=lines.append)
    assert result.counts["labelled"] == 160
    assert any("other.zip" in line and "ignored" in line for line in lines)


def test_linked_folders_and_files_are_followed(settings: Settings, tmp_path: Path) -> None:
    root = tmp_path / "linked"
    (root / "imgs" / "train").mkdir(parents=True)
    for folder in sorted((settings.data / "imgs" / "train").iterdir()):
        (root / "imgs" / "train" / folder.name).symlink_to(folder)
    (root / "driver_imgs_list.csv").symlink_to(settings.csv)
    result = quiet(Settings(data=root))
    assert result.counts["labelled"] == 160
    assert result.problems == []


def test_unchanged_data_is_not_read_again_and_gives_the_same_result(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    (settings.data / "imgs/train/c0/img_1.jpg").write_bytes(b"<html>404</html>")
    first = quiet(settings)
    written = settings.manifest.stat().st_mtime_ns
    monkeypatch.setattr(ingest_module, "verify_jpeg", lambda data, where: pytest.fail("read again"))
    second = quiet(settings)
    assert (second.counts["read"], second.counts["unchanged"]) == (0, 163)
    assert second.table.equals(first.table)
    assert second.problems == first.problems
    assert second.bad_share == first.bad_share
    assert settings.manifest.stat().st_mtime_ns == written


def test_only_what_changed_is_read_again(settings: Settings) -> None:
    quiet(settings)
    path = settings.data / "imgs/train/c0/img_1.jpg"
    before = read_manifest(settings)
    draw_frame(7, 7, 7, (32, 24)).save(path)
    result = quiet(settings)
    assert result.counts["read"] == 1
    assert rows_of(result, "img_1.jpg")[0]["width"] == 32
    assert data_fingerprint(result.table) != data_fingerprint(before)


def test_a_changed_csv_reads_no_image_again(settings: Settings) -> None:
    quiet(settings)
    edit_csv(settings, lambda lines: [line.replace("p081", "p075") for line in lines])
    result = quiet(settings)
    assert result.counts["read"] == 0
    assert "p075" in settings.subjects_file.read_text()
    assert "p081" not in settings.subjects_file.read_text()


def test_a_lost_manifest_is_rebuilt_and_a_damaged_state_costs_only_time(settings: Settings) -> None:
    first = quiet(settings).table
    settings.manifest.unlink()
    (settings.data / "images_state.parquet").write_bytes(b"PAR1 no more")
    result = quiet(settings)
    assert result.counts["read"] == 163
    assert read_manifest(settings).equals(first)


def test_what_could_not_be_read_is_tried_again_without_a_change(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = ingest_module.ImageReader.bytes

    def fails(self: object, path: str) -> bytes:
        if path.endswith("/img_5.jpg"):
            raise ingest_module.ImageProblem(path, "unreadable", "reading failed (Input/output error)")
        return real(self, path)  # type: ignore[arg-type]

    monkeypatch.setattr(ingest_module.ImageReader, "bytes", fails)
    assert only_problem(quiet(settings)).status == "unreadable"
    monkeypatch.undo()
    result = quiet(settings)
    assert (result.counts["read"], result.counts["bad"]) == (1, 0)


def test_two_ingests_at_once_leave_one_valid_manifest(settings: Settings) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(quiet, [settings, settings]))
    assert results[0].table.equals(results[1].table)
    assert not list(settings.data.glob(".*.part"))


def test_litter_of_file_managers_is_no_image(settings: Settings) -> None:
    for name in (".DS_Store", "Thumbs.db", "._img_1.jpg"):
        (settings.data / "imgs/train/c0" / name).write_bytes(b"x")
    assert quiet(settings).problems == []


def test_colour_modes_and_rotation_are_good_images(settings: Settings) -> None:
    folder = settings.data / "imgs/train/c0"
    Image.fromarray(np.full((48, 64), 90, np.uint8)).save(folder / "img_1.jpg")
    Image.new("CMYK", (64, 48), (9, 8, 7, 6)).save(folder / "img_2.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6
    draw_frame(0, 1, 0).save(settings.data / "imgs/train/c1/img_3.jpg", exif=exif)
    result = quiet(settings)
    assert result.counts["bad"] == 0
    row = rows_of(result, "img_3.jpg")[0]
    assert (row["width"], row["height"]) == (48, 64)


@pytest.mark.real
def test_real_frames_are_all_good(tmp_path: Path) -> None:
    frames = os.environ.get("DISTRACTED_TEST_FRAMES")
    if not frames:
        pytest.skip("DISTRACTED_TEST_FRAMES is not set")
    for name in ("imgs", "driver_imgs_list.csv"):
        (tmp_path / name).symlink_to(Path(frames) / name)
    result = quiet(Settings(data=tmp_path))
    assert result.problems == []
    assert (result.counts["drivers"], result.counts["classes"], result.counts["bad"]) == (26, 10, 0)
