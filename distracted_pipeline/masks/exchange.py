"""Masks from files in, and old caches removed.

Belongs here: plain functions that the command line calls. Masks for other tools are `exports`.
"""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from distracted_pipeline.cache_folders import ABOUT, read_about
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.masks.cache import open_cache
from distracted_pipeline.masks.coco import read_panoptic
from distracted_pipeline.masks.fill import FillResult, fill_missing
from distracted_pipeline.masks.identity import panoptic_json
from distracted_pipeline.masks.label_maps import read_map
from distracted_pipeline.options import RunOptions
from distracted_pipeline.progress import Log
from distracted_pipeline.settings import FOLDER_PREFIX, Settings


@dataclass(frozen=True)
class OldCache:
    """The masks of a segmenter that is not in force.

    Attributes:
        path: Its folder.
        segmenter: What made it, where that is known.
        bytes: Its size.
    """

    path: Path
    segmenter: str
    bytes: int


def import_npz(settings: Settings, folder: Path, log: Log = print) -> dict[str, FillResult]:
    """Take the masks of a folder of `<img>.npz` files (the original project's layout) into a cache of their own.

    They stay apart from any model's masks; `DISTRACTED_SEGMENTER=folder:…` puts them in force.

    Returns:
        Subject -> what was taken; images without a file are in `failed`.

    Raises:
        DistractedError: There are no such files, or one is damaged or boolean (as the original project's own are, which
            lost the categories).
    """
    names = sorted(path.name for path in folder.glob("*.npz")) if folder.is_dir() else []
    if not names:
        raise DistractedError(f"{folder} holds no .npz file. Give the folder with the <img>.jpg.npz files.")
    for name in names:
        read_map(folder / name, len(settings.dataset.categories))
    return _take(settings, folder, log)


def import_panoptic(settings: Settings, folder: Path, log: Log = print) -> dict[str, FillResult]:
    """Take the masks of a COCO panoptic export (a JSON, PNGs in a folder of its name) into a cache of their own.

    Returns:
        As `import_npz`.

    Raises:
        DistractedError: There is no such export, or its JSON does not fit the data set.
    """
    found = panoptic_json(folder) if folder.is_dir() else None
    if found is None:
        raise DistractedError(f"{folder} holds no COCO panoptic export: a .json, and PNGs in a folder of its name.")
    read_panoptic(found, settings.dataset.categories)
    return _take(settings, folder, log)


def _take(settings: Settings, folder: Path, log: Log) -> dict[str, FillResult]:
    imported = replace(settings, segmenter=f"{FOLDER_PREFIX}{folder.resolve()}")
    results = fill_missing(imported, options=RunOptions(log=log))
    log(f"to use these masks, set DISTRACTED_SEGMENTER={imported.segmenter}")
    return results


def collect_garbage(settings: Settings, *, delete: bool = False) -> list[OldCache]:
    """Return the caches of segmenters that are not in force, and delete them if told to.

    Raises:
        DistractedError: The segmenter in force is not there, so nobody can say which caches are old.
    """
    current = open_cache(settings).root
    old = [
        OldCache(path, str(read_about(path).get("segmenter", "unknown")), _size(path))
        for path in sorted(settings.masks.glob("*/"))
        if path != current and (path / ABOUT).is_file()
    ]
    for cache in old if delete else []:
        shutil.rmtree(cache.path)
    return old


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
