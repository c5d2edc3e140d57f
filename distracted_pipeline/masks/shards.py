"""One shard of the mask cache: a Parquet file of run-length encoded masks.

Belongs here: its columns, writing it whole, reading it with every doubt about what it holds. Which shards there are,
and which image lies in which, is `cache`.
"""

import errno
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from distracted_pipeline.advice import materialize
from distracted_pipeline.checksums import CHECKSUM, UNSEALED, is_whole, seal
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.files import atomic_path
from distracted_pipeline.images.decode import MAX_PIXELS
from distracted_pipeline.masks.rle import decode
from distracted_pipeline.parquet import read_table

SOURCE_DIGITS = 16
REMEDY = materialize("masks")


def shard_schema(categories: int) -> pa.Schema:
    """Return the columns of a shard, for masks of so many categories."""
    return pa.schema(
        [
            ("img", pa.string()),
            ("source", pa.string()),  # first 16 hex digits of the image's SHA-256: another image, another mask
            ("height", pa.int32()),
            ("width", pa.int32()),
            ("runs", pa.list_(pa.int32())),
            ("values", pa.list_(pa.uint8())),
            ("areas", pa.list_(pa.int32(), categories + 1)),  # pixels of each id; 0 is none
        ]
    )


@dataclass(frozen=True)
class Mask:
    """One encoded mask on its way into a shard.

    Attributes:
        img: The image's name.
        source: See `shard_schema`.
        size: Height and width.
        runs: As `rle.encode` returns them.
        values: Likewise.
        areas: Likewise.
    """

    img: str
    source: str
    size: tuple[int, int]
    runs: np.ndarray
    values: np.ndarray
    areas: np.ndarray


class Shard:
    """The masks of one Parquet file in memory, encoded; about 1.5 KB a mask."""

    def __init__(self, table: pa.Table) -> None:
        table = table.combine_chunks()
        self.imgs: list[str] = table["img"].to_pylist()
        self.areas = fixed(table["areas"])
        self._sizes = np.stack([table["height"].to_numpy(), table["width"].to_numpy()], 1)
        self._runs, self._starts = _ragged(table["runs"])
        self._values, self._value_starts = _ragged(table["values"])

    def fits(self, categories: int) -> bool:
        """Tell whether every row's runs add up to its size, and ids are those of so many categories."""
        ends = np.concatenate([[0], np.cumsum(self._runs, dtype=np.int64)])
        pixels = ends[self._starts[1:]] - ends[self._starts[:-1]]
        claimed = self._sizes.astype(np.int64).prod(1)
        return (
            np.array_equal(self._starts, self._value_starts)
            and not (self._runs < 0).any()
            and not (self._sizes < 0).any()
            and bool((claimed <= MAX_PIXELS).all())
            and np.array_equal(pixels, claimed)
            and int(self._values.max(initial=0)) <= categories
        )

    def mask(self, row: int) -> np.ndarray:
        """Return the mask of one row, uint8 `[H, W]`."""
        part = slice(int(self._starts[row]), int(self._starts[row + 1]))
        height, width = self._sizes[row].tolist()
        return decode(self._runs[part], self._values[part], height, width)


def to_table(masks: Sequence[Mask], categories: int, description: dict[str, str]) -> pa.Table:
    """Return masks in the columns of a shard; `description` goes into the file's metadata."""
    schema = shard_schema(categories).with_metadata(description)
    columns = [
        [mask.img for mask in masks],
        [mask.source for mask in masks],
        [mask.size[0] for mask in masks],
        [mask.size[1] for mask in masks],
        [mask.runs for mask in masks],
        [mask.values for mask in masks],
        [mask.areas for mask in masks],
    ]
    return pa.Table.from_arrays([pa.array(*pair) for pair in zip(columns, schema.types, strict=True)], schema=schema)


def write_table(path: Path, table: pa.Table) -> None:
    """Write a shard's table atomically, zstd 3, sealed with a checksum.

    Raises:
        DistractedError: The disk is full (before anything is written, where it says so) or read-only.
    """
    sink = pa.BufferOutputStream()
    kept = {key.decode(): value for key, value in (table.schema.metadata or {}).items()}
    table = table.replace_schema_metadata({**kept, CHECKSUM: UNSEALED})
    pq.write_table(table, sink, compression="zstd", compression_level=3)
    data = sink.getvalue()
    with atomic_path(path) as temporary:
        free = shutil.disk_usage(path.parent).free
        try:
            if data.size > free:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            temporary.write_bytes(data)
            seal(temporary)
        except OSError as error:
            why = f"{error.strerror} ({data.size:,} bytes needed, {free:,} available)"
            raise OSError(error.errno, why) from error


def read_columns(path: Path, categories: int, columns: list[str] | None = None) -> pa.Table:
    """Return the table of a shard, or some of its columns, of the types that they should have and without empty cells.

    Raises:
        DistractedError: It is missing, damaged, or holds something else.
    """
    try:
        if not is_whole(path):
            raise OSError("it is not as it was written")
        table = read_table(path, columns)
        for field in shard_schema(categories):
            if columns is None or field.name in columns:
                _check_column(table, field)
        return table
    except (pa.ArrowException, OSError) as error:
        raise DistractedError(f"{path} cannot be read ({error}). Make its masks anew with: {REMEDY}") from error


def open_shard(path: Path, categories: int) -> Shard:
    """Return a shard, in memory from the last time where it has not changed since."""
    status = path.stat()
    return _cached_shard(path, categories, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=128)
def _cached_shard(path: Path, categories: int, size: int, changed: int) -> Shard:
    return read_shard(path, categories)


def read_shard(path: Path, categories: int) -> Shard:
    """Return a shard, and keep nothing of it.

    Raises:
        DistractedError: As `read_columns`, or its runs are no masks.
    """
    shard = Shard(read_columns(path, categories))
    if not shard.fits(categories):
        raise DistractedError(f"{path} holds runs that are no masks. Delete it and make its masks anew with: {REMEDY}")
    return shard


def _ragged(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """Return the values of a list column and where each row starts, `[rows + 1]`."""
    array = column.combine_chunks()
    offsets = array.offsets.to_numpy()
    return array.values.to_numpy(), offsets


def fixed(column: pa.ChunkedArray) -> np.ndarray:
    """Return a column of lists of one length, `[rows, length]`."""
    return column.combine_chunks().flatten().to_numpy().reshape(len(column), column.type.list_size)


def _check_column(table: pa.Table, field: pa.Field) -> None:
    """Raise where a column is not there once, of its type, without empty cells."""
    places = table.schema.get_all_field_indices(field.name)
    if len(places) != 1 or not table.schema.field(places[0]).type.equals(field.type):
        raise pa.ArrowInvalid(f"it has no column {field.name} of {field.type}")
    column = table.column(places[0])
    cells = pc.list_flatten(column) if pa.types.is_nested(field.type) else column
    if column.null_count or cells.null_count:
        raise pa.ArrowInvalid(f"its column {field.name} has empty cells")
