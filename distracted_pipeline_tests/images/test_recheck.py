"""An image that changed behind its size and time is read anew: on demand, and where a reader noted it."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from distracted_pipeline.images.ingest import ingest
from distracted_pipeline.images.manifest import data_fingerprint, read_manifest
from distracted_pipeline.images.recheck import NOTE_NAME, distrust, distrusted, trust_again
from distracted_pipeline.progress import Log
from distracted_pipeline.settings import Settings

PATH = "imgs/train/c0/img_1.jpg"


def silent(line: str) -> None:
    """Hear nothing."""


def hash_of(settings: Settings) -> str:
    return next(row["sha256"] for row in read_manifest(settings).to_pylist() if row["path"] == PATH)


def change_unseen(path: Path) -> None:
    """Change a pixel or two of a JPEG; its size and its times stay."""
    before = path.stat()
    raw = bytearray(path.read_bytes())
    place = raw.index(b"\xff\xda") + 40  # coded data, some bytes after the start of the scan
    raw[place] ^= 0x01
    path.write_bytes(raw)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


@pytest.fixture
def changed(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> tuple[Settings, str]:
    """A data root whose first image changed unseen after the ingest, and what its hash was.

    As on a file system that keeps no time of change of a file's status.
    """
    monkeypatch.setattr("distracted_pipeline.images.kaggle.stamp", lambda stat: f"{stat.st_size}:{stat.st_mtime_ns}")
    ingest(settings, log=silent)
    before = hash_of(settings)
    change_unseen(settings.data / PATH)
    return settings, before


def test_old_size_and_time_hide_no_change(settings: Settings) -> None:
    ingest(settings, log=silent)
    before = hash_of(settings)
    change_unseen(settings.data / PATH)
    assert ingest(settings, log=silent).counts["read"] == 1
    assert hash_of(settings) != before


def test_an_unseen_change_stays_unseen_by_an_ordinary_ingest(changed: tuple[Settings, str]) -> None:
    settings, before = changed
    assert ingest(settings, log=silent).counts["read"] == 0
    assert hash_of(settings) == before


def test_verify_reads_every_image_and_finds_an_unseen_change(changed: tuple[Settings, str]) -> None:
    settings, before = changed
    version = data_fingerprint(read_manifest(settings))
    result = ingest(settings, verify=True, log=silent)
    assert (result.counts["read"], result.counts["unchanged"]) == (163, 0)
    assert hash_of(settings) != before
    assert data_fingerprint(result.table) != version
    assert ingest(settings, log=silent).counts["read"] == 0, "what was verified is trusted again"


def test_a_note_makes_the_next_ingest_read_that_image_and_is_forgotten(changed: tuple[Settings, str]) -> None:
    settings, before = changed
    distrust(settings, [PATH])
    assert ingest(settings, log=silent).counts["read"] == 1
    assert hash_of(settings) != before
    assert not (settings.data / NOTE_NAME).exists()
    assert ingest(settings, log=silent).counts["read"] == 0


def test_verify_without_a_change_changes_nothing(settings: Settings) -> None:
    first = ingest(settings, log=silent)
    second = ingest(settings, verify=True, log=silent)
    assert second.table.equals(first.table)
    assert second.counts["read"] == 163


def test_a_note_about_an_image_that_is_gone_is_forgotten(settings: Settings) -> None:
    ingest(settings, log=silent)
    distrust(settings, ["imgs/train/c0/img_0.jpg"])
    assert ingest(settings, log=silent).counts["read"] == 0
    assert distrusted(settings) == set()


def test_a_note_survives_an_ingest_that_fails(changed: tuple[Settings, str], monkeypatch: pytest.MonkeyPatch) -> None:
    settings, _ = changed
    distrust(settings, [PATH])

    def fails(rows: object, source: object, root: object, doubted: object, log: Log) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("distracted_pipeline.images.ingest._look_into", fails)
    with pytest.raises(KeyboardInterrupt):
        ingest(settings, log=silent)
    assert distrusted(settings) == {PATH}


def test_notes_of_several_readers_at_once_are_all_kept(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: distrust(settings, [f"{n}.jpg"]), range(40)))
    assert distrusted(settings) == {f"{n}.jpg" for n in range(40)}
    trust_again(settings, [f"{n}.jpg" for n in range(39)])
    assert distrusted(settings) == {"39.jpg"}


@pytest.mark.parametrize("content", ["[", "", "{}"])
def test_with_a_damaged_note_every_image_is_read_anew(content: str, changed: tuple[Settings, str]) -> None:
    settings, before = changed
    (settings.data / NOTE_NAME).write_text(content)
    distrust(settings, ["imgs/train/c0/img_2.jpg"])
    assert ingest(settings, log=silent).counts["read"] == 163
    assert hash_of(settings) != before
    assert not (settings.data / NOTE_NAME).exists()
