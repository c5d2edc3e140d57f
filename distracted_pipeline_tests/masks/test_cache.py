"""The mask cache on disk: reading, fingerprints, damage."""

import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.files import write_json
from distracted_pipeline.images.ingest import ingest
from distracted_pipeline.images.manifest import read_manifest
from distracted_pipeline.masks import fill, identity
from distracted_pipeline.masks.cache import fraction_maps, open_cache
from distracted_pipeline.masks.fill import fill_missing, fill_subject
from distracted_pipeline.options import RunOptions
from distracted_pipeline.settings import Settings
from distracted_pipeline_tests.damage import DAMAGES, damage
from distracted_pipeline_tests.masks.conftest import QUIET, Bright, bright_cache, first_path, quiet


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


def test_image_without_mask_is_named_with_the_remedy(ingested: Settings) -> None:
    with pytest.raises(DistractedError, match=r"2 of 2 images.*img_1.jpg.*--select masks"):
        fraction_maps(ingested, ["img_1.jpg", "img_2.jpg"])


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
