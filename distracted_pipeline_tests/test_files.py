"""Files appear whole or not at all; locks name what they protect."""

import multiprocessing
import os
from pathlib import Path

import pytest

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.files import (
    atomic_path,
    locked,
    reserve,
    sweep_dead,
    sweep_temporaries,
    write_json,
    write_text,
)


def test_a_failed_write_leaves_the_old_file_and_no_temporary(tmp_path: Path) -> None:
    target = tmp_path / "table.txt"
    write_text(target, "old")
    with pytest.raises(ValueError, match="boom"), atomic_path(target) as temporary:
        temporary.write_text("half of the n")
        raise ValueError("boom")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_nothing_is_visible_under_the_final_name_before_the_end(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "table.txt"
    with atomic_path(target) as temporary:
        temporary.write_text("new")
        assert not target.exists()
    assert target.read_text() == "new"


def test_a_disk_error_names_the_file_and_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(DistractedError, match=r"table\.txt.*No space left"), atomic_path(tmp_path / "table.txt"):
        raise OSError(28, "No space left on device")


def test_a_folder_in_the_place_of_a_file_is_to_be_moved_away(tmp_path: Path) -> None:
    (tmp_path / "table.txt").mkdir()
    with pytest.raises(DistractedError, match=r"table\.txt: Is a directory\. Move away what is in its place"):
        write_text(tmp_path / "table.txt", "new")


def test_a_file_in_the_place_of_a_folder_is_said(tmp_path: Path) -> None:
    (tmp_path / "masks").write_text("")
    with pytest.raises(DistractedError, match="cannot create"):
        write_json(tmp_path / "masks" / "index.json", {})


def test_sweeping_removes_temporaries_only(tmp_path: Path) -> None:
    (tmp_path / ".table.txt.4242.part").write_text("left by a killed writer")
    write_text(tmp_path / "table.txt", "whole")
    assert sweep_temporaries(tmp_path) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["table.txt"]


def test_what_a_writer_that_has_ended_left_is_swept_without_a_lock(tmp_path: Path) -> None:
    child = multiprocessing.get_context("spawn").Process(target=int)
    child.start()
    child.join(60)
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / f".table.txt.{child.pid}.part").write_text("left")
    with atomic_path(tmp_path / "deep" / "other.txt") as temporary:
        temporary.write_text("being written")
        assert sweep_dead(tmp_path) == 1
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["other.txt"]


@pytest.mark.skipif(os.name == "nt", reason="no limits there")
@pytest.mark.parametrize("allocates", [True, False], ids=["posix_fallocate", "plain writes"])
def test_a_sparse_file_gets_its_blocks(allocates: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not allocates:
        monkeypatch.delattr(os, "posix_fallocate", raising=False)
    path = tmp_path / "sparse"
    with path.open("wb") as handle:
        handle.write(b"head")
        handle.truncate(3_000_000)
    assert path.stat().st_blocks * 512 < 100_000
    reserve(path)
    assert path.stat().st_blocks * 512 >= 3_000_000
    assert path.read_bytes() == b"head".ljust(3_000_000, b"\0")


def test_a_full_disk_is_said_with_path_needed_and_free_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with (
        pytest.raises(DistractedError, match=r"taps\.npy: No space left .*\(5 bytes needed, [\d,]+ available\)"),
        atomic_path(tmp_path / "taps.npy") as temporary,
    ):
        temporary.write_bytes(b"12345")
        reserve(temporary)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_did_not_fit_is_said_with_the_room_there_was(tmp_path: Path) -> None:
    with (
        pytest.raises(DistractedError, match=r"a\.json: No space left on device \([\d,]+ bytes available\)"),
        atomic_path(tmp_path / "a.json") as temporary,
    ):
        temporary.write_bytes(b"half")
        raise OSError(28, "No space left on device")


def test_a_read_only_disk_is_one_sentence_though_it_refuses_the_removal_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "unlink", refuse)
    monkeypatch.setattr(Path, "write_text", refuse)
    with pytest.raises(DistractedError, match=r"cannot write .*table\.txt: Read-only file system"):
        write_text(tmp_path / "table.txt", "new")


def test_a_librarys_words_around_the_systems_are_left_out(tmp_path: Path) -> None:
    with (
        pytest.raises(DistractedError, match=r"a\.parquet: No space left on device \([\d,]+ bytes available\)\. Free"),
        atomic_path(tmp_path / "a.parquet"),
    ):
        raise OSError(28, "Error writing bytes to file. Detail: [errno 28] No space left on device")


def test_a_held_lock_is_reported_with_what_it_protects(tmp_path: Path) -> None:
    with (
        locked(tmp_path / "p002.lock", what="masks of p002"),
        pytest.raises(DistractedError, match=r"masks of p002.*p002\.lock"),
        locked(tmp_path / "p002.lock", what="masks of p002", timeout=0.01),
    ):
        pass


def _die_holding(path: Path) -> None:
    with locked(path, what="x"):
        os._exit(9)


def test_a_dead_process_holds_no_lock(tmp_path: Path) -> None:
    child = multiprocessing.get_context("spawn").Process(target=_die_holding, args=(tmp_path / "a.lock",))
    child.start()
    child.join(60)
    assert child.exitcode == 9
    with locked(tmp_path / "a.lock", what="x", timeout=1):
        pass


def test_a_lock_that_cannot_be_made_names_the_folder(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file, not a folder")
    with pytest.raises(DistractedError, match=r"cannot create .*data"), locked(tmp_path / "data" / "x.lock", what="x"):
        pass
