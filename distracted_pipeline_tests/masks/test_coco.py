"""Class maps in COCO's forms come back the same, by this reader and by COCO's own."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from distracted_pipeline.dataset import STATE_FARM
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.masks.coco import (
    categories_json,
    panoptic_pixels,
    read_panoptic,
    read_panoptic_png,
    run_lengths,
    segments,
)

masks = arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=19), elements=st.integers(0, 6))
maps = st.one_of(masks, masks.map(lambda mask: mask // 6), masks.map(np.zeros_like))


@settings(max_examples=60, deadline=None)
@given(maps)
def test_any_map_comes_back_from_its_segments_by_coco_s_own_reader(mask: np.ndarray) -> None:
    coco = pytest.importorskip("pycocotools.mask")
    again = np.zeros_like(mask)
    for segment in segments(mask):
        part = mask == segment["category_id"]
        encoded = run_lengths(part)
        assert encoded["counts"] == coco.encode(np.asfortranarray(part.astype(np.uint8)))["counts"].decode()
        again[coco.decode(encoded).astype(bool)] = segment["category_id"]
        assert coco.area(encoded) == segment["area"]
        assert coco.toBbox(encoded).tolist() == segment["bbox"]
    np.testing.assert_array_equal(again, mask)


@settings(max_examples=40, deadline=None)
@given(maps)
def test_any_map_comes_back_from_its_panoptic_picture(
    tmp_path_factory: pytest.TempPathFactory, mask: np.ndarray
) -> None:
    path = tmp_path_factory.getbasetemp() / "panoptic.png"
    Image.fromarray(panoptic_pixels(mask)).save(path)
    ids = {segment["id"]: segment["category_id"] for segment in segments(mask)}
    np.testing.assert_array_equal(read_panoptic_png(path, ids), mask)


def document(folder: Path, **changes: object) -> Path:
    """A foreign export: COCO's own ids, a category that the data set lacks, segment ids above 255."""
    (folder / "val").mkdir(parents=True)
    pixels = np.zeros((4, 6, 3), np.uint8)
    pixels[0], pixels[1] = (1, 2, 0), (7, 0, 1)
    Image.fromarray(pixels).save(folder / "val" / "a.png")
    parts = [{"id": 1 + 2 * 256, "category_id": 77}, {"id": 7 + 65536, "category_id": 200}]
    content = {
        "categories": [{"id": 77, "name": "cell phone"}, {"id": 200, "name": "rug-merged"}],
        "images": [{"id": 9, "file_name": "a.jpg", "height": 4, "width": 6}],
        "annotations": [{"image_id": 9, "file_name": "a.png", "segments_info": parts}],
        **changes,
    }
    (folder / "val.json").write_text(json.dumps(content))
    return folder / "val.json"


def test_a_foreign_export_is_matched_by_the_names_of_its_categories(tmp_path: Path) -> None:
    mask = read_panoptic(document(tmp_path / "coco"), STATE_FARM.categories).mask("a.jpg")
    assert mask[0].tolist() == [3] * 6
    assert not mask[1:].any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": []}, "is of image 9, which is not among its images"),
        ({"categories": [{"id": 1, "name": "person"}]}, "has a segment of category 77, which is not listed"),
        ({"categories": [{"id": 77, "name": "tree"}, {"id": 200, "name": "rug"}]}, "knows none of person"),
        ({"annotations": 3}, "is no COCO panoptic JSON"),
        (
            {"annotations": [{"image_id": 9, "file_name": "a.png", "segments_info": [{"id": 1}]}]},
            r"is no COCO panoptic JSON \(TypeError: a segment lacks its id or its category_id\)",
        ),
        (
            {"annotations": [{"id": 1, "image_id": 9, "category_id": 77, "file_name": "a.png", "bbox": []}]},
            r"is no COCO panoptic JSON \(KeyError: 'segments_info'\)",
        ),
        (
            {"annotations": [{"image_id": 9, "file_name": "../a.png", "segments_info": []}]},
            r"leads out of",
        ),
    ],
)
def test_a_json_that_does_not_fit_is_refused_by_name(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(DistractedError, match=message):
        read_panoptic(document(tmp_path / "coco", **changes), STATE_FARM.categories)


def test_a_picture_that_does_not_fit_is_refused_by_name(tmp_path: Path) -> None:
    listed = read_panoptic(document(tmp_path / "coco"), STATE_FARM.categories)
    with pytest.raises(DistractedError, match="has no such image"):
        listed.mask("b.jpg")
    png = tmp_path / "coco" / "val" / "a.png"
    with pytest.raises(DistractedError, match="holds the segment 513, which its JSON does not list"):
        read_panoptic_png(png, {7 + 65536: 1})
    Image.new("L", (6, 4)).save(png)
    with pytest.raises(DistractedError, match="its mode is L, not RGB"):
        listed.mask("a.jpg")
    png.unlink()
    with pytest.raises(DistractedError, match="cannot be read as a panoptic PNG"):
        listed.mask("a.jpg")


def test_categories_are_written_by_their_mask_ids() -> None:
    assert [(one["id"], one["name"]) for one in categories_json(STATE_FARM.categories)][:2] == [
        (1, "person"),
        (2, "bottle"),
    ]
