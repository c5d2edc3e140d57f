"""Members of a zip archive read from many threads, without unpacking it.

`zipfile` reads the table of contents (so zip64 and oddities are its business); the members are then read
here, because a shared `ZipFile` serialises its readers and one per thread repeats the table of contents.
"""

import struct
import threading
import zipfile
import zlib
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from distracted_pipeline.advice import RUN
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.images.problems import ImageProblem

SEPARATOR: Final = "::"
"""Between archive and member in a manifest path: `state-farm.zip::imgs/train/c0/img_1.jpg`."""

MAX_BYTES: Final = 64 * 2**20
"""Larger files are refused before they are read."""

_LOCAL_HEADER: Final = struct.Struct("<4s22xHH")
_ENCRYPTED: Final = 0x1


class Member(NamedTuple):
    """One file in the archive: where it starts, its sizes in bytes, and how to check it."""

    offset: int
    packed: int
    size: int
    crc: int
    method: int
    flags: int


class Archive:
    """The table of contents of one zip, and reads from any thread.

    Args:
        path: The zip file.
        shown: Its name in messages and manifest paths.

    Raises:
        DistractedError: The file is no zip, or its table of contents is lost (an interrupted download).
    """

    def __init__(self, path: Path, shown: str) -> None:
        self.path = path
        self.shown = shown
        try:
            with zipfile.ZipFile(path) as archive:
                self.members = {
                    info.filename: Member(
                        info.header_offset,
                        info.compress_size,
                        info.file_size,
                        info.CRC,
                        info.compress_type,
                        info.flag_bits,
                    )
                    for info in archive.infolist()
                    if not info.is_dir()
                }
        except (zipfile.BadZipFile, OSError, EOFError) as error:
            raise DistractedError(
                f"{path}: cannot be read as a zip ({error}). The download may be incomplete: fetch it again, "
                f"then: {RUN}"
            ) from error
        self._local = threading.local()
        self._handles: list[BinaryIO] = []

    def read(self, name: str) -> bytes:
        """Return the bytes of one member, checked against its CRC.

        Raises:
            ImageProblem: No such member, or it is too large, encrypted, packed by an unknown method, or damaged.
        """
        where = f"{self.shown}{SEPARATOR}{name}"
        member = self.members.get(name)
        if member is None:
            raise ImageProblem(where, "no file", "the archive has no such member")
        if member.size > MAX_BYTES or member.packed > MAX_BYTES:
            raise ImageProblem(where, "too large", f"the file is larger than {MAX_BYTES // 2**20} MiB")
        if member.flags & _ENCRYPTED or member.method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ImageProblem(where, "unreadable", "it is encrypted or packed by an unusual method: unpack the zip")
        try:
            handle = self._handle()
            handle.seek(member.offset)
            signature, name_length, extra_length = _LOCAL_HEADER.unpack(handle.read(_LOCAL_HEADER.size))
            handle.seek(name_length + extra_length, 1)
            data = handle.read(member.packed)
            if member.method == zipfile.ZIP_DEFLATED:
                data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, member.size + 1)
        except (struct.error, zlib.error) as error:
            raise ImageProblem(where, "damaged", f"the zip is damaged there ({error})") from error
        except OSError as error:
            raise ImageProblem(where, "unreadable", f"reading failed ({error.strerror or error})") from error
        if signature != b"PK\3\4" or len(data) != member.size or zlib.crc32(data) != member.crc:
            raise ImageProblem(where, "damaged", "its bytes do not fit the checksum in the zip")
        return data

    def close(self) -> None:
        """Close the file handles of all threads."""
        while self._handles:
            self._handles.pop().close()

    def _handle(self) -> BinaryIO:
        handle: BinaryIO | None = getattr(self._local, "handle", None)
        if handle is None or handle.closed:
            handle = self._local.handle = self.path.open("rb")
            self._handles.append(handle)
        return handle
