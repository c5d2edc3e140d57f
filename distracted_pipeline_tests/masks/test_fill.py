"""What is missing is made, once; what fails is set aside by name; what changed is made anew."""

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from distracted_pipeline import standing
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.images.ingest import ingest
from distracted_pipeline.images.manifest import of_subject, read_manifest
from distracted_pipeline.masks import batching, fill, source
from distracted_pipeline.masks.cache import open_cache
from distracted_pipeline.masks.fill import fill_missing, fill_subject
from distracted_pipeline.options import RunOptions
from distracted_pipeline.settings import Settings
from distracted_pipeline_tests.masks.conftest import (
    QUIET,
    Bright,
    bright_cache,
    first_path,
    quiet,
    save_tiny_mask2former,
)


def test_time_left_is_told_over_all_subjects_that_lack_masks(frames: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    fill_subject(frames, "p002", options=QUIET, segmenter=Bright())
    monkeypatch.setattr(fill, "Progress", partial(fill.Progress, interval=0.0))
    lines: list[str] = []
    fill_missing(frames, options=RunOptions(log=lines.append), segmenter=Bright())
    told = [line.split(" images")[0] for line in lines if "images of all subjects" in line]
    assert told[0] == "20/143"  # 8 drivers of 20 less the first, and 3 unlabelled ones
    assert told[-1] == "143/143"


def test_a_single_subject_is_told_of_in_its_own_lines_only(frames: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fill, "Progress", partial(fill.Progress, interval=0.0))
    lines: list[str] = []
    fill_missing(frames, ["p012"], RunOptions(log=lines.append), segmenter=Bright())
    assert lines[-1].startswith("p012: 20 masks made, 0 reused, 0 failed in ")
    assert not [line for line in lines if "of all subjects" in line]


def test_every_image_gets_its_own_mask_and_a_second_run_makes_none(frames: Settings) -> None:
    results = fill_missing(frames, options=QUIET, segmenter=Bright())
    assert {s: (r.done, r.reused, r.failed) for s, r in results.items()} == {
        **{s: (20, 0, {}) for s in ("p002", "p012", "p014", "p015", "p026", "p041", "p047", "p081")},
        "test-000": (3, 0, {}),
    }
    cache = bright_cache(frames)
    for row in read_manifest(frames).to_pylist():
        image = np.asarray(Image.open(frames.data / row["path"]).convert("RGB"))
        np.testing.assert_array_equal(cache.mask(row["img"]), (image.max(2) > 200) * 4)
    again = Bright()
    results = fill_missing(frames, options=QUIET, segmenter=again)
    assert again.batches == []
    assert all(result.done == 0 for result in results.values())
    assert sum(result.reused for result in results.values()) == 163


def test_nothing_missing_loads_no_model(ingested: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    fill_subject(ingested, "test-000", options=QUIET)

    def refuse(*args: object) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(source, "load_segmenter", refuse)
    assert fill_subject(ingested, "test-000", options=QUIET).reused == 3
    with pytest.raises(AssertionError, match="loaded"):
        fill_subject(ingested, "p002", options=QUIET)


def test_log_says_what_runs_where_and_what_it_cannot_see(ingested: Settings, tmp_path: Path) -> None:
    model = save_tiny_mask2former(tmp_path / "model", labels=("person", "car"))
    lines: list[str] = []
    fill_subject(
        replace(ingested, segmenter=str(model)), "test-000", options=RunOptions(device="cpu", log=lines.append)
    )
    assert lines[:2] == [
        f"loading the segmentation model {model}",
        f"masks by {model} on cpu, fp32; it does not know bottle, cell phone, cup, chair",
    ]
    assert lines[-1].startswith("test-000: 3 masks made, 0 reused, 0 failed in ")


def test_interrupted_run_keeps_finished_shards_and_repeats_none_of_them(
    frames: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fill, "SHARD_IMAGES", 8)
    monkeypatch.setattr(batching, "cores", lambda: 2)

    class Interrupted(Bright):
        def segment(self, images: Sequence[np.ndarray], names: Sequence[str]) -> list[np.ndarray]:
            if sum(self.batches) >= 16:
                raise KeyboardInterrupt
            return super().segment(images, names)

    with pytest.raises(KeyboardInterrupt):
        fill_subject(frames, "p002", options=RunOptions(batch_size=4, log=quiet), segmenter=Interrupted())
    cache = bright_cache(frames)
    kept = len(cache.imgs("p002"))
    assert kept >= 6  # of 16, at most two batches and two images a thread were still in flight
    assert cache.subjects_done() == []
    again = Bright()
    result = fill_subject(frames, "p002", options=RunOptions(batch_size=4, log=quiet), segmenter=again)
    assert (result.done, result.reused) == (20 - kept, kept)
    assert sum(again.batches) == 20 - kept
    assert len(set(cache.imgs("p002"))) == len(cache.imgs("p002")) == 20


def test_temporaries_of_a_killed_writer_are_swept(frames: Settings) -> None:
    folder = bright_cache(frames).folder("p002")
    folder.mkdir(parents=True)
    (folder / ".part-00000.parquet.1234.part").write_bytes(b"half")
    fill_subject(frames, "p002", options=QUIET, segmenter=Bright())
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
    result = fill_subject(frames, "p002", options=QUIET, segmenter=Bright())
    assert result.done == 15
    assert set(result.failed) == {row["img"] for row in rows[:5]}
    assert "SHA-256" in result.failed[rows[0]["img"]]
    assert "no such file" in result.failed[rows[4]["img"]]
    recorded = json.loads((bright_cache(frames).folder("p002") / "index.json").read_text())["quarantined"]
    assert {img: item["reason"] for img, item in recorded.items()} == result.failed


def test_an_image_that_changed_since_ingest_has_its_mask_after_the_next_run(frames: Settings) -> None:
    img, path = first_path(frames, "p002")
    status, data = path.stat(), bytearray(path.read_bytes())
    data[-3] ^= 1  # the last coded byte: the image still decodes
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    failed = fill_subject(frames, "p002", QUIET, segmenter=Bright()).failed
    assert list(failed) == [img]
    assert failed[img].endswith("The next run reads it anew; type: distracted run")
    ingest(frames, log=quiet)
    result = fill_subject(frames, "p002", QUIET, segmenter=Bright())
    assert (result.done, result.reused, result.failed) == (1, 19, {})


def test_undecodable_image_of_the_right_bytes_is_quarantined(frames: Settings) -> None:
    img, path = first_path(frames, "p002")
    path.write_bytes(b"GIF89a")
    manifest = read_manifest(frames)
    position = manifest["img"].to_pylist().index(img)
    hashes = manifest["sha256"].to_pylist()
    hashes[position] = hashlib.sha256(b"GIF89a").hexdigest()
    pq.write_table(manifest.set_column(manifest.schema.get_field_index("sha256"), "sha256", [hashes]), frames.manifest)
    result = fill_subject(frames, "p002", options=QUIET, segmenter=Bright())
    assert list(result.failed) == [img]
    assert "not a JPEG" in result.failed[img]


def test_quarantined_image_is_left_alone_until_its_file_changes(frames: Settings) -> None:
    img, path = first_path(frames, "p002")
    good = path.read_bytes()
    path.write_bytes(b"")
    assert list(fill_subject(frames, "p002", options=QUIET, segmenter=Bright()).failed) == [img]
    again = Bright()
    result = fill_subject(frames, "p002", options=QUIET, segmenter=again)
    assert again.batches == []
    assert list(result.failed) == [img]
    path.write_bytes(good)
    result = fill_subject(frames, "p002", options=QUIET, segmenter=again)
    assert again.batches == [1]
    assert (result.done, result.reused, result.failed) == (1, 19, {})


def test_replaced_and_removed_images_lose_their_old_masks(frames: Settings) -> None:
    fill_missing(frames, options=QUIET, segmenter=Bright())
    rows = of_subject(read_manifest(frames), "p002").to_pylist()
    Image.new("RGB", (64, 48), "white").save(frames.data / rows[0]["path"])
    (frames.data / rows[1]["path"]).unlink()
    lines = frames.csv.read_text().splitlines(keepends=True)
    frames.csv.write_text("".join(line for line in lines if not line.rstrip().endswith(f",{rows[1]['img']}")))
    ingest(frames, log=quiet)
    again = Bright()
    results = fill_missing(frames, options=QUIET, segmenter=again)
    assert again.batches == [1]
    assert (results["p002"].done, results["p002"].reused) == (1, 18)
    cache = bright_cache(frames)
    assert (cache.mask(rows[0]["img"]) == 4).all()
    assert rows[1]["img"] not in cache.imgs("p002")


def test_images_that_ingest_found_bad_are_not_asked_for(kaggle_tree: Path) -> None:
    frames = Settings(data=kaggle_tree)
    next((kaggle_tree / "imgs" / "train" / "c0").iterdir()).write_bytes(b"")
    ingest(frames, log=quiet)
    results = fill_missing(frames, options=QUIET, segmenter=Bright())
    assert sum(result.done for result in results.values()) == 162
    assert all(not result.failed for result in results.values())


def test_a_subject_that_fails_does_not_stop_the_others(frames: Settings) -> None:
    class Moody(Bright):
        def segment(self, images: Sequence[np.ndarray], names: Sequence[str]) -> list[np.ndarray]:
            if "img_1.jpg" in names:
                raise MemoryError("out of memory")
            return super().segment(images, names)

    filled: list[str] = []
    results = fill_missing(
        frames, options=QUIET, segmenter=Moody(), on_filled=lambda subject, result: filled.append(subject)
    )
    errors = {subject: result.error for subject, result in results.items() if result.error}
    assert list(errors) == ["p002"]
    assert "not even one image at a time fits" in errors["p002"]
    assert filled == [subject for subject in results if subject != "p002"]
    assert "p002" not in bright_cache(frames).subjects_done()


def test_a_data_root_that_goes_away_ends_the_masks_of_all_subjects(frames: Settings, tmp_path: Path) -> None:
    said: list[str] = []
    standing.remember(frames.data)

    class Unplugged(Bright):
        def segment(self, images: Sequence[np.ndarray], names: Sequence[str]) -> list[np.ndarray]:
            if frames.data.exists():
                frames.data.rename(tmp_path / "elsewhere")
            return super().segment(images, names)

    with pytest.raises(standing.GoneError):
        fill_missing(frames, options=RunOptions(log=said.append), segmenter=Unplugged())
    assert not frames.data.exists()
    assert not [line for line in said if "no mask for" in line]


def test_second_writer_waits_says_so_and_makes_nothing_twice(frames: Settings) -> None:
    class Slow(Bright):
        def segment(self, images: Sequence[np.ndarray], names: Sequence[str]) -> list[np.ndarray]:
            time.sleep(0.1)
            return super().segment(images, names)

    slow, second, lines = Slow(), Bright(), []
    by_two = RunOptions(batch_size=2, log=quiet)
    first = threading.Thread(target=fill_subject, args=(frames, "p002", by_two), kwargs={"segmenter": slow})
    first.start()
    while not slow.batches:
        time.sleep(0.01)
    result = fill_subject(frames, "p002", options=RunOptions(log=lines.append), segmenter=second)
    first.join()
    assert any("another process is making these masks; waiting" in line for line in lines)
    assert second.batches == []
    assert result.reused == 20
    assert len(bright_cache(frames).imgs("p002")) == 20


def test_unknown_subject_lists_the_known_ones(frames: Settings) -> None:
    with pytest.raises(DistractedError, match=r"'p999'.*p002, p012"):
        fill_subject(frames, "p999", options=QUIET, segmenter=Bright())


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


def test_finished_cache_of_full_size_is_recognised_by_index_and_file_sizes_alone(tmp_path: Path) -> None:
    """22,424 images of 26 drivers in tables without a mask; what it costs: benchmarks.bench_mask_cache."""
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
    cache = bright_cache(settings)
    from distracted_pipeline.masks.cache import Index, rows_digest

    for subject in sorted(set(subjects)):
        part = of_subject(manifest, subject)
        cache.folder(subject).mkdir(parents=True)
        shard = cache.folder(subject) / "part-00000.parquet"
        pq.write_table(pa.table({"nothing": [0]}), shard)
        sizes = {shard.name: shard.stat().st_size}
        cache.write_index(subject, Index(rows_digest(part), part.num_rows, sizes, {}, 0, [0] * 7, [0] * 7))
    results = fill_missing(settings, options=QUIET, segmenter=Bright())
    assert sum(result.reused for result in results.values()) == rows
