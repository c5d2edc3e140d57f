import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.images.ingest import ingest
from distracted_pipeline.images.manifest import of_subject, read_manifest
from distracted_pipeline.masks import batching, fill, identity, source
from distracted_pipeline.masks.cache import SCHEMA, MaskCache, areas, fraction_maps, open_cache
from distracted_pipeline.masks.fill import fill_missing, fill_subject
from distracted_pipeline.settings import Settings
from distracted_pipeline_tests.conftest import draw_frame, write_kaggle_tree
from distracted_pipeline_tests.masks.conftest import save_tiny_mask2former


def quiet(line: str) -> None:
    pass


class Bright:
    """The smallest segmenter: bright pixels are a cup. Counts its calls."""

    name = "bright"
    fingerprint = "0123456789ab"

    def __init__(self, most: int = 99) -> None:
        self.batches: list[int] = []
        self.most = most

    def segment(self, images: Sequence[np.ndarray], names: Sequence[str]) -> list[np.ndarray]:
        assert len({image.shape for image in images}) == 1
        if len(images) > self.most:
            raise MemoryError("out of memory")
        self.batches.append(len(images))
        return [((image.max(2) > 200) * 4).astype(np.uint8) for image in images]


@pytest.fixture
def frames(settings: Settings) -> Settings:
    """Settings over ingested frames."""
    ingest(settings, log=quiet)
    return settings


def cache_of(settings: Settings) -> MaskCache:
    return MaskCache(settings.masks / Bright.fingerprint, Bright.fingerprint)


def first_path(settings: Settings, subject: str) -> tuple[str, Path]:
    row = of_subject(read_manifest(settings), subject).slice(0, 1).to_pylist()[0]
    return row["img"], settings.data / row["path"]


def test_time_left_is_told_over_all_subjects_that_lack_masks(frames: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    fill_subject(frames, "p002", segmenter=Bright(), log=quiet)
    monkeypatch.setattr(fill, "Progress", partial(fill.Progress, interval=0.0))
    lines: list[str] = []
    fill_missing(frames, segmenter=Bright(), log=lines.append)
    told = [line.split(" images")[0] for line in lines if "images of all subjects" in line]
    assert told[0] == "20/143"  # 8 drivers of 20 less the first, and 3 unlabelled ones
    assert told[-1] == "143/143"


def test_every_image_gets_its_own_mask_and_a_second_run_makes_none(frames: Settings) -> None:
    results = fill_missing(frames, segmenter=Bright(), log=quiet)
    assert {s: (r.done, r.reused, r.failed) for s, r in results.items()} == {
        **{s: (20, 0, {}) for s in ("p002", "p012", "p014", "p015", "p026", "p041", "p047", "p081")},
        "test-000": (3, 0, {}),
    }
    cache = cache_of(frames)
    for row in read_manifest(frames).to_pylist():
        image = np.asarray(Image.open(frames.data / row["path"]).convert("RGB"))
        np.testing.assert_array_equal(cache.mask(row["img"]), (image.max(2) > 200) * 4)
    again = Bright()
    results = fill_missing(frames, segmenter=again, log=quiet)
    assert again.batches == []
    assert all(result.done == 0 for result in results.values())
    assert sum(result.reused for result in results.values()) == 163


def test_nothing_missing_loads_no_model(ingested: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    fill_subject(ingested, "test-000", log=quiet)

    def refuse(*args: object) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(source, "load_segmenter", refuse)
    assert fill_subject(ingested, "test-000", log=quiet).reused == 3
    with pytest.raises(AssertionError, match="loaded"):
        fill_subject(ingested, "p002", log=quiet)


def test_log_says_what_runs_where_and_what_it_cannot_see(ingested: Settings, tmp_path: Path) -> None:
    model = save_tiny_mask2former(tmp_path / "model", labels=("person", "car"))
    lines: list[str] = []
    fill_subject(replace(ingested, segmenter=str(model)), "test-000", device="cpu", log=lines.append)
    assert lines[0] == f"masks by {model} on cpu, fp32; it does not know bottle, cell phone, cup, chair"
    assert lines[-1].startswith("test-000: 3 masks made, 0 reused, 0 failed in ")


def test_shards_hold_the_documented_columns(frames: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fill, "SHARD_IMAGES", 8)
    fill_subject(frames, "p002", segmenter=Bright(), log=quiet)
    cache = cache_of(frames)
    assert [path.name for path in cache.shards("p002")] == [f"part-0000{i}.parquet" for i in range(3)]
    table = pq.read_table(cache.shards("p002")[0])
    assert table.schema.equals(SCHEMA)
    assert table.num_rows == 8
    assert pq.ParquetFile(cache.shards("p002")[0]).metadata.row_group(0).column(0).compression == "ZSTD"
    for row in cache.read_subject("p002").to_pylist():
        assert sum(row["runs"]) == sum(row["areas"]) == 64 * 48
        sha256 = hashlib.sha256((frames.data / of_row(frames, row["img"])["path"]).read_bytes()).hexdigest()
        assert sha256.startswith(row["source"])


def of_row(settings: Settings, img: str) -> dict[str, str]:
    return next(row for row in read_manifest(settings).to_pylist() if row["img"] == img)


def test_reading_by_image_streaming_areas_and_fractions_agree(ingested: Settings) -> None:
    fill_missing(ingested, log=quiet)
    cache = open_cache(ingested)
    assert cache.subjects_done() == sorted(ingested.subjects())
    streamed = {img: mask for subject in cache.subjects_done() for img, mask in cache.masks(subject)}
    imgs = [row["img"] for row in read_manifest(ingested).to_pylist()][::-2]
    assert set(streamed) >= set(imgs)
    maps, pixels = fraction_maps(ingested, imgs), areas(ingested, imgs)
    assert maps.shape == (len(imgs), 7, 60, 80)
    assert maps.dtype == np.float16
    for img, cells, counts in zip(imgs, maps, pixels, strict=True):
        np.testing.assert_array_equal(cache.mask(img), streamed[img])
        np.testing.assert_array_equal(counts, np.bincount(streamed[img].reshape(-1), minlength=7))
        np.testing.assert_allclose(cells.mean((1, 2), dtype=np.float64), counts / counts.sum(), atol=1e-3)
    assert len(np.unique(pixels.argmax(1))) > 1


def test_image_without_mask_is_named_with_the_remedy(ingested: Settings) -> None:
    with pytest.raises(DistractedError, match=r"2 of 2 images.*img_1.jpg.*--select masks"):
        fraction_maps(ingested, ["img_1.jpg", "img_2.jpg"])


def test_interrupted_run_keeps_finished_shards_and_repeats_none_of_them(
    frames: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fill, "SHARD_IMAGES", 8)
    monkeypatch.setattr(batching, "_cores", lambda: 2)

    class Interrupted(Bright):
        def segment(self, images: Sequence[np.ndarray], names: Sequence[str]) -> list[np.ndarray]:
            if sum(self.batches) >= 16:
                raise KeyboardInterrupt
            return super().segment(images, names)

    with pytest.raises(KeyboardInterrupt):
        fill_subject(frames, "p002", segmenter=Interrupted(), batch_size=4, log=quiet)
    cache = cache_of(frames)
    kept = len(cache.imgs("p002"))
    assert kept >= 6  # of 16, at most two batches and two images a thread were still in flight
    assert cache.subjects_done() == []
    again = Bright()
    result = fill_subject(frames, "p002", segmenter=again, batch_size=4, log=quiet)
    assert (result.done, result.reused) == (20 - kept, kept)
    assert sum(again.batches) == 20 - kept
    assert len(set(cache.imgs("p002"))) == len(cache.imgs("p002")) == 20


def test_temporaries_of_a_killed_writer_are_swept(frames: Settings) -> None:
    folder = cache_of(frames).folder("p002")
    folder.mkdir(parents=True)
    (folder / ".part-00000.parquet.1234.part").write_bytes(b"half")
    fill_subject(frames, "p002", segmenter=Bright(), log=quiet)
    assert sorted(path.name for path in folder.iterdir()) == ["index.json", "part-00000.parquet"]


def test_damage_since_ingest_is_quarantined_and_the_rest_completed(frames: Settings) -> None:
    rows = of_subject(read_manifest(frames), "p002").to_pylist()
    paths = [frames.data / row["path"] for row in rows]
    flipped = bytearray(paths[0].read_bytes())
    flipped[len(flipped) // 2] ^= 1
    paths[0].write_bytes(flipped)
    paths[1].write_bytes(paths[1].read_bytes()[:300])
    paths[2].write_bytes(b"")
    paths[3].write_bytes(b"<html>try again later</html>")
    paths[4].unlink()
    result = fill_subject(frames, "p002", segmenter=Bright(), log=quiet)
    assert result.done == 15
    assert set(result.failed) == {row["img"] for row in rows[:5]}
    assert "SHA-256" in result.failed[rows[0]["img"]]
    assert "no such file" in result.failed[rows[4]["img"]]
    recorded = json.loads((cache_of(frames).folder("p002") / "index.json").read_text())["quarantined"]
    assert {img: item["reason"] for img, item in recorded.items()} == result.failed


def test_undecodable_image_of_the_right_bytes_is_quarantined(frames: Settings) -> None:
    img, path = first_path(frames, "p002")
    path.write_bytes(b"GIF89a")
    manifest = read_manifest(frames)
    position = manifest["img"].to_pylist().index(img)
    hashes = manifest["sha256"].to_pylist()
    hashes[position] = hashlib.sha256(b"GIF89a").hexdigest()
    pq.write_table(manifest.set_column(manifest.schema.get_field_index("sha256"), "sha256", [hashes]), frames.manifest)
    result = fill_subject(frames, "p002", segmenter=Bright(), log=quiet)
    assert list(result.failed) == [img]
    assert "not a JPEG" in result.failed[img]


def test_quarantined_image_is_left_alone_until_its_file_changes(frames: Settings) -> None:
    img, path = first_path(frames, "p002")
    good = path.read_bytes()
    path.write_bytes(b"")
    assert list(fill_subject(frames, "p002", segmenter=Bright(), log=quiet).failed) == [img]
    again = Bright()
    result = fill_subject(frames, "p002", segmenter=again, log=quiet)
    assert again.batches == []
    assert list(result.failed) == [img]
    path.write_bytes(good)
    result = fill_subject(frames, "p002", segmenter=again, log=quiet)
    assert again.batches == [1]
    assert (result.done, result.reused, result.failed) == (1, 19, {})


def test_replaced_and_removed_images_lose_their_old_masks(frames: Settings) -> None:
    fill_missing(frames, segmenter=Bright(), log=quiet)
    rows = of_subject(read_manifest(frames), "p002").to_pylist()
    Image.new("RGB", (64, 48), "white").save(frames.data / rows[0]["path"])
    (frames.data / rows[1]["path"]).unlink()
    lines = frames.csv.read_text().splitlines(keepends=True)
    frames.csv.write_text("".join(line for line in lines if not line.rstrip().endswith(f",{rows[1]['img']}")))
    ingest(frames, log=quiet)
    again = Bright()
    results = fill_missing(frames, segmenter=again, log=quiet)
    assert again.batches == [1]
    assert (results["p002"].done, results["p002"].reused) == (1, 18)
    cache = cache_of(frames)
    assert (cache.mask(rows[0]["img"]) == 4).all()
    assert rows[1]["img"] not in cache.imgs("p002")


def test_images_that_ingest_found_bad_are_not_asked_for(kaggle_tree: Path) -> None:
    frames = Settings(data=kaggle_tree)
    next((kaggle_tree / "imgs" / "train" / "c0").iterdir()).write_bytes(b"")
    ingest(frames, log=quiet)
    results = fill_missing(frames, segmenter=Bright(), log=quiet)
    assert sum(result.done for result in results.values()) == 162
    assert all(not result.failed for result in results.values())


def test_sizes_are_never_mixed_in_a_batch_and_each_mask_has_its_image_s_size(tmp_path: Path) -> None:
    write_kaggle_tree(tmp_path, drivers=("p002",), frames=1, test_frames=0)
    for i, path in enumerate(sorted((tmp_path / "imgs" / "train").rglob("*.jpg"))):
        with Image.open(path) as image:
            resized = image.resize((64 + 2 * (i % 7), 48))
        resized.save(path)
    frames = Settings(data=tmp_path)
    ingest(frames, log=quiet)
    assert fill_subject(frames, "p002", segmenter=Bright(), batch_size=2, log=quiet).done == 10
    cache = cache_of(frames)
    for row in read_manifest(frames).to_pylist():
        assert cache.mask(row["img"]).shape == (row["height"], row["width"])


def test_out_of_memory_halves_the_batch_says_so_and_loses_nothing(frames: Settings) -> None:
    lines: list[str] = []
    tight = Bright(most=3)
    result = fill_subject(frames, "p002", segmenter=tight, batch_size=16, log=lines.append)
    assert result.done == 20
    assert sum(tight.batches) == 20
    assert max(tight.batches) == 2
    assert [line for line in lines if "out of memory" in line] == [
        "out of memory with 16 images at once; continuing with 8",
        "out of memory with 8 images at once; continuing with 4",
        "out of memory with 4 images at once; continuing with 2",
    ]


def test_image_that_never_fits_is_an_error_with_a_remedy(frames: Settings) -> None:
    with pytest.raises(DistractedError, match=r"one image does not fit.*DISTRACTED_SEGMENTER"):
        fill_subject(frames, "p002", segmenter=Bright(most=0), log=quiet)


def test_a_subject_that_fails_does_not_stop_the_others(frames: Settings) -> None:
    class Moody(Bright):
        def segment(self, images: Sequence[np.ndarray], names: Sequence[str]) -> list[np.ndarray]:
            if "img_1.jpg" in names:
                raise DistractedError("not this one")
            return super().segment(images, names)

    filled: list[str] = []
    results = fill_missing(
        frames, segmenter=Moody(), log=quiet, on_filled=lambda subject, result: filled.append(subject)
    )
    assert {subject: result.error for subject, result in results.items() if result.error} == {"p002": "not this one"}
    assert filled == [subject for subject in results if subject != "p002"]
    assert "p002" not in cache_of(frames).subjects_done()


def test_out_of_memory_on_a_gpu_is_recognised_and_frees_the_failed_batch_before_the_next(frames: Settings) -> None:
    held: list[weakref.ref[object]] = []

    class Activations:
        pass

    class Gpu(Bright):
        def segment(self, images: Sequence[np.ndarray], names: Sequence[str]) -> list[np.ndarray]:
            activations = Activations()  # a local of the failing call: an exception's traceback would keep it
            held.append(weakref.ref(activations))
            if len(images) > 4:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB")
            return super().segment(images, names)

    alive: list[bool] = []

    def log(line: str) -> None:
        if "out of memory" in line:
            alive.append(held[-1]() is not None)

    assert fill_subject(frames, "p002", segmenter=Gpu(), batch_size=16, log=log).done == 20
    assert alive == [False, False]


def test_finding_the_batch_size_may_run_out_of_memory_too(frames: Settings) -> None:
    class Small(Bright):
        def prepare(self, image: np.ndarray, name: str) -> np.ndarray:
            return image

        def forward(self, prepared: Sequence[np.ndarray]) -> list[np.ndarray]:
            return list(prepared)

        def finish(self, raw: np.ndarray, size: tuple[int, int]) -> np.ndarray:
            return raw

        def batch_size(self, prepared: np.ndarray) -> int:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    with pytest.raises(DistractedError, match=r"one image does not fit.*DISTRACTED_SEGMENTER"):
        fill_subject(frames, "p002", segmenter=Small(), log=quiet)


def test_time_is_told_by_stage(ingested: Settings) -> None:
    result = fill_subject(ingested, "p002", log=quiet)
    assert set(result.cpu) == {
        "read and hash", "decode", "preprocess", "model", "post-process", "encode", "write"
    }  # fmt: skip
    assert all(seconds > 0 for seconds in result.cpu.values())
    assert 0 < result.model_seconds < result.seconds
    assert fill_subject(ingested, "p002", log=quiet).cpu == {}


def stopped_by_the_disk(frames: Settings, reason: str) -> None:
    """Check that a fill ends with path and reason, leaves no temporary, and goes on once there is room."""
    results = fill_missing(frames, segmenter=Bright(), log=quiet)
    assert re.search(reason, results["p002"].error), results["p002"].error
    assert list(cache_of(frames).folder("p002").iterdir()) == []


NEEDED = r"part-00000.parquet: %s \([\d,]+ bytes needed, %s available\)"


def test_full_disk_stops_before_the_write_with_path_and_bytes(
    frames: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(frames.data)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=7))
        patch.setattr(Path, "write_bytes", lambda *args: pytest.fail("written"))
        stopped_by_the_disk(frames, NEEDED % ("No space left on device", "7"))
        assert len(fill_missing(frames, segmenter=Bright(), log=quiet)) == 1  # the others would fare no better
    assert sum(result.done for result in fill_missing(frames, segmenter=Bright(), log=quiet).values()) == 163


@pytest.mark.skipif(os.name == "nt", reason="needs resource limits")
def test_write_that_the_system_cuts_short_leaves_no_temporary(frames: Settings) -> None:
    import resource

    MaskCache.write_about(cache_of(frames), {})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_500, before[1]))
    try:
        results = fill_missing(frames, ["p002"], segmenter=Bright(), log=quiet)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert re.search(NEEDED % ("File too large", r"[\d,]+"), results["p002"].error)
    assert list(cache_of(frames).folder("p002").iterdir()) == []
    assert fill_subject(frames, "p002", segmenter=Bright(), log=quiet).done == 20


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
        fill_subject(frames, "p012", segmenter=Bright(), log=quiet)
        (frames.masks / "filler").write_bytes(bytes(shutil.disk_usage(frames.masks).free))
        stopped_by_the_disk(frames, NEEDED % ("No space left on device", "[\\d,]+"))
        (frames.masks / "filler").unlink()
        subprocess.run(["mount", "-o", "remount,ro", frames.masks], check=True)
        results = fill_missing(frames, segmenter=Bright(), log=quiet)
        assert "Read-only file system" in results["p002"].error
        assert str(frames.masks) in results["p002"].error
        assert cache_of(frames).subjects_done() == ["p012"]
        subprocess.run(["mount", "-o", "remount,rw", frames.masks], check=True)
        assert fill_subject(frames, "p002", segmenter=Bright(), log=quiet).done == 20


def test_other_colour_modes_and_turned_images_get_upright_masks(settings: Settings) -> None:
    folder = settings.data / "imgs" / "train"
    turned = Image.Exif()
    turned[0x0112] = 6
    draw_frame(0, 0, 0).convert("L").save(folder / "c0" / "img_1.jpg")
    draw_frame(0, 0, 0).convert("CMYK").save(folder / "c0" / "img_2.jpg")
    draw_frame(0, 1, 0).save(folder / "c1" / "img_3.jpg", exif=turned)
    Image.new("RGBA", (64, 48)).save(folder / "c1" / "img_4.jpg", "PNG")
    Image.new("L", (10_000, 10_000)).save(folder / "c2" / "img_5.jpg")
    ingest(settings, log=quiet)
    bad = {row["img"] for row in read_manifest(settings).to_pylist() if row["status"] != "ok"}
    assert bad == {"img_4.jpg", "img_5.jpg"}
    result = fill_subject(settings, "p002", segmenter=Bright(), log=quiet)
    assert (result.done, result.failed) == (18, {})
    cache = cache_of(settings)
    assert [cache.mask(f"img_{i}.jpg").shape for i in (1, 2, 3)] == [(48, 64), (48, 64), (64, 48)]


def test_bug_in_a_segmenter_is_not_hidden(frames: Settings) -> None:
    class Wrong(Bright):
        def segment(self, images: Sequence[np.ndarray], names: Sequence[str]) -> list[np.ndarray]:
            return [np.zeros((3, 3), np.uint8) for _ in images]

    with pytest.raises(ValueError, match="shape"):
        fill_missing(frames, segmenter=Wrong(), log=quiet)


def test_second_writer_waits_says_so_and_makes_nothing_twice(frames: Settings) -> None:
    class Slow(Bright):
        def segment(self, images: Sequence[np.ndarray], names: Sequence[str]) -> list[np.ndarray]:
            time.sleep(0.1)
            return super().segment(images, names)

    slow, second, lines = Slow(), Bright(), []
    first = threading.Thread(
        target=fill_subject, args=(frames, "p002"), kwargs={"segmenter": slow, "batch_size": 2, "log": quiet}
    )
    first.start()
    while not slow.batches:
        time.sleep(0.01)
    result = fill_subject(frames, "p002", segmenter=second, log=lines.append)
    first.join()
    assert any("another process is making these masks; waiting" in line for line in lines)
    assert second.batches == []
    assert result.reused == 20
    assert len(cache_of(frames).imgs("p002")) == 20


def test_unknown_subject_lists_the_known_ones(frames: Settings) -> None:
    with pytest.raises(DistractedError, match=r"'p999'.*p002, p012"):
        fill_subject(frames, "p999", segmenter=Bright(), log=quiet)


def test_fingerprints_never_share_a_folder(ingested: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    fill_subject(ingested, "test-000", log=quiet)
    before = open_cache(ingested).root
    monkeypatch.setattr(identity, "CODE_VERSION", "2")
    assert open_cache(ingested).root != before
    assert open_cache(ingested).imgs("test-000") == []
    assert json.loads((before / "about.json").read_text())["segmenter"] == ingested.segmenter


def test_damaged_shard_is_named_and_a_damaged_index_rebuilt(frames: Settings) -> None:
    fill_subject(frames, "p002", segmenter=Bright(), log=quiet)
    cache = cache_of(frames)
    (cache.folder("p002") / "index.json").write_text('{"images"')
    again = Bright()
    assert fill_subject(frames, "p002", segmenter=again, log=quiet).reused == 20
    assert again.batches == []
    shard = cache.shards("p002")[0]
    shard.write_bytes(shard.read_bytes()[:100])
    with pytest.raises(DistractedError, match=r"part-00000.parquet cannot be read.*Delete it"):
        fill_subject(frames, "p002", segmenter=again, log=quiet)
    shard.unlink()
    assert fill_subject(frames, "p002", segmenter=again, log=quiet).done == 20


def test_maps_in_a_folder_fill_the_cache_without_torch(frames: Settings) -> None:
    folder = frames.data / "maps"
    folder.mkdir()
    imgs = read_manifest(frames)["img"].to_pylist()
    for i, img in enumerate(imgs):
        Image.fromarray(np.full((48, 64), i % 7, np.uint8)).save(folder / f"{Path(img).stem}.png")
    (folder / f"{Path(imgs[0]).stem}.png").unlink()
    code = (
        "import sys; from pathlib import Path; from distracted_pipeline.settings import Settings;"
        "from distracted_pipeline.masks.fill import fill_missing;"
        f"results = fill_missing(Settings(data=Path({str(frames.data)!r}), segmenter='folder:maps'));"
        "assert 'torch' not in sys.modules;"
        "print(sum(r.done for r in results.values()), [img for r in results.values() for img in r.failed])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert f"162 ['{imgs[0]}']" in answer
    given = replace(frames, segmenter="folder:maps")
    assert (open_cache(given).mask(imgs[5]) == 5).all()


def test_finished_cache_of_full_size_is_recognised_in_well_under_two_seconds(tmp_path: Path) -> None:
    """22,424 images of 26 drivers, judged by index and file sizes."""
    settings = Settings(data=tmp_path)
    rows = 22_424
    subjects = sorted(f"p{i % 26:03d}" for i in range(rows))
    manifest = pa.table(
        {
            "img": [f"img_{i}.jpg" for i in range(rows)],
            "subject": subjects,
            "classname": ["c0"] * rows,
            "split": ["train"] * rows,
            "fold": pa.array([0] * rows, pa.int8()),
            "path": [f"imgs/img_{i}.jpg" for i in range(rows)],
            "bytes": pa.array([1] * rows, pa.int64()),
            "width": pa.array([640] * rows, pa.int32()),
            "height": pa.array([480] * rows, pa.int32()),
            "sha256": [hashlib.sha256(str(i).encode()).hexdigest() for i in range(rows)],
            "status": ["ok"] * rows,
        }
    )
    pq.write_table(manifest, settings.manifest)
    cache = cache_of(settings)
    from distracted_pipeline.masks.cache import Index, rows_digest

    for subject in sorted(set(subjects)):
        part = of_subject(manifest, subject)
        cache.folder(subject).mkdir(parents=True)
        (cache.folder(subject) / "part-00000.parquet").write_bytes(b"1234")
        cache.write_index(
            subject, Index(rows_digest(part), part.num_rows, {"part-00000.parquet": 4}, {}, 0, [0] * 7, [0] * 7)
        )
    started = time.monotonic()
    results = fill_missing(settings, segmenter=Bright(), log=quiet)
    assert time.monotonic() - started < 2
    assert sum(result.reused for result in results.values()) == rows
