"""Names and places as other systems write them: understood, or told with what to do."""

import os
import shutil
import unicodedata
import zipfile
from pathlib import Path

import pytest

from distracted_pipeline.dataset_file import load_dataset
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.images.ingest import IngestResult, ingest
from distracted_pipeline.images.names import natural
from distracted_pipeline.settings import Settings, has_data

ACCENTED = "übergröße_é.jpg"


def quiet(root: Path) -> IngestResult:
    return ingest(Settings(data=root, dataset=load_dataset(root)), log=lambda line: None)


def rename_first(root: Path, on_disk: str, in_csv: str) -> None:
    """Give img_1.jpg other names on the disk and in the csv."""
    folder = root / "imgs" / "train" / "c0"
    (folder / "img_1.jpg").rename(folder / on_disk)
    csv = root / "driver_imgs_list.csv"
    csv.write_text(csv.read_text().replace("img_1.jpg", in_csv), encoding="utf-8")


@pytest.mark.parametrize("forms", [("NFD", "NFC"), ("NFC", "NFD")])
def test_accents_written_apart_are_the_same_letters(kaggle_tree: Path, forms: tuple[str, str]) -> None:
    on_disk, in_csv = (unicodedata.normalize(form, ACCENTED) for form in forms)  # type: ignore[arg-type]
    rename_first(kaggle_tree, on_disk, in_csv)
    result = quiet(kaggle_tree)
    assert result.problems == []
    row = next(row for row in result.table.to_pylist() if row["path"].endswith(on_disk))
    assert row["img"] == unicodedata.normalize("NFC", ACCENTED)


def test_a_list_may_write_accents_otherwise_than_the_disk(kaggle_tree: Path) -> None:
    rename_first(kaggle_tree, unicodedata.normalize("NFD", ACCENTED), unicodedata.normalize("NFC", ACCENTED))
    lines = (kaggle_tree / "driver_imgs_list.csv").read_text().splitlines()[1:]
    rows = [line.split(",") for line in lines]
    (kaggle_tree / "list.txt").write_text("".join(f"imgs/train/{c}/{img} {c} {p}\n" for p, c, img in rows))
    (kaggle_tree / "dataset.yaml").write_text(
        "classes: {" + ", ".join(f"c{k}: x" for k in range(10)) + "}\nlabels: {reader: list, file: list.txt}\n"
    )
    result = quiet(kaggle_tree)
    assert (result.problems, result.counts["labelled"]) == ([], 160)


def packed(root: Path, archive: Path, separator: str = "/") -> None:
    """Zip a tree, folders included, with some separator between folders."""
    with zipfile.ZipFile(archive, "w") as target:
        for path in sorted(root.rglob("*")):
            name = path.relative_to(root).as_posix() + ("/" if path.is_dir() else "")
            target.writestr(name.replace("/", separator), b"" if path.is_dir() else path.read_bytes())


def test_a_zip_from_windows_is_read(kaggle_tree: Path, tmp_path: Path) -> None:
    (tmp_path / "zipped").mkdir()
    packed(kaggle_tree, tmp_path / "zipped" / "a.zip", "\\")
    result = quiet(tmp_path / "zipped")
    assert (result.problems, result.counts["labelled"], result.counts["unlabelled"]) == ([], 160, 3)
    assert result.table["path"][0].as_py() == "a.zip::imgs/train/c0/img_1.jpg"


def test_a_zip_whose_names_are_utf_8_without_saying_so_is_read(kaggle_tree: Path, tmp_path: Path) -> None:
    (tmp_path / "zipped").mkdir()
    rename_first(kaggle_tree, ACCENTED, ACCENTED)
    with zipfile.ZipFile(tmp_path / "zipped" / "a.zip", "w") as target:
        for path in sorted(kaggle_tree.rglob("*.*")):
            name = unicodedata.normalize("NFD", path.relative_to(kaggle_tree).as_posix())
            target.writestr(_Unflagged(name), path.read_bytes())
    result = quiet(tmp_path / "zipped")
    assert (result.problems, result.counts["labelled"]) == ([], 160)


class _Unflagged(zipfile.ZipInfo):
    """Writes its name as macOS does: bytes of UTF-8, the flag for UTF-8 unset."""

    __slots__ = ()

    def _encodeFilenameFlags(self) -> tuple[bytes, int]:
        return self.filename.encode(), self.flag_bits


@pytest.mark.parametrize(
    "name", ["img_1.jpg.crdownload", "img_9000.jpg.part", "img_1.jpg~", ".img_1.jpg.Xa81Bc", "img_2.jpg.tmp", "#a.jpg#"]
)
def test_what_programs_leave_behind_is_no_image(kaggle_tree: Path, name: str) -> None:
    (kaggle_tree / "imgs" / "train" / "c0" / name).write_bytes(b"half of it")
    result = quiet(kaggle_tree)
    assert (result.problems, result.counts["bad"]) == ([], 0)


@pytest.mark.parametrize(
    ("source", "target", "words"),
    [
        ("imgs", "farm/imgs", "lie one level deeper, in .*farm/imgs/train: move what is in .*/farm up into .*, then:"),
        (".", "farm", "lie one level deeper, in .*farm/imgs/train: .*, or type: distracted run --data .*/farm$"),
        ("imgs", "a/b/imgs", "lie 2 levels deeper, in .*a/b/imgs/train"),
        ("imgs/train", "train", "folders lie in .*data/train; they belong in .*data/imgs/train"),
        ("imgs/train", "imgs/more", "folders lie in .*imgs/more; they belong in .*imgs/train"),
        ("imgs/train", "imgs/imgs/train", "folders lie in .*imgs/imgs/train; they belong in .*data/imgs/train"),
        ("imgs/train", "imgs/train/train", "folders lie in .*train/train; they belong in .*imgs/train: move"),
    ],
)
def test_images_in_another_place_are_told_with_that_place(
    kaggle_tree: Path, source: str, target: str, words: str
) -> None:
    moved = kaggle_tree.parent / "moved"
    (kaggle_tree / source).rename(moved)
    kaggle_tree.mkdir(exist_ok=True)
    (kaggle_tree / target).parent.mkdir(parents=True, exist_ok=True)
    moved.rename(kaggle_tree / target)
    assert has_data(kaggle_tree)
    with pytest.raises(DistractedError, match=words):
        quiet(kaggle_tree)


def test_a_zip_with_its_class_folders_elsewhere_is_told(kaggle_tree: Path, tmp_path: Path) -> None:
    (tmp_path / "zipped").mkdir()
    packed(kaggle_tree / "imgs", tmp_path / "zipped" / "a.zip")
    with pytest.raises(DistractedError, match=r"In a\.zip the class folders lie in train; they belong in imgs/train"):
        quiet(tmp_path / "zipped")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("imgs.tar.gz", r"imgs\.tar\.gz there is no zip: unpack it so that the class folders lie in"),
        ("all.zip", r"all\.zip holds another zip, imgs\.zip: take that out of it into"),
    ],
)
def test_an_archive_of_another_kind_is_told(name: str, said: str, tmp_path: Path) -> None:
    if name.endswith(".zip"):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("imgs.zip", b"PK")
    else:
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(DistractedError, match=said):
        quiet(tmp_path)


@pytest.mark.parametrize("on_disk", ["img_1.JPG", "IMG_1.jpg", "img_1.jpeg"])
def test_a_name_that_is_nearly_right_is_told(on_disk: str, kaggle_tree: Path) -> None:
    rename_first(kaggle_tree, on_disk, "img_1.jpg")
    (found,) = [each for each in quiet(kaggle_tree).problems if each.status == "no file"]
    assert f"imgs/train/c0/img_1.jpg does not exist; {on_disk} is there" in str(found)


@pytest.mark.skipif(os.name == "nt", reason="links")
def test_a_link_that_leads_in_a_circle_costs_only_its_image(kaggle_tree: Path) -> None:
    path = kaggle_tree / "imgs" / "train" / "c0" / "img_1.jpg"
    path.unlink()
    path.symlink_to(path)
    result = quiet(kaggle_tree)
    assert result.counts["bad"] == 1
    assert "it is no regular file, or a link to nowhere" in str(result.problems[0])


@pytest.mark.parametrize("mark", ["\t", "|", ";"])
def test_a_csv_with_another_separator_is_told(mark: str, kaggle_tree: Path) -> None:
    csv = kaggle_tree / "driver_imgs_list.csv"
    csv.write_text(csv.read_text().replace(",", mark))
    with pytest.raises(DistractedError, match="The cells seem to be separated by (tabs|bars|semicolons)"):
        quiet(kaggle_tree)


def test_a_csv_that_is_a_folder_or_a_link_to_nowhere_is_called_so(kaggle_tree: Path) -> None:
    csv = kaggle_tree / "driver_imgs_list.csv"
    csv.unlink()
    csv.mkdir()
    with pytest.raises(DistractedError, match=r"driver_imgs_list\.csv is a folder, so nobody knows"):
        quiet(kaggle_tree)
    csv.rmdir()
    csv.symlink_to("none")
    with pytest.raises(DistractedError, match=r"driver_imgs_list\.csv is a link to nowhere, so nobody knows"):
        quiet(kaggle_tree)


def test_a_download_that_has_not_finished_is_told(tmp_path: Path) -> None:
    (tmp_path / "state-farm.zip.crdownload").write_bytes(b"PK")
    with pytest.raises(DistractedError, match=r"state-farm\.zip\.crdownload there is a download that has not finished"):
        quiet(tmp_path)


def test_the_demo_below_a_data_folder_is_not_taken_for_its_images(kaggle_tree: Path, tmp_path: Path) -> None:
    root = tmp_path / "outer"
    shutil.copytree(kaggle_tree, root / "demo")
    (root / "demo" / "settings.env").touch()
    assert not has_data(root)
    with pytest.raises(DistractedError, match="Download https"):
        quiet(root)


def test_numbers_in_names_count_as_numbers() -> None:
    assert sorted(["b10", "b9", "a", "b²", "10", "9"], key=natural) == ["9", "10", "a", "b9", "b10", "b²"]
