"""Masks in and out of the cache as files, and old caches away.

Belongs here: other formats and housekeeping, as plain functions that the command line calls.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.files import atomic_path
from distracted_pipeline.masks.cache import ABOUT, open_cache
from distracted_pipeline.masks.fill import FillResult, fill_missing
from distracted_pipeline.masks.label_maps import read_map
from distracted_pipeline.settings import FOLDER_PREFIX, Settings

Log = Callable[[str], object]


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


def export_npz(settings: Settings, folder: Path, log: Log = print) -> int:
    """Write every cached mask as the seed's `<img>.npz`, but with category ids (uint8) in it; return how many.

    Raises:
        DistractedError: There are no masks, or the disk refuses.
    """
    cache = open_cache(settings)
    count = 0
    for subject in cache.subjects_done():
        for img, mask in cache.masks(subject):
            with atomic_path(folder / f"{img}.npz") as temporary, temporary.open("wb") as handle:
                np.savez_compressed(handle, data=mask)
            count += 1
        log(f"{count:,} masks in {folder}, up to {subject}")
    if not count:
        raise DistractedError(f"no masks in {cache.root}. Make them with: dagster asset materialize --select masks")
    return count


def import_npz(settings: Settings, folder: Path, log: Log = print) -> dict[str, FillResult]:
    """Take the masks of a folder of `<img>.npz` files (the seed's layout) into a cache of their own.

    They keep apart from any model's masks; `DISTRACTED_SEGMENTER=folder:…` puts them in force.

    Returns:
        Subject -> what was taken; images without a file are in `failed`.

    Raises:
        DistractedError: No such files, or one that is boolean (the seed's: its classes are lost) or damaged.
    """
    files = sorted(folder.glob("*.npz")) if folder.is_dir() else []
    if not files:
        raise DistractedError(f"{folder} holds no .npz file. Give the folder with the <img>.jpg.npz files.")
    for path in files:
        read_map(path)
    imported = replace(settings, segmenter=f"{FOLDER_PREFIX}{folder.resolve()}")
    results = fill_missing(imported, log=log)
    log(f"to use these masks, set DISTRACTED_SEGMENTER={imported.segmenter}")
    return results


def collect_garbage(settings: Settings, *, delete: bool = False) -> list[OldCache]:
    """Return the caches of segmenters that are not in force; delete them only if told so.

    Raises:
        DistractedError: The segmenter in force is not there, so nothing can be called old.
    """
    current = open_cache(settings).root
    old = [
        OldCache(path, _segmenter(path), sum(file.stat().st_size for file in path.rglob("*") if file.is_file()))
        for path in sorted(settings.masks.glob("*/"))
        if path != current and (path / ABOUT).is_file()
    ]
    for cache in old if delete else []:
        shutil.rmtree(cache.path)
    return old


def _segmenter(root: Path) -> str:
    return str(json.loads((root / ABOUT).read_text(encoding="utf-8")).get("segmenter", "unknown"))
