"""NPZ as it is read: plain arrays of what their headers promise, and never more than a file can honestly hold.

`np.load` makes room for whatever size a header claims, and raises whatever its parser meets. Belongs here: reading any
room's arrays of numbers and words. Class maps from outside are `masks.label_maps`; taps, which are mapped into memory,
stand with their digest in `features.row_lists`.
"""

import errno
import io
import math
import zipfile
import zlib
from pathlib import Path
from tokenize import TokenError
from typing import Final

import numpy as np

MOST_BYTES: Final = 2**30
"""Unpacked bytes of a file, as of tables (`parquet`)."""

HEADERS: Final = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
"""What reads the header of an array, by the version of its format. A third one is for names of fields alone."""

HEADER_DAMAGE: Final = (OSError, LookupError, TypeError, ValueError, SyntaxError, TokenError, RecursionError)
"""What reading a header raises where it is none."""

_ZIP_DAMAGE: Final = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, OverflowError, NotImplementedError)
_KINDS: Final = "biufU"


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of an NPZ by their names.

    Raises:
        ValueError: It is damaged, too large, or holds anything but numbers and words; says what.
        OSError: It is missing, or reading fails.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
            if size > MOST_BYTES:
                raise ValueError(f"it says that it holds {size:,} bytes, more than any file of arrays here")
            found = {member.filename: _member(archive, member) for member in archive.infolist()}
            return {name.removesuffix(".npy"): _array(data, name) for name, data in found.items()}
    except _ZIP_DAMAGE as error:
        raise ValueError(str(error) or type(error).__name__) from error
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise ValueError("its table of contents points outside the file") from error


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    with archive.open(member) as file:
        return file.read(member.file_size)  # not `read()`, which unpacks all that is there


def _array(data: bytes, name: str) -> np.ndarray:
    file = io.BytesIO(data)
    try:
        shape, by_columns, dtype = HEADERS[np.lib.format.read_magic(file)](file)
    except HEADER_DAMAGE as error:
        raise ValueError(f"{name} is no array ({error})") from error
    if dtype.kind not in _KINDS:
        raise ValueError(f"{name} holds {dtype}, neither numbers nor words")
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(data) - file.tell():
        raise ValueError(f"{name} does not hold what its header says")
    values = np.frombuffer(data, dtype, offset=file.tell()) if math.prod(shape) else np.empty(0, dtype)
    return values.reshape(shape, order="F" if by_columns else "C")
