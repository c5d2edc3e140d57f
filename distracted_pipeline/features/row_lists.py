"""What lies beside a subject's taps: whose row is which, in which precision, and the digest of each tap.

`rows.parquet` is written after the taps that it lists. Hashing gigabytes takes a while, so `.checked.json` keeps which
taps had their digest, and their stamps then; without it they are hashed once more.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from distracted_pipeline.cache_folders import PRECISION
from distracted_pipeline.checksums import digests_in, file_digest, is_whole, stamp
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.files import read_json, write_json, write_parquet
from distracted_pipeline.parquet import read_notes, read_table
from distracted_pipeline.settings import Settings

ROWS: Final = "rows.parquet"
CHECKED: Final = ".checked.json"

_COLUMNS: Final = ["img", "sha256"]
_TAPS: Final = "taps"


def are_of(folder: Path, rows: pa.Table, precision: str) -> bool:
    """Tell whether a folder's taps are of these images, in any order, and in this precision.

    An earlier version noted no precision.
    """
    path = folder / ROWS
    if not is_whole(path):
        return False
    try:
        found = read_table(path)
    except (pa.ArrowException, OSError):  # an earlier version's, and damaged
        return False
    noted = (found.schema.metadata or {}).get(PRECISION.encode())
    images = rows.select(_COLUMNS).sort_by("img")
    return noted == precision.encode() and found.sort_by("img").equals(images, check_metadata=False)


def in_stored_order(folder: Path, rows: pa.Table) -> pa.Table:
    """Return the images in the order of the taps that are there, which are of the same images."""
    names = read_table(folder / ROWS, ["img"])["img"]
    return rows.take(pc.index_in(names, value_set=rows["img"].combine_chunks()))


def write(folder: Path, rows: pa.Table, precision: str, taps: Sequence[str]) -> None:
    """Write the list, with the digests of taps that have just been written and of those that were there."""
    digests = {**listed(folder), **{tap: file_digest(folder / f"{tap}.npy") for tap in taps}}
    write_parquet(folder / ROWS, rows.select(_COLUMNS), {PRECISION: precision, _TAPS: json.dumps(digests)})


def listed(folder: Path) -> Mapping[str, str]:
    """Return the digest of each tap; those that an earlier version wrote are not listed."""
    if not (folder / ROWS).is_file():
        return {}
    return digests_in(read_notes(folder / ROWS).get(_TAPS, "{}")) or {}


def is_there(folder: Path, tap: str, digest: str | None, rows: int) -> bool:
    """Tell whether a tap has its digest; of one that is not listed, only whether it can be read."""
    path = folder / f"{tap}.npy"
    try:
        if digest is None:
            return len(np.load(path, mmap_mode="r", allow_pickle=False)) == rows
        checked, now = read_json(folder / CHECKED) or {}, [*stamp(path), digest]
        if checked.get(tap) == now:
            return True
        if file_digest(path) != digest:
            return False
    except (OSError, ValueError, EOFError, TypeError):
        return False
    with suppress(DistractedError):  # on a read-only disk it is hashed each time
        write_json(folder / CHECKED, {**checked, tap: now})
    return True


def forget_checks(settings: Settings) -> None:
    """Have every cached tap hashed anew by whoever looks for it next."""
    for path in settings.features.glob(f"*/subject=*/{CHECKED}"):
        path.unlink(missing_ok=True)


def clear(folder: Path) -> None:
    """Remove taps that are no longer valid; the list goes first, so that a crash leaves none that seem so."""
    for path in (folder / ROWS, folder / CHECKED, *folder.glob("*.npy")):
        path.unlink(missing_ok=True)
