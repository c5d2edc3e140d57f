"""Members of a zip archive read from many threads, without unpacking it.

One `ZipFile` behind a lock, which its readers share. On 4,000 drawn frames of 640x480 (64 KB to 92 KB each, two
cores), reading, hashing and decoding all of them took 6.48 CPU seconds this way, 7.10 with a `ZipFile` in each thread
(each reads the table of contents), and 6.26 with code of our own that read the members: not worth that code. On 24,424
frames of 80x60, where nothing else costs much, it was 5.96, 6.29 and 4.55. `make bench-archive` measures all three.
"""

import struct
import threading
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Final

from distracted_pipeline.advice import RUN
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.images.problems import ImageProblem

SEPARATOR: Final = "::"
"""Between archive and member in a manifest path: `state-farm.zip::imgs/train/c0/img_1.jpg`."""

MAX_BYTES: Final = 64 * 2**20
"""Larger files are refused before they are read."""

_ENCRYPTED: Final = 0x1
_UTF8: Final = 0x800
DAMAGE: Final = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    struct.error,
    OverflowError,
    ValueError,
    RuntimeError,
)
"""What `zipfile` raises for a table of contents that contradicts itself, or a member that contradicts it."""


class Archive:
    """The table of contents of one zip, and reads from any thread.

    Args:
        path: The zip file.
        shown: Its name in messages and manifest paths.

    Raises:
        DistractedError: The file is no zip, or its table of contents is lost (an interrupted download).
    """

    def __init__(self, path: Path, shown: str) -> None:
        self.shown = shown
        self._lock = threading.Lock()
        try:
            self._zip = zipfile.ZipFile(path)
        except (*DAMAGE, OSError) as error:
            raise DistractedError(
                f"{path}: cannot be read as a zip ({error}). The download may be incomplete: fetch it again, "
                f"then: {RUN}"
            ) from error
        # By names as they were meant: path of folders, a / after each. `read` goes by the entries themselves.
        names = {_name(info): info for info in self._zip.infolist()}
        self.members = {name: info for name, info in names.items() if not name.endswith("/")}

    def read(self, name: str) -> bytes:
        """Return the bytes of one member, checked against its CRC.

        Raises:
            ImageProblem: No such member, or it is too large, encrypted, packed by an unknown method, or damaged.
        """
        where = f"{self.shown}{SEPARATOR}{name}"
        member = self.members.get(name)
        if member is None:
            raise ImageProblem(where, "no file", "the archive has no such member")
        with self._lock:
            return unpacked(self._zip, member, where)

    def close(self) -> None:
        """Close the zip."""
        self._zip.close()


def unpacked(archive: zipfile.ZipFile, member: zipfile.ZipInfo, where: str) -> bytes:
    """Return the bytes of one member, checked against its CRC, and never more of them than it says that it has.

    Not `ZipFile.read`, which unpacks at once all that is there: a megabyte can hold a gigabyte.

    Raises:
        ImageProblem: As `Archive.read`.
    """
    if max(member.file_size, member.compress_size) > MAX_BYTES:
        raise ImageProblem(where, "too large", f"the file is larger than {MAX_BYTES // 2**20} MiB")
    if member.flag_bits & _ENCRYPTED or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ImageProblem(where, "unreadable", "it is encrypted or packed by an unusual method: unpack the zip")
    try:
        with archive.open(member) as file:
            data = file.read(member.file_size)
            if len(data) < member.file_size:
                raise EOFError("it ends early")
            return data
    except DAMAGE as error:
        raise ImageProblem(where, "damaged", f"the zip is damaged there ({error})") from error
    except OSError as error:
        raise ImageProblem(where, "unreadable", f"reading failed ({error.strerror or error})") from error


def _name(info: zipfile.ZipInfo) -> str:
    """Return a member's name as it was meant: Windows may write backslashes for /, macOS UTF-8 without saying so."""
    name = info.filename
    if not name.isascii() and not info.flag_bits & _UTF8:
        with suppress(UnicodeError):  # else it is what the zip's format says: code page 437
            name = name.encode("cp437").decode("utf-8")
    return name.replace("\\", "/")
