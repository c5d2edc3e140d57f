"""Class maps as COCO writes them: panoptic PNGs with their JSON, and run lengths by category.

Belongs here: one map into COCO's form and back, and reading its JSON. A class map tells no two persons apart, so a
category is one segment of an image, in both forms; that keeps the way there and back exact. Folders are `exports`.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from distracted_pipeline.dataset import Category
from distracted_pipeline.errors import DistractedError, shown
from distracted_pipeline.images.names import composed
from distracted_pipeline.masks.labels import category_table
from distracted_pipeline.masks.pngs import opened_png

_AT_ONCE: Final = 2**20
"""Pixels of a picture whose segments are looked up at once; that takes forty times their bytes."""


def categories_json(categories: Sequence[Category]) -> list[dict[str, Any]]:
    """Return the JSON entries of categories: their mask ids, names and colours."""
    return [
        {"id": number, "name": category.name, "supercategory": category.name, "isthing": 1, "color": [*category.colour]}
        for number, category in enumerate(categories, start=1)
    ]


def segments(mask: np.ndarray) -> list[dict[str, Any]]:
    """Return a mask's `segments_info`: a segment for each category, whose id is the category's."""
    return [{"id": k, "category_id": k, **extent(part)} for k, part in parts(mask)]


def parts(mask: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the id of each category in a mask, with the pixels that are of it, boolean `[H, W]`."""
    for k in np.flatnonzero(np.bincount(mask.reshape(-1))).tolist():  # `np.unique` would sort every pixel
        if k:
            yield k, mask == k


def extent(part: np.ndarray) -> dict[str, Any]:
    """Return area and box (x, y, width, height) of the pixels of a boolean mask, which has some."""
    rows, columns = np.flatnonzero(part.any(1)), np.flatnonzero(part.any(0))
    box = [int(columns[0]), int(rows[0]), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1]
    return {"area": int(part.sum()), "bbox": box, "iscrowd": 0}


def panoptic_pixels(mask: np.ndarray) -> np.ndarray:
    """Return a mask as COCO's picture, uint8 RGB `[H, W, 3]`: the segment's id in red, green and blue."""
    return np.stack([mask, np.zeros_like(mask), np.zeros_like(mask)], 2)


def run_lengths(part: np.ndarray) -> dict[str, Any]:
    """Return a boolean mask as COCO's compressed run lengths, as `pycocotools.mask.encode` would."""
    flat = part.reshape(-1, order="F")
    ends = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    counts = np.diff(np.concatenate(([0], ends, [flat.size]))).tolist()
    if flat.size and flat[0]:
        counts.insert(0, 0)
    text = []
    for place, count in enumerate(counts):
        # From the third on, the difference to the last but one; then five bits a character, the sign in the last.
        value = count - counts[place - 2] if place > 2 else count
        more = True
        while more:
            bits, value = value & 0x1F, value >> 5
            more = value != (-1 if bits & 0x10 else 0)
            text.append(chr((bits | 0x20 if more else bits) + 48))
    return {"size": [*part.shape], "counts": "".join(text)}


@dataclass(frozen=True)
class Panoptic:
    """A COCO panoptic JSON that was read.

    Attributes:
        path: Of the JSON; its PNGs lie in the folder of the same name beside it.
        pngs: PNG of each image, by the image's name.
        ids: Segment id -> id in a class map (0: a category that the data set does not have), by image.
    """

    path: Path
    pngs: Mapping[str, str]
    ids: Mapping[str, Mapping[int, int]]

    def mask(self, name: str) -> np.ndarray:
        """Return the class map of one image, uint8 `[H, W]`.

        Raises:
            DistractedError: The image or its PNG is missing, it is no RGB picture, or holds a segment nobody lists.
        """
        if name not in self.pngs:
            raise DistractedError(f"no class map for {name}: {self.path} has no such image")
        return read_panoptic_png(self.path.with_suffix("") / self.pngs[name], self.ids[name])


def read_panoptic(path: Path, categories: Sequence[Category]) -> Panoptic:
    """Read a COCO panoptic JSON; its categories are matched by name.

    Raises:
        DistractedError: It is no such JSON, an annotation names an image or a category that is not listed, or none of
            its categories is the data set's.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"), object_hook=_slim)
        names = {int(one["id"]): str(one["name"]) for one in found["categories"]}
        images = {one["id"]: composed(Path(one["file_name"]).name) for one in found["images"]}
        listed = [
            (_hashable(one["image_id"]), str(one["file_name"]), _segments(one["segments_info"]))
            for one in found["annotations"]
        ]
    except FileNotFoundError as error:
        raise DistractedError(f"{path} does not exist. Name the JSON of a COCO panoptic export.") from error
    except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise DistractedError(
            f"{path} is no COCO panoptic JSON ({type(error).__name__}: {error}). It holds images, categories "
            "and annotations with segments_info; of COCO's own files it is panoptic_*.json."
        ) from error
    table, _ = category_table(dict(enumerate(names.values())), str(path), categories)
    known = dict(zip(names, table.tolist(), strict=True))
    pngs, ids = {}, {}
    for image, png, each in listed:
        if image not in images:
            raise DistractedError(
                f"{path}: the annotation of {shown(png)} is of image {shown(image)}, which is not among its images"
            )
        foreign = next((segment.category for segment in each if segment.category not in names), None)
        if foreign is not None:
            raise DistractedError(f"{path}: {shown(png)} has a segment of category {foreign}, which is not listed")
        if Path(png).name != png:
            raise DistractedError(f"{path}: the file name {shown(png)} leads out of {path.with_suffix('')}")
        pngs[images[image]] = png
        ids[images[image]] = {segment.id: known[segment.category] for segment in each}
    return Panoptic(path, pngs, ids)


class _Segment(NamedTuple):
    id: int
    category: int


def _slim(found: dict[str, Any]) -> Any:
    """Return a segment as the pair that is needed: as mappings with boxes, segments are most of what a JSON takes."""
    if "id" in found and "category_id" in found and "image_id" not in found:  # with that it is one of instances
        return _Segment(int(found["id"]), int(found["category_id"]))
    return found


def _segments(listed: Sequence[Any]) -> Sequence[_Segment]:
    if not all(isinstance(one, _Segment) for one in listed):
        raise TypeError("a segment lacks its id or its category_id")
    return listed


def _hashable(image: Any) -> Any:
    hash(image)  # raises TypeError for a list or a mapping
    return image


def read_panoptic_png(path: Path, ids: Mapping[int, int]) -> np.ndarray:
    """Return a panoptic PNG as a class map, uint8 `[H, W]`.

    Args:
        path: The PNG.
        ids: Segment id -> id in the map; 0 is none in both.

    Raises:
        DistractedError: Missing, damaged, not RGB, or it holds a segment that is not listed.
    """
    with opened_png(path, "a panoptic PNG") as image:
        if image.mode not in ("RGB", "RGBA"):
            raise DistractedError(f"{path} is no panoptic PNG: its mode is {image.mode}, not RGB")
        pixels = np.asarray(image.convert("RGB"))
    mask: np.ndarray = np.empty(pixels.shape[:2], np.uint8)
    rows = max(1, _AT_ONCE // max(1, mask.shape[1]))
    for top in range(0, len(mask), rows):
        part = pixels[top : top + rows].astype(np.uint32)
        found = (part[..., 0] | part[..., 1] << 8 | part[..., 2] << 16).ravel()
        starts = np.flatnonzero(
            np.diff(found, prepend=~found[:1])
        )  # runs, for sorting every pixel takes ten times as long
        values, places = np.unique(found[starts], return_inverse=True)
        unknown = [value for value in values.tolist() if value and value not in ids]
        if unknown:
            raise DistractedError(f"{path} holds the segment {unknown[0]}, which its JSON does not list")
        known = np.array([ids.get(value, 0) for value in values.tolist()], np.uint8)
        lengths = np.diff(starts, append=found.size)
        mask[top : top + rows] = np.repeat(known[places], lengths).reshape(mask[top : top + rows].shape)
    return mask
