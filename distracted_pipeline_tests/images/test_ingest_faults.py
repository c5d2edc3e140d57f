"""Ingest of bad input: the message names file, row and remedy; the good rows stay."""

import json
import os
import shutil
import zipfile
from pathlib import Path

import pytest

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.images.ingest import ingest
from distracted_pipeline.images.manifest import labelled
from distracted_pipeline.settings import Settings
from distracted_pipeline_tests.conftest import draw_frame
from distracted_pipeline_tests.images.ingested import only_problem, quiet, rows_of, zip_tree


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
        (b"\0\0\0\x18ftypheic" + b"\0" * 99, "not a JPEG", "an HEIC"),
        (b"\0\0\0\x18ftypisom" + b"\0" * 99, "not a JPEG", "a film"),
        (b"II*\0" + b"\0" * 99, "not a JPEG", "a TIFF"),
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
