"""The mask cache on disk: Parquet shards of run-length encoded masks, and how to read them.

Belongs here: layout, which image lies where, and a subject's index. One file of masks is `shards`; deciding what is
missing and computing it is `fill`.

    masks/<fingerprint>/about.json                      what the fingerprint stands for
    masks/<fingerprint>/subject=p002/part-00000.parquet masks of some images of one driver
    masks/<fingerprint>/subject=p002/index.json         written last: the subject is complete
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from distracted_pipeline.cache_folders import precision_of, read_about
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.files import read_json, write_json
from distracted_pipeline.fingerprints import fingerprint
from distracted_pipeline.masks.fractions import GRID, class_fractions
from distracted_pipeline.masks.identity import segmenter_fingerprint
from distracted_pipeline.masks.shards import (
    REMEDY,
    Mask,
    fixed,
    open_shard,
    read_columns,
    read_shard,
    shard_schema,
    to_table,
    write_table,
)
from distracted_pipeline.settings import Settings

INDEX = "index.json"


@dataclass(frozen=True)
class Index:
    """What a finished subject holds; small enough to decide and to report without opening a shard.

    Attributes:
        rows: Digest of the manifest rows that were asked for.
        images: Masks in the shards.
        shards: File name -> bytes.
        quarantined: Image -> reason and the file's size and time of change when it failed.
        empty: Images without any category.
        present: Category id -> images that hold it.
        pixels: Category id -> its pixels, over all images; 0 is none.
    """

    rows: str
    images: int
    shards: dict[str, int]
    quarantined: dict[str, dict[str, Any]]
    empty: int
    present: list[int]
    pixels: list[int]

    def is_sound(self) -> bool:
        """Tell whether everything is of the kind that it should be: the file may be of an earlier version, unsealed."""
        numbers = [self.images, self.empty]
        for listed in (self.present, self.pixels):
            numbers += listed if isinstance(listed, list) else [None]
        named = isinstance(self.shards, dict) and isinstance(self.quarantined, dict)
        return named and isinstance(self.rows, str) and all(isinstance(number, int) for number in numbers)


class MaskCache:
    """The masks of one segmenter. Reading needs no lock: shards appear whole.

    Args:
        root: `masks/<fingerprint>`.
        fingerprint: Of the segmenter.
        categories: How many the data set has; ids in masks go from 0 (none) to this.
    """

    def __init__(self, root: Path, fingerprint: str, categories: int) -> None:
        self.root = root
        self.fingerprint = fingerprint
        self.categories = categories
        self.schema = shard_schema(categories)
        self._rows: dict[str, tuple[Path, int]] = {}
        self._seen: frozenset[tuple[Path, int]] = frozenset()

    def folder(self, subject: str) -> Path:
        """Return the folder of one driver or shard of unlabelled images."""
        return self.root / f"subject={subject}"

    def subjects_done(self) -> list[str]:
        """Return the subjects that were finished, sorted."""
        return sorted(path.parent.name.removeprefix("subject=") for path in self.root.glob(f"subject=*/{INDEX}"))

    def shards(self, subject: str) -> list[Path]:
        """Return the shards of a subject, finished or not, in the order in which they were written."""
        return sorted(self.folder(subject).glob("part-*.parquet"))

    def imgs(self, subject: str) -> list[str]:
        """Return the images of a subject that have a mask."""
        return [img for shard in self.shards(subject) for img in _imgs(shard, self.categories)]

    def sources(self, shard: Path) -> dict[str, str]:
        """Return image -> source of one shard."""
        table = read_columns(shard, self.categories, ["img", "source"])
        return dict(zip(table["img"].to_pylist(), table["source"].to_pylist(), strict=True))

    def read_shard(self, shard: Path) -> pa.Table:
        """Return the encoded masks of one shard in the columns of `shard_schema`."""
        return read_columns(shard, self.categories)

    def shard_areas(self, subject: str) -> np.ndarray:
        """Return the pixels of each category in each mask of a subject, int32 `[N, ids]`, in shard order."""
        tables = [read_columns(shard, self.categories, ["areas"]) for shard in self.shards(subject)]
        return np.concatenate([self._no_areas(0), *(fixed(table["areas"]) for table in tables)])

    def index(self, subject: str) -> Index | None:
        """Return what a finished subject holds; None where it is not finished."""
        try:
            found = Index(**(read_json(self.folder(subject) / INDEX) or {}))
        except TypeError:  # absent, damaged, or of another version: derived data, so derive it again
            return None
        return found if found.is_sound() else None

    def content(self, subjects: Iterable[str]) -> str:
        """Return a fingerprint of what is held of these subjects; it stays the same while nothing changes.

        From the indexes, no mask is opened: the same images, masked by the same segmenter in the same precision, have
        the same masks. How they are spread over shards changes nothing.
        """
        held = {subject: self._content_of(subject) for subject in subjects}
        return fingerprint(self.fingerprint, precision_of(self.root), held)

    def masks(self, subject: str) -> Iterator[tuple[str, np.ndarray]]:
        """Yield image and mask (uint8 `[H, W]`) of every image of a subject; one shard at a time is in memory."""
        for path in self.shards(subject):
            shard = read_shard(path, self.categories)  # not kept: whoever streams all masks would hold all, encoded
            for row, img in enumerate(shard.imgs):
                yield img, shard.mask(row)

    def mask(self, img: str) -> np.ndarray:
        """Return the mask of one image, uint8 `[H, W]`.

        Raises:
            DistractedError: It has none.
        """
        ((_, (path, row)),) = self._locate([img])
        return open_shard(path, self.categories).mask(row)

    def areas(self, imgs: Sequence[str]) -> np.ndarray:
        """Return the pixels of each category, int32 `[N, ids]`; id 0 is none.

        Raises:
            DistractedError: An image has no mask.
        """
        result = self._no_areas(len(imgs))
        for i, (path, row) in self._locate(imgs):
            result[i] = open_shard(path, self.categories).areas[row]
        return result

    def fractions(self, imgs: Sequence[str], grid: tuple[int, int]) -> np.ndarray:
        """Return the share of each category in each cell, float16 `[N, ids, *grid]`; id 0 is none.

        Raises:
            DistractedError: An image has no mask.
        """
        result = np.zeros((len(imgs), self.categories + 1, *grid), np.float16)
        for i, (path, row) in self._locate(imgs):
            shard = open_shard(path, self.categories)
            class_fractions(shard.mask(row), shard.areas[row], result[i])
        return result

    def write_shard(self, subject: str, masks: Sequence[Mask], description: dict[str, str]) -> Path:
        """Write a shard and return its path; it appears whole or not at all.

        Args:
            subject: Whose images they are; the caller holds the subject's lock.
            masks: At least one.
            description: Goes into the file's metadata.

        Raises:
            DistractedError: The disk is full or read-only.
        """
        last = max((int(path.stem.removeprefix("part-")) for path in self.shards(subject)), default=-1)
        path = self.folder(subject) / f"part-{last + 1:05d}.parquet"
        write_table(path, to_table(masks, self.categories, description))
        return path

    def write_index(self, subject: str, index: Index) -> None:
        """Write the index of a subject: from here on it counts as finished."""
        write_json(self.folder(subject) / INDEX, asdict(index))

    def about(self) -> dict[str, Any]:
        """Return what the fingerprint stands for, and the precision of the masks; empty before the first mask."""
        return read_about(self.root)

    def _content_of(self, subject: str) -> object:
        index = self.index(subject)
        return "" if index is None else [index.rows, sorted(index.quarantined), index.present, index.pixels]

    def _no_areas(self, images: int) -> np.ndarray:
        return np.zeros((images, self.categories + 1), np.int32)

    def _locate(self, imgs: Sequence[str]) -> Iterable[tuple[int, tuple[Path, int]]]:
        """Return position, shard and row of every image, shard by shard."""
        if any(img not in self._rows for img in imgs) or not all(
            path.is_file() for path in {self._rows[img][0] for img in imgs}
        ):
            self._refresh()
        missing = [img for img in imgs if img not in self._rows]
        if missing:
            raise DistractedError(
                f"{len(missing):,} of {len(imgs):,} images have no mask in {self.root}, e.g. {missing[0]}. "
                f"Make what is missing with: {REMEDY}"
            )
        return sorted(((i, self._rows[img]) for i, img in enumerate(imgs)), key=lambda item: item[1])

    def _refresh(self) -> None:
        shards = sorted(self.root.glob("subject=*/part-*.parquet"))
        seen = frozenset((path, path.stat().st_mtime_ns) for path in shards)
        if seen != self._seen:
            self._rows = {img: (path, row) for path in shards for row, img in enumerate(_imgs(path, self.categories))}
            self._seen = seen


def open_cache(settings: Settings) -> MaskCache:
    """Return the cache of the segmenter in force; it may be empty.

    Raises:
        DistractedError: The segmenter is not there, so its fingerprint is unknown.
    """
    return cache_of(settings, segmenter_fingerprint(settings))


def cache_of(settings: Settings, segmenter: str) -> MaskCache:
    """Return the cache of the segmenter with this fingerprint; it may be empty."""
    return MaskCache(settings.masks / segmenter, segmenter, len(settings.dataset.categories))


def fraction_maps(settings: Settings, imgs: Sequence[str], grid: tuple[int, int] = GRID) -> np.ndarray:
    """Return the share of each category in each cell of a grid laid over each image.

    Args:
        settings: Name the segmenter.
        imgs: Image names, in any order.
        grid: Rows and columns; cells may be larger or smaller than a pixel.

    Returns:
        float16 `[N, ids, *grid]`, each cell summing to 1 over the ids; 0 is none.

    Raises:
        DistractedError: An image has no mask.
    """
    return open_cache(settings).fractions(imgs, grid)


def rows_digest(rows: pa.Table) -> str:
    """Return a digest of which images (and which bytes) a subject consists of."""
    digest = hashlib.sha256()
    for img, sha256 in zip(rows["img"].to_pylist(), rows["sha256"].to_pylist(), strict=True):
        digest.update(f"{img}\0{sha256}\n".encode())
    return digest.hexdigest()


def _imgs(path: Path, categories: int) -> list[str]:
    return read_columns(path, categories, ["img"])["img"].to_pylist()
