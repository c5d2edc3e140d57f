"""Every mask of the cache as files for other tools: PNGs of ids, COCO panoptic, COCO run lengths.

Belongs here: folders, names, what is finished. A file appears whole or not at all, and a JSON is written last. One mask
is held at a time. The original project's NPZ, and taking masks in, are `exchange`.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.files import atomic_path
from distracted_pipeline.masks.cache import REMEDY, MaskCache, open_cache
from distracted_pipeline.masks.coco import box, categories_json, panoptic_pixels, run_lengths, segments
from distracted_pipeline.progress import Log
from distracted_pipeline.settings import Settings

PANOPTIC = "panoptic"
"""Name of the JSON and of the folder of PNGs beside it, as COCO has them."""


def export_png(settings: Settings, folder: Path, log: Log = print) -> int:
    """Write every cached mask as `<img>.png` of category ids, which `folder:` reads back; return how many.

    Raises:
        DistractedError: There are no masks, or the disk refuses.
    """

    def write(img: str, mask: np.ndarray) -> None:
        _save(folder / f"{img}.png", mask)

    return _each(open_cache(settings), write, folder, log)


def export_panoptic(settings: Settings, folder: Path, log: Log = print) -> int:
    """Write every cached mask as COCO panoptic: `panoptic.json`, and PNGs in `panoptic/`; return how many.

    Raises:
        DistractedError: There are no masks, or the disk refuses.
    """
    number = 0
    with _document(settings, folder / f"{PANOPTIC}.json") as (image, annotation):

        def write(img: str, mask: np.ndarray) -> None:
            nonlocal number
            number += 1
            _save(folder / PANOPTIC / f"{img}.png", panoptic_pixels(mask))
            image(_image(number, img, mask))
            annotation({"image_id": number, "file_name": f"{img}.png", "segments_info": segments(mask)})

        return _each(open_cache(settings), write, folder, log)


def export_instances(settings: Settings, path: Path, log: Log = print) -> int:
    """Write every cached mask into one COCO JSON of run lengths, a segment for each category; return how many.

    Raises:
        DistractedError: There are no masks, or the disk refuses.
    """
    number = count = 0
    with _document(settings, path) as (image, annotation):

        def write(img: str, mask: np.ndarray) -> None:
            nonlocal number, count
            number += 1
            image(_image(number, img, mask))
            for k in np.unique(mask[mask > 0]).tolist():
                count, part = count + 1, mask == k
                shape = {"segmentation": run_lengths(part), "area": int(part.sum()), "bbox": box(part), "iscrowd": 0}
                annotation({"id": count, "image_id": number, "category_id": k, **shape})

        return _each(open_cache(settings), write, path, log)


def _each(cache: MaskCache, write: Callable[[str, np.ndarray], None], where: Path, log: Log) -> int:
    count = 0
    for subject in cache.subjects_done():
        for img, mask in cache.masks(subject):
            write(img, mask)
            count += 1
        log(f"{count:,} masks in {where}, up to {subject}")
    if not count:
        raise DistractedError(f"no masks in {cache.root}. Make them with: {REMEDY}")
    return count


def _image(number: int, img: str, mask: np.ndarray) -> dict[str, Any]:
    return {"id": number, "file_name": img, "height": mask.shape[0], "width": mask.shape[1]}


def _save(path: Path, pixels: np.ndarray) -> None:
    from PIL import Image

    with atomic_path(path) as temporary:
        Image.fromarray(pixels).save(temporary, "PNG")


@contextmanager
def _document(settings: Settings, path: Path) -> Iterator[tuple[Callable[[Any], None], Callable[[Any], None]]]:
    """Yield what appends to the images and to the annotations of a JSON, neither of which is held in memory."""
    from tempfile import TemporaryFile

    with TemporaryFile("w+", encoding="utf-8") as images, TemporaryFile("w+", encoding="utf-8") as annotations:
        yield _appender(images), _appender(annotations)
        with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as handle:
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
