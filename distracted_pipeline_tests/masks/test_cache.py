"""The mask cache on disk: its columns, reading, fingerprints, damage, full disks."""

import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.files import write_json
from distracted_pipeline.images.ingest import ingest
from distracted_pipeline.images.manifest import read_manifest
from distracted_pipeline.masks import cache as cache_module
from distracted_pipeline.masks import fill, identity
from distracted_pipeline.masks.cache import fraction_maps, open_cache
from distracted_pipeline.masks.fill import fill_missing, fill_subject
from distracted_pipeline.options import RunOptions
from distracted_pipeline.settings import Settings
from distracted_pipeline_tests.damage import DAMAGES, damage
from distracted_pipeline_tests.masks.conftest import QUIET, Bright, bright_cache, first_path, quiet


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


def test_reading_by_image_streaming_areas_and_fractions_agree(ingested: Settings) -> None:
    fill_missing(ingested, options=QUIET)
    cache = open_cache(ingested)
    assert cache.subjects_done() == sorted(ingested.subjects())
    streamed = {img: mask for subject in cache.subjects_done() for img, mask in cache.masks(subject)}
    imgs = [row["img"] for row in read_manifest(ingested).to_pylist()][::-2]
    assert set(streamed) >= set(imgs)
    maps, pixels = fraction_maps(ingested, imgs), cache.areas(imgs)
    assert maps.shape == (len(imgs), 7, 60, 80)
    assert maps.dtype == np.float16
    for img, cells, counts in zip(imgs, maps, pixels, strict=True):
        np.testing.assert_array_equal(cache.mask(img), streamed[img])
        np.testing.assert_array_equal(counts, np.bincount(streamed[img].reshape(-1), minlength=7))
        np.testing.assert_allclose(cells.mean((1, 2), dtype=np.float64), counts / counts.sum(), atol=1e-3)
    assert len(np.unique(pixels.argmax(1))) > 1


def test_streaming_all_masks_keeps_none_of_their_shards_in_memory(frames: Settings) -> None:
    fill_subject(frames, "p002", segmenter=Bright(), options=QUIET)
    cache = bright_cache(frames)
    cache_module._cached_shard.cache_clear()
    assert len(list(cache.masks("p002"))) == 20
    assert cache_module._cached_shard.cache_info().currsize == 0
    cache.mask("img_1.jpg")
    assert cache_module._cached_shard.cache_info().currsize == 1


def test_image_without_mask_is_named_with_the_remedy(ingested: Settings) -> None:
    with pytest.raises(DistractedError, match=r"2 of 2 images.*img_1.jpg.*--select masks"):
        fraction_maps(ingested, ["img_1.jpg", "img_2.jpg"])


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


def test_fingerprints_never_share_a_folder(ingested: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    fill_subject(ingested, "test-000", options=QUIET)
    before = open_cache(ingested).root
    monkeypatch.setattr(identity, "CODE_VERSION", "2")
    assert open_cache(ingested).root != before
    assert open_cache(ingested).imgs("test-000") == []
    assert json.loads((before / "about.json").read_text())["segmenter"] == ingested.segmenter


@pytest.fixture
def three_shards(frames: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A driver whose 20 masks lie in shards of 8, 8 and 4."""
    monkeypatch.setattr(fill, "SHARD_IMAGES", 8)
    fill_subject(frames, "p002", options=QUIET, segmenter=Bright())
    return frames


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize(("name", "made"), [("index.json", 0), ("part-00001.parquet", 8), ("../about.json", 0)])
def test_what_is_damaged_is_made_again_and_no_other_mask(
    name: str, made: int, how: str, three_shards: Settings
) -> None:
    cache = bright_cache(three_shards)
    before = {img: mask.tobytes() for img, mask in cache.masks("p002")}
    content, about = cache.content(["p002"]), cache.about()
    damage(cache.folder("p002") / name, how)
    said: list[str] = []
    options = RunOptions(log=said.append)
    result = fill_subject(three_shards, "p002", options, segmenter=Bright())
    assert (result.done, result.index.images if result.index else 0) == (made, 20)
    assert {img: mask.tobytes() for img, mask in cache.masks("p002")} == before
    assert (cache.content(["p002"]), cache.about()) == (content, about)
    assert any("is damaged" in line for line in said) == (made > 0 and how != "deleted")
    assert fill_subject(three_shards, "p002", options, segmenter=Bright()).done == 0


def test_a_damaged_shard_is_named_to_whoever_reads_it(three_shards: Settings) -> None:
    cache = bright_cache(three_shards)
    img = cache.imgs("p002")[0]
    damage(cache.shards("p002")[0], "flipped")
    with pytest.raises(DistractedError, match=r"part-00000.parquet cannot be read.*--select masks"):
        cache.mask(img)


def test_content_stays_while_nothing_changes_and_follows_what_is_held(frames: Settings) -> None:
    cache, subjects = bright_cache(frames), ["p002", "p012"]
    nothing = cache.content(subjects)
    fill_subject(frames, "p002", QUIET, segmenter=Bright())
    some = cache.content(subjects)
    fill_subject(frames, "p012", QUIET, segmenter=Bright())
    everything = cache.content(subjects)
    assert len({nothing, some, everything}) == 3
    assert cache.content(["p002"]) != everything
    fill_missing(frames, subjects, QUIET, segmenter=Bright())
    assert bright_cache(frames).content(subjects) == everything  # nothing was missing
    for shard in cache.shards("p002"):
        shard.unlink()
    fill_subject(frames, "p002", QUIET, segmenter=Bright())
    assert cache.content(subjects) == everything  # the same masks once more
    _, path = first_path(frames, "p002")
    Image.new("RGB", (64, 48), "white").save(path)
    ingest(frames, log=quiet)
    fill_subject(frames, "p002", QUIET, segmenter=Bright())
    assert cache.content(subjects) != everything


def test_content_is_another_where_an_image_has_no_mask_or_the_precision_is_another(frames: Settings) -> None:
    fill_subject(frames, "p002", QUIET, segmenter=Bright())
    cache = bright_cache(frames)
    before = cache.content(["p002"])
    img, path = first_path(frames, "p002")
    shutil.rmtree(cache.folder("p002"))
    path.write_bytes(b"")
    assert img in fill_subject(frames, "p002", QUIET, segmenter=Bright()).failed
    without = cache.content(["p002"])
    os.utime(path, ns=(1, 1))  # tried again, in vain
    fill_subject(frames, "p002", QUIET, segmenter=Bright())
    assert before != without == cache.content(["p002"])
    write_json(cache.root / "about.json", cache.about() | {"precision": "bf16"})
    assert cache.content(["p002"]) != without
