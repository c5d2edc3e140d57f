"""Files of masks: their columns, full disks, damage, memory."""

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.images.manifest import read_manifest
from distracted_pipeline.masks import fill, shards
from distracted_pipeline.masks.fill import fill_missing, fill_subject
from distracted_pipeline.settings import Settings
from distracted_pipeline_tests.damage import damage
from distracted_pipeline_tests.masks.conftest import QUIET, Bright, bright_cache


def test_shards_hold_the_documented_columns(frames: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fill, "SHARD_IMAGES", 8)
    fill_subject(frames, "p002", options=QUIET, segmenter=Bright())
    cache = bright_cache(frames)
    assert [path.name for path in cache.shards("p002")] == [f"part-0000{i}.parquet" for i in range(3)]
    table = pq.read_table(cache.shards("p002")[0])
    assert table.schema.equals(cache.schema)
    assert table.num_rows == 8
    assert pq.ParquetFile(cache.shards("p002")[0]).metadata.row_group(0).column(0).compression == "ZSTD"
    for row in pa.concat_tables(map(cache.read_shard, cache.shards("p002"))).to_pylist():
        assert sum(row["runs"]) == sum(row["areas"]) == 64 * 48
        sha256 = hashlib.sha256((frames.data / of_row(frames, row["img"])["path"]).read_bytes()).hexdigest()
        assert sha256.startswith(row["source"])


def of_row(settings: Settings, img: str) -> dict[str, str]:
    return next(row for row in read_manifest(settings).to_pylist() if row["img"] == img)


def test_streaming_all_masks_keeps_none_of_their_shards_in_memory(frames: Settings) -> None:
    fill_subject(frames, "p002", segmenter=Bright(), options=QUIET)
    cache = bright_cache(frames)
    shards._cached_shard.cache_clear()
    assert len(list(cache.masks("p002"))) == 20
    assert shards._cached_shard.cache_info().currsize == 0
    cache.mask("img_1.jpg")
    assert shards._cached_shard.cache_info().currsize == 1


def stopped_by_the_disk(frames: Settings, reason: str) -> None:
    """Check that a fill ends with path and reason, leaves no temporary, and goes on once there is room."""
    results = fill_missing(frames, options=QUIET, segmenter=Bright())
    assert re.search(reason, results["p002"].error), results["p002"].error
    assert list(bright_cache(frames).folder("p002").iterdir()) == []


NEEDED = r"part-00000.parquet: %s \([\d,]+ bytes needed, %s available\)"


def test_full_disk_stops_before_the_write_with_path_and_bytes(
    frames: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(frames.data)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=7))
        patch.setattr(Path, "write_bytes", lambda *args: pytest.fail("written"))
        stopped_by_the_disk(frames, NEEDED % ("No space left on device", "7"))
        assert len(fill_missing(frames, options=QUIET, segmenter=Bright())) == 1  # the others would fare no better
    assert sum(result.done for result in fill_missing(frames, options=QUIET, segmenter=Bright()).values()) == 163


@pytest.mark.skipif(os.name == "nt", reason="needs resource limits")
def test_write_that_the_system_cuts_short_leaves_no_temporary(frames: Settings) -> None:
    import resource

    fill_subject(frames, "p012", options=QUIET, segmenter=Bright())  # so that about.json is there
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_500, before[1]))
    try:
        results = fill_missing(frames, ["p002"], options=QUIET, segmenter=Bright())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert re.search(NEEDED % ("File too large", r"[\d,]+"), results["p002"].error)
    assert list(bright_cache(frames).folder("p002").iterdir()) == []
    assert fill_subject(frames, "p002", options=QUIET, segmenter=Bright()).done == 20


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", folder], capture_output=True)
    if mount.returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.skipif(not shutil.which("mount"), reason="needs mount")
def test_really_full_and_really_read_only_disks(frames: Settings) -> None:
    with small_disk(frames.masks, "64k"):
        fill_subject(frames, "p012", options=QUIET, segmenter=Bright())
        (frames.masks / "filler").write_bytes(bytes(shutil.disk_usage(frames.masks).free))
        stopped_by_the_disk(frames, NEEDED % ("No space left on device", "[\\d,]+"))
        (frames.masks / "filler").unlink()
        subprocess.run(["mount", "-o", "remount,ro", frames.masks], check=True)
        results = fill_missing(frames, options=QUIET, segmenter=Bright())
        assert "Read-only file system" in results["p002"].error
        assert str(frames.masks) in results["p002"].error
        assert bright_cache(frames).subjects_done() == ["p012"]
        subprocess.run(["mount", "-o", "remount,rw", frames.masks], check=True)
        assert fill_subject(frames, "p002", options=QUIET, segmenter=Bright()).done == 20


def test_a_damaged_shard_is_named_to_whoever_reads_it(frames: Settings) -> None:
    fill_subject(frames, "p002", options=QUIET, segmenter=Bright())
    cache = bright_cache(frames)
    img = cache.imgs("p002")[0]
    damage(cache.shards("p002")[0], "flipped")
    with pytest.raises(DistractedError, match=r"part-00000.parquet cannot be read.*--select masks"):
        cache.mask(img)
