"""Whether a derived file still is what was written: each carries, or has beside it, a checksum of its bytes.

A file that can hold words of its own (a JSON object, Parquet, safetensors) is *sealed*: it holds the SHA-256 of itself,
taken with zeros in its place. What holds none (arrays, weights, pages) is listed, with its digest, in the sealed file
that is written after it. Files of earlier versions are not sealed, and are taken as they are; a table that a crash left
full of zeros has no seal either, and no footer.

Belongs here: sealing, and looking. What a room does about a damaged file is its own business: it counts as missing.
"""

import hashlib
import json
import re
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from functools import lru_cache
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Final

CHECKSUM: Final = "checksum"
"""Key of the seal in a JSON object, or in the metadata of a Parquet or safetensors file."""

_PATIENCE_S: Final = 5.0

_ZEROS: Final = b"0" * 64

UNSEALED: Final = f"sha256:{_ZEROS.decode()}"
"""What stands under `CHECKSUM` until `seal` puts the digits in."""

_TABLE: Final = ".parquet"

_SEAL: Final = re.compile(rb"sha256:([0-9a-f]{64})")


def seal(path: Path) -> None:
    """Put the checksum into a file that has just been written with `UNSEALED` in it.

    Raises:
        ValueError: `UNSEALED` is not in it, or more than once.
    """
    with path.open("rb+") as handle:
        with mmap(handle.fileno(), 0, access=ACCESS_READ) as data:
            places = [found.start(1) for found in _SEAL.finditer(data) if found[1] == _ZEROS]
            digest = hashlib.sha256(data).hexdigest()
        if len(places) != 1:
            raise ValueError(f"{path} holds {len(places)} places for a checksum instead of one")
        handle.seek(places[0])
        handle.write(digest.encode())


def is_whole(path: Path, *, sealed: bool = False) -> bool:
    """Tell whether a file is there with the bytes that were written; one without a seal only if it need not have one.

    Args:
        path: The file.
        sealed: Whether it must be sealed.
    """
    try:
        return _is_whole(path, stamp(path), sealed)
    except OSError:
        return False


def file_digest(path: Path) -> str:
    """Return a file's SHA-256. In one process it is computed again only once the file has been written to."""
    return _file_digest(path, stamp(path))


def all_as_listed(folder: Path, digests: Mapping[str, str]) -> bool:
    """Tell whether every file of a list, by its path in `folder`, is there with the digest that stands beside it."""
    try:
        return all(file_digest(folder / name) == digest for name, digest in digests.items())
    except (OSError, ValueError):  # a name that no file can have
        return False


def digests_in(text: str) -> dict[str, str] | None:
    """Return a list of digests that a file notes in JSON, for `all_as_listed`; None where it notes anything else."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and all(isinstance(digest, str) for digest in found.values()) else None


def is_sound_database(path: Path) -> bool:
    """Tell whether a SQLite database is there in which SQLite finds nothing wrong; an empty file is none."""
    if not path.is_file() or not path.stat().st_size:
        return False
    try:
        with closing(sqlite3.connect(path, timeout=_PATIENCE_S)) as connection:
            found = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.OperationalError:  # locked, or not to be opened: nothing is known to be wrong with it
        return True
    except sqlite3.DatabaseError:
        return False
    return bool(found == ("ok",))


def stamp(path: Path) -> tuple[int, ...]:
    """Return what tells that a file was written to; no tool sets back the time of its last change of status.

    Raises:
        FileNotFoundError: There is none.
    """
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


@lru_cache(maxsize=4096)
def _is_whole(path: Path, written: tuple[int, ...], sealed: bool) -> bool:
    if not path.stat().st_size:
        return not sealed and path.suffix != _TABLE
    with path.open("rb") as handle, mmap(handle.fileno(), 0, access=ACCESS_READ) as data:
        seals = [(found.start(1), found[1].decode()) for found in _SEAL.finditer(data)]
        if seals:
            return any(_without(data, at) == digits for at, digits in seals)
    return not sealed and (path.suffix != _TABLE or _has_footer(path))


def _has_footer(table: Path) -> bool:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        pq.read_metadata(table)
    except (pa.ArrowException, OSError, ValueError):
        return False
    return True


def _without(data: mmap, at: int) -> str:
    with memoryview(data) as view:
        digest = hashlib.sha256(view[:at])
        digest.update(_ZEROS)
        digest.update(view[at + len(_ZEROS) :])
    return digest.hexdigest()


@lru_cache(maxsize=4096)
def _file_digest(path: Path, written: tuple[int, ...]) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
