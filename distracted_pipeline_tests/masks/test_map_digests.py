"""Folders of class maps: known by content, whatever the times of their files say."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.masks import map_digests
from distracted_pipeline.masks.map_digests import NOTE_NAME, maps_digest
from distracted_pipeline_tests.damage import DAMAGES, damage


@pytest.fixture
def maps(tmp_path: Path) -> Path:
    folder = tmp_path / "maps"
    folder.mkdir()
    for name in ("a.png", "b.jpg.npz", "readme.txt"):
        (folder / name).write_bytes(name.encode())
    return folder


def another_process() -> None:
    map_digests._known.clear()


def test_a_copy_with_new_times_is_the_same_and_an_edit_of_the_same_size_another(maps: Path, tmp_path: Path) -> None:
    note = tmp_path / NOTE_NAME
    before = maps_digest(maps, note)
    shutil.copytree(maps, tmp_path / "copy", copy_function=shutil.copyfile)
    os.utime(maps / "a.png", ns=(1, 1))
    assert maps_digest(maps, note) == maps_digest(tmp_path / "copy", note) == before
    times = (maps / "a.png").stat()
    (maps / "a.png").write_bytes(b"A.png")
    os.utime(maps / "a.png", ns=(times.st_atime_ns, times.st_mtime_ns))
    assert maps_digest(maps, note) != before


def test_names_count_and_other_files_do_not(maps: Path, tmp_path: Path) -> None:
    note = tmp_path / NOTE_NAME
    before = maps_digest(maps, note)
    (maps / "readme.txt").write_text("changed")
    assert maps_digest(maps, note) == before
    (maps / "a.png").rename(maps / "c.png")
    assert maps_digest(maps, note) != before


def test_only_what_has_changed_is_read_again_in_another_process_too(
    maps: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    note, read = tmp_path / NOTE_NAME, list[str]()
    real = Path.read_bytes

    def noting(path: Path) -> bytes:
        read.append(path.name)
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", noting)
    maps_digest(maps, note)
    assert read == ["a.png", "b.jpg.npz"]
    another_process()
    (maps / "a.png").write_bytes(b"other")
    maps_digest(maps, note)
    assert read == ["a.png", "b.jpg.npz", "a.png"]


@pytest.mark.skipif(sys.platform != "linux", reason="names that are no text exist on Linux alone")
def test_a_name_that_is_no_text_counts_as_any_other(maps: Path, tmp_path: Path) -> None:
    before = maps_digest(maps, tmp_path / NOTE_NAME)
    Path(os.fsdecode(bytes(maps) + b"/\xff.png")).touch()
    found = maps_digest(maps, tmp_path / NOTE_NAME)
    another_process()
    assert maps_digest(maps, tmp_path / NOTE_NAME) == found != before


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_note_is_written_anew(how: str, maps: Path, tmp_path: Path) -> None:
    before = maps_digest(maps, tmp_path / NOTE_NAME)
    damage(tmp_path / NOTE_NAME, how)
    another_process()
    assert maps_digest(maps, tmp_path / NOTE_NAME) == before


def test_a_map_that_cannot_be_read_is_named(maps: Path, tmp_path: Path) -> None:
    (maps / "a.png").unlink()
    (maps / "a.png").mkdir()
    with pytest.raises(DistractedError, match=r"the class map .*a\.png cannot be read \(Is a directory\)"):
        maps_digest(maps, tmp_path / NOTE_NAME)
