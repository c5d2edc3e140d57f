"""Ingest: good data becomes a manifest, bad data is named and kept, unchanged data is not read twice."""

import json
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from distracted_pipeline.dataset import STATE_FARM
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.images import ingest as ingest_module
from distracted_pipeline.images.ingest import IngestResult, ingest
from distracted_pipeline.images.manifest import SCHEMA, data_fingerprint, labelled, of_subject, read_manifest
from distracted_pipeline.settings import Settings
from distracted_pipeline_tests.conftest import DRIVERS, draw_frame, write_kaggle_tree


def quiet(settings: Settings) -> IngestResult:
    return ingest(settings, log=lambda line: None)


def rows_of(result: IngestResult, img: str) -> list[dict]:
    return [row for row in result.table.to_pylist() if row["img"] == img]


def only_problem(result: IngestResult):
    assert len(result.problems) == 1, [str(p) for p in result.problems]
    return result.problems[0]


def edit_csv(settings: Settings, change) -> None:
    lines = settings.csv.read_text().splitlines()
    settings.csv.write_text("\n".join(change(lines)) + "\n")


def zip_tree(root: Path, archive: Path, prefix: str = "", compression: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(archive, "w", compression) as target:
        for path in sorted(root.rglob("*")):
            if path.is_file():
                target.write(path, prefix + path.relative_to(root).as_posix())


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


# Bad input: the message names file, row and remedy; the good rows stay.


def test_a_missing_data_root_is_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(DistractedError, match=r"nowhere does not exist.*kaggle\.com.*distracted demo"):
        quiet(Settings(data=tmp_path / "nowhere"))


def test_a_zip_as_data_root_points_to_its_folder(settings: Settings) -> None:
    archive = settings.data.parent / "state-farm.zip"
    zip_tree(settings.data, archive)
    with pytest.raises(DistractedError, match=r"state-farm\.zip is a file.*--data"):
        quiet(Settings(data=archive))


def test_an_empty_data_root_says_what_to_put_there(tmp_path: Path) -> None:
    with pytest.raises(DistractedError, match="holds no images"):
        quiet(Settings(data=tmp_path))


def test_a_missing_csv_is_named(settings: Settings) -> None:
    settings.csv.unlink()
    with pytest.raises(DistractedError, match=r"driver_imgs_list\.csv is missing"):
        quiet(settings)
    assert not settings.manifest.exists()


def test_a_half_downloaded_zip_is_named(settings: Settings, tmp_path: Path) -> None:
    root = tmp_path / "zipped"
    root.mkdir()
    zip_tree(settings.data, root / "state-farm.zip")
    whole = (root / "state-farm.zip").read_bytes()
    (root / "state-farm.zip").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DistractedError, match=r"state-farm\.zip: cannot be read as a zip"):
        quiet(Settings(data=root))


def test_a_damaged_zip_member_costs_one_image(settings: Settings, tmp_path: Path) -> None:
    root = tmp_path / "zipped"
    root.mkdir()
    archive = root / "state-farm.zip"
    zip_tree(settings.data, archive)
    with zipfile.ZipFile(archive) as source:
        offset = source.getinfo("imgs/train/c0/img_1.jpg").header_offset
    raw = bytearray(archive.read_bytes())
    raw[offset + 300] ^= 0xFF
    archive.write_bytes(raw)
    problem = only_problem(result := quiet(Settings(data=root)))
    assert (problem.where, problem.row, problem.status) == ("state-farm.zip::imgs/train/c0/img_1.jpg", 2, "damaged")
    assert result.counts["labelled"] == 159


def test_a_csv_row_without_a_file_keeps_its_row(settings: Settings) -> None:
    (settings.data / "imgs/train/c0/img_2.jpg").unlink()
    problem = only_problem(result := quiet(settings))
    assert (problem.where, problem.row) == ("driver_imgs_list.csv", 3)
    assert "imgs/train/c0/img_2.jpg does not exist" in problem.what
    assert "delete its row" in problem.remedy
    assert [(row["status"], row["path"], row["fold"]) for row in rows_of(result, "img_2.jpg")] == [("no file", "", -1)]
    assert result.counts["labelled"] == 159


def test_a_file_without_a_csv_row_keeps_its_row(settings: Settings) -> None:
    draw_frame(0, 0, 99).save(settings.data / "imgs/train/c4/img_stray.jpg")
    problem = only_problem(result := quiet(settings))
    assert (problem.where, problem.row, problem.status) == ("imgs/train/c4/img_stray.jpg", None, "no csv row")
    assert rows_of(result, "img_stray.jpg")[0]["status"] == "no csv row"
    assert result.counts["labelled"] == 160


def test_a_class_folder_that_disagrees_with_the_csv_is_bad(settings: Settings) -> None:
    train = settings.data / "imgs/train"
    (train / "c0/img_1.jpg").rename(train / "c7/img_1.jpg")
    problem = only_problem(result := quiet(settings))
    assert (problem.row, problem.status) == (2, "folder disagrees")
    assert "c0 here, but lies in imgs/train/c7" in problem.what
    assert rows_of(result, "img_1.jpg")[0]["path"] == "imgs/train/c7/img_1.jpg"


@pytest.mark.parametrize(
    ("content", "status", "words"),
    [
        (b"", "empty file", "empty"),
        (b"<!DOCTYPE html><html>404</html>", "not a JPEG", "web page"),
        (b"\x89PNG\r\n\x1a\n" + b"0" * 100, "not a JPEG", "PNG"),
        (b"\0" * 4096, "not a JPEG", "zeros"),
        (b"\xff\xd8\xff\xe0", "truncated", "header"),
    ],
)
def test_a_file_that_is_no_jpeg_costs_one_image(settings: Settings, content: bytes, status: str, words: str) -> None:
    (settings.data / "imgs/train/c1/img_3.jpg").write_bytes(content)
    problem = only_problem(result := quiet(settings))
    assert (problem.where, problem.row, problem.status) == ("imgs/train/c1/img_3.jpg", 4, status)
    assert words in problem.what
    assert rows_of(result, "img_3.jpg")[0]["status"] == status
    assert result.counts["labelled"] == 159


def test_a_file_cut_in_the_middle_is_found(settings: Settings) -> None:
    path = settings.data / "imgs/train/c1/img_3.jpg"
    path.write_bytes(path.read_bytes()[:-60])
    assert only_problem(quiet(settings)).status == "truncated"


def test_a_link_to_nowhere_is_found(settings: Settings) -> None:
    path = settings.data / "imgs/train/c1/img_3.jpg"
    path.unlink()
    path.symlink_to("gone.jpg")
    problem = only_problem(quiet(settings))
    assert (problem.status, problem.row) == ("unreadable", 4)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system")
def test_a_pipe_among_the_images_does_not_hang(settings: Settings) -> None:
    os.mkfifo(settings.data / "imgs/test/img_1000000.jpg")
    assert only_problem(quiet(settings)).status == "unreadable"


def test_litter_of_file_managers_is_no_image(settings: Settings) -> None:
    for name in (".DS_Store", "Thumbs.db", "._img_1.jpg"):
        (settings.data / "imgs/train/c0" / name).write_bytes(b"x")
    assert quiet(settings).problems == []


def test_a_nested_folder_is_reported(settings: Settings) -> None:
    inner = settings.data / "imgs/train/c0/more"
    inner.mkdir()
    shutil.copy(settings.data / "imgs/train/c0/img_1.jpg", inner / "img_5000.jpg")
    assert only_problem(quiet(settings)).where == "imgs/train/c0/more"


def test_an_odd_file_name_is_reported_and_nothing_else_is_lost(settings: Settings) -> None:
    draw_frame(0, 0, 99).save(settings.data / "imgs/test/a\nb::c.jpg")
    problem = only_problem(result := quiet(settings))
    assert problem.status == "unsafe image name"
    assert "\n" not in str(problem)
    assert result.counts["unlabelled"] == 3


def test_a_test_frame_with_the_name_of_a_labelled_one_is_bad(settings: Settings) -> None:
    draw_frame(3, 3, 3).save(settings.data / "imgs/test/img_1.jpg")
    problem = only_problem(result := quiet(settings))
    assert (problem.where, problem.status) == ("imgs/test/img_1.jpg", "name used twice")
    assert result.counts["labelled"] == 160


def test_identical_images_of_two_drivers_are_reported(settings: Settings) -> None:
    rows = labelled(quiet(settings).table).to_pylist()
    one = next(row for row in rows if row["subject"] == "p002")
    other = next(row for row in rows if row["subject"] == "p081" and row["classname"] == one["classname"])
    shutil.copy(settings.data / one["path"], settings.data / other["path"])
    problem = only_problem(result := quiet(settings))
    assert problem.status == "same image, two drivers"
    assert one["path"] in problem.what
    assert problem.where == other["path"]
    assert result.counts["labelled"] == 160


def test_too_many_bad_images_are_not_acceptable_but_kept(settings: Settings) -> None:
    for number in (1, 2):
        (settings.data / f"imgs/train/c0/img_{number}.jpg").write_bytes(b"")
    lines: list[str] = []
    result = ingest(settings, log=lines.append)
    assert result.bad_share == pytest.approx(2 / 160)
    assert not result.acceptable
    assert result.table.num_rows == 163
    assert any("more than 1%" in line for line in lines)
    assert ingest(settings, log=lines.append, max_bad_share=0.02).acceptable


def test_bad_test_frames_count_among_the_unlabelled(settings: Settings) -> None:
    (settings.data / "imgs/test/img_900000.jpg").write_bytes(b"")
    assert quiet(settings).bad_share == pytest.approx(1 / 3)


def test_nothing_usable_fails_and_lists_everything(settings: Settings) -> None:
    shutil.rmtree(settings.data / "imgs/train")
    with pytest.raises(DistractedError, match=r"not one of 163 images can be used.*images_problems\.json"):
        quiet(settings)
    assert len(json.loads((settings.data / "images_problems.json").read_text())) == 160
    assert not settings.manifest.exists()


def test_a_hundred_megapixels_are_not_decoded(settings: Settings) -> None:
    path = settings.data / "imgs/train/c0/img_1.jpg"
    raw = bytearray(path.read_bytes())
    start = raw.index(b"\xff\xc0")  # start of frame: length, precision, height, width
    raw[start + 5 : start + 9] = (10_000).to_bytes(2, "big") * 2
    path.write_bytes(raw)
    problem = only_problem(quiet(settings))
    assert (problem.status, "10000x10000" in problem.what) == ("too large", True)


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
