"""Every mask of the cache as files for other tools: NPZ and PNG of ids, COCO panoptic, COCO run lengths.

Belongs here: folders and names. A file appears whole or not at all, a JSON is written last, and what a killed export
left is kept (`export_folders`). One mask is held at a time. Taking masks in is `exchange`.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.files import atomic_path
from distracted_pipeline.fingerprints import fingerprint
from distracted_pipeline.masks.cache import MaskCache, open_cache
from distracted_pipeline.masks.coco import categories_json, extent, panoptic_pixels, parts, run_lengths, segments
from distracted_pipeline.masks.croissant import (
    CROISSANT,
    Json,
    file_object,
    file_set,
    mask_ids,
    pictures,
    write_croissant,
)
from distracted_pipeline.masks.export_folders import begin
from distracted_pipeline.masks.shards import REMEDY
from distracted_pipeline.progress import Log
from distracted_pipeline.settings import Settings

PANOPTIC = "panoptic"
"""Name of the JSON and of the folder of PNGs beside it, as COCO has them."""

_IDS = "category ids, 0 for none"


def export_npz(settings: Settings, folder: Path, log: Log = print) -> int:
    """Write every cached mask as the original project's `<img>.npz`, with category ids (uint8) in it; return how many.

    Raises:
        DistractedError: There are no masks, or the disk refuses.
    """

    def write(path: Path, mask: np.ndarray) -> None:
        with atomic_path(path) as temporary, temporary.open("wb") as handle:
            np.savez_compressed(handle, data=mask)

    count = _files(_cache(settings), folder, "npz", write, log)
    files = file_set("masks", "*.npz", "application/octet-stream", f"NumPy archives <img>.npz: {_IDS}, in `data`.")
    _describe(settings, folder / CROISSANT, [files])
    return count


def export_png(settings: Settings, folder: Path, log: Log = print) -> int:
    """Write every cached mask as `<img>.png` of category ids, which `folder:` reads back; return how many.

    Raises:
        DistractedError: There are no masks, or the disk refuses.
    """
    count = _files(_cache(settings), folder, "png", save_png, log)
    files = file_set("masks", "*.png", "image/png", f"Grey pictures <img>.png: {_IDS}.")
    _describe(settings, folder / CROISSANT, [files], [pictures("masks", f"The mask: {_IDS}.", ".png")])
    return count


def export_panoptic(settings: Settings, folder: Path, log: Log = print) -> int:
    """Write every cached mask as COCO panoptic: `panoptic.json`, and PNGs in `panoptic/`; return how many.

    Raises:
        DistractedError: There are no masks, or the disk refuses.
    """
    number, cache, document = 0, _cache(settings), folder / f"{PANOPTIC}.json"
    begin(folder, contents("panoptic", cache), (document, *paths(cache, folder / PANOPTIC, "png")))
    with _document(settings, document) as (image, annotation):

        def write(img: str, mask: np.ndarray) -> None:
            nonlocal number
            number += 1
            path = folder / PANOPTIC / f"{img}.png"
            if not path.is_file():
                save_png(path, panoptic_pixels(mask))
            image(_image(number, img, mask))
            annotation({"image_id": number, "file_name": path.name, "segments_info": segments(mask)})

        count = each_mask(cache, write, folder, log)
    files = file_set("masks", f"{PANOPTIC}/*.png", "image/png", "COCO panoptic pictures: the segment's id in RGB.")
    listing = file_object(document, "application/json", "COCO panoptic annotations.")
    _describe(settings, folder / CROISSANT, [listing, files], [pictures("masks", files["description"], ".png")])
    return count


def export_instances(settings: Settings, path: Path, log: Log = print) -> int:
    """Write every cached mask into one COCO JSON of run lengths, a segment for each category; return how many.

    Raises:
        DistractedError: There are no masks, or the disk refuses.
    """
    number, segment, cache = 0, 0, _cache(settings)
    with _document(settings, path) as (image, annotation):

        def write(img: str, mask: np.ndarray) -> None:
            nonlocal number, segment
            number += 1
            image(_image(number, img, mask))
            for k, part in parts(mask):
                segment += 1
                shape = {"segmentation": run_lengths(part), **extent(part)}
                annotation({"id": segment, "image_id": number, "category_id": k, **shape})

        count = each_mask(cache, write, path, log)
    listing = file_object(path, "application/json", "COCO annotations: a run length for each category of an image.")
    _describe(settings, path.with_name(f"{path.stem}.{CROISSANT}"), [listing])
    return count


def _cache(settings: Settings) -> MaskCache:
    cache = open_cache(settings)
    if not cache.subjects_done():
        raise DistractedError(f"no masks in {cache.root}. Make them with: {REMEDY}")
    return cache


def each_mask(cache: MaskCache, write: Callable[[str, np.ndarray], None], where: Path, log: Log) -> int:
    """Hand image and mask of everything in a cache to `write`, one at a time; return how many there were.

    Frames that could not be masked are told of, for the count alone does not show that they lack.
    """
    count = 0
    lacking: dict[str, str] = {}
    for subject in cache.subjects_done():
        index = cache.index(subject)
        lacking |= {img: item["reason"] for img, item in (index.quarantined if index else {}).items()}
        for img, mask in cache.masks(subject):
            write(img, mask)
            count += 1
        log(f"{count:,} masks in {where}, up to {subject}")
    if lacking:
        img, why = next(iter(lacking.items()))
        log(f"without a mask, so left out: {len(lacking):,}, such as {img}: {why}")
    return count


def contents(what: str, cache: MaskCache) -> str:
    """Return a fingerprint of an export of all masks in some form."""
    return fingerprint(what, cache.content(cache.subjects_done()))


def paths(cache: MaskCache, folder: Path, suffix: str) -> Iterator[Path]:
    """Yield where the file of each mask goes."""
    for subject in cache.subjects_done():
        yield from (folder / f"{img}.{suffix}" for img in cache.imgs(subject))


def save_png(path: Path, pixels: np.ndarray) -> None:
    """Write a picture, whole or not at all."""
    from PIL import Image

    with atomic_path(path) as temporary:
        Image.fromarray(pixels).save(temporary, "PNG")


def _files(cache: MaskCache, folder: Path, suffix: str, save: Callable[[Path, np.ndarray], None], log: Log) -> int:
    begin(folder, contents(suffix, cache), paths(cache, folder, suffix))

    def write(img: str, mask: np.ndarray) -> None:
        path = folder / f"{img}.{suffix}"
        if not path.is_file():
            save(path, mask)

    return each_mask(cache, write, folder, log)


def _describe(settings: Settings, path: Path, distribution: Sequence[Json], records: Sequence[Json] = ()) -> None:
    what = f"Masks of {settings.dataset.name}: one category of things is one segment of an image."
    write_croissant(settings, path, what, distribution, [mask_ids(settings.dataset.categories), *records])


def _image(number: int, img: str, mask: np.ndarray) -> dict[str, Any]:
    return {"id": number, "file_name": img, "height": mask.shape[0], "width": mask.shape[1]}


@contextmanager
def _document(settings: Settings, path: Path) -> Iterator[tuple[Callable[[Any], None], Callable[[Any], None]]]:
    """Yield what appends to the images and to the annotations of a JSON, neither of which is held in memory."""
    from tempfile import TemporaryFile

    with (
        atomic_path(path) as temporary,
        # Beside the file, not in /tmp: where there is room for one there is for the other, or that disk is named.
        TemporaryFile("w+", encoding="utf-8", dir=path.parent) as images,
        TemporaryFile("w+", encoding="utf-8", dir=path.parent) as annotations,
    ):
        yield _appender(images), _appender(annotations)
        with temporary.open("w", encoding="utf-8") as handle:
            info = {"description": f"Masks of {settings.dataset.name}"}
            categories = json.dumps(categories_json(settings.dataset.categories))
            handle.write(f'{{"info": {json.dumps(info)},\n"categories": {categories}')
            for key, part in (("images", images), ("annotations", annotations)):
                part.seek(0)
                handle.write(f',\n"{key}": [\n')
                handle.writelines(part)
                handle.write("]")
            handle.write("}\n")


def _appender(handle: TextIO) -> Callable[[Any], None]:
    begun = False

    def append(entry: Any) -> None:
        nonlocal begun
        handle.write((",\n" if begun else "") + json.dumps(entry))
        begun = True

    return append
