"""Bytes of an image -> checked pixels.

One place decides what is a usable JPEG, for the manifest and for every later reader. Resizing and
normalising belong to the models' rooms.
"""

import io
import re
import struct
import threading
import zlib
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Final, NamedTuple, Self

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from distracted_pipeline.images.archive import MAX_BYTES, SEPARATOR, Archive
from distracted_pipeline.images.likeness import SHARP, look
from distracted_pipeline.images.problems import ImageProblem

NO_FILE: Final = "it is no regular file, or a link to nowhere"

MAX_SCANS: Final = 100
"""A progressive JPEG comes in some ten passes over its pixels; few bytes can hold thousands, and each takes time."""

MAX_PIXELS: Final = 50_000_000
"""Larger images are refused before any pixel is decoded: Kaggle's have 307,200."""

DAMAGE: Final = (
    OSError,
    SyntaxError,
    ValueError,
    LookupError,
    TypeError,
    EOFError,
    ArithmeticError,
    AttributeError,
    struct.error,
    zlib.error,
)
"""What Pillow raises for a file that ends early or contradicts itself."""

_ORIENTATION_TAG: Final = 0x0112
_UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ON_ITS_SIDE: Final = (
    Image.Transpose.TRANSPOSE,
    Image.Transpose.ROTATE_270,
    Image.Transpose.TRANSVERSE,
    Image.Transpose.ROTATE_90,
)
_MARKER: Final = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""Of a JPEG; what coded data holds after an FF (a zero, a restart) is none."""
_START, _END, _SCAN = 0xD8, 0xD9, 0xDA
_SIGNATURES: Final = {
    b"\x89PNG": "a PNG",
    b"GIF8": "a GIF",
    b"RIFF": "a WebP or another RIFF file",
    b"BM": "a BMP",
    b"PK\x03\x04": "a zip",
    b"%PDF": "a PDF",
    b"II*\0": "a TIFF or a camera's raw file",
    b"MM\0*": "a TIFF or a camera's raw file",
    b"\xff\x0a": "a JPEG XL",
    b"\0\0\0\x0cJXL ": "a JPEG XL",
    b"\0\0\0\x0cjP  ": "a JPEG 2000",
}
_BRANDS: Final = {b"avif": "an AVIF", b"heic": "an HEIC", b"heix": "an HEIC", b"mif1": "an HEIC"}
"""Of pictures in MP4 boxes, as phones write them, at byte 8; all others are films."""


class ImageReader:
    """Reads images by their manifest path, from folders and zip archives alike, from any thread.

    Args:
        data_root: What the paths are relative to.
    """

    def __init__(self, data_root: Path) -> None:
        self._root = data_root
        self._archives: dict[str, Archive] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def bytes(self, path: str) -> bytes:
        """Return the file's bytes as stored.

        Raises:
            ImageProblem: The file is missing, unreadable or larger than `MAX_BYTES`.
            DistractedError: Its zip cannot be opened.
        """
        archive, separator, member = path.partition(SEPARATOR)
        _check_inside(archive, path)
        return self._archive(archive).read(member) if separator else file_bytes(self._root / archive, path)

    def rgb(self, path: str) -> np.ndarray:
        """Return the upright image, uint8 `[height, width, 3]`.

        Raises:
            ImageProblem: As `bytes`, or the content is no complete JPEG.
        """
        return decode_rgb(self.bytes(path), path)

    def use(self, archive: Archive) -> None:
        """Read members of an archive that is open already through it; closes with this reader."""
        self._archives[archive.shown] = archive

    def close(self) -> None:
        """Close every open file."""
        with self._lock:
            while self._archives:
                self._archives.popitem()[1].close()

    def _archive(self, name: str) -> Archive:
        with self._lock:
            if name not in self._archives:
                self._archives[name] = Archive(self._root / name, name)
            return self._archives[name]


def file_bytes(file: Path, where: str) -> bytes:
    """Return a file's bytes as stored.

    Args:
        file: An ordinary file, or a link to one.
        where: Its path, for messages.

    Raises:
        ImageProblem: It is missing, no ordinary file, unreadable or larger than `MAX_BYTES`.
    """
    try:
        if not file.is_file() and (file.is_symlink() or file.exists()):  # a pipe would never end
            raise ImageProblem(where, "unreadable", NO_FILE)
        with file.open("rb") as handle:
            data = handle.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise ImageProblem(where, "no file", "there is no such file") from error
    except OSError as error:
        raise ImageProblem(where, "unreadable", f"reading failed ({error.strerror or error})") from error
    if len(data) > MAX_BYTES:
        raise ImageProblem(where, "too large", f"the file is larger than {MAX_BYTES // 2**20} MiB")
    return data


def decode_rgb(data: bytes, where: str) -> np.ndarray:
    """Return the upright pixels of a JPEG, uint8 `[height, width, 3]`, whatever its colour mode; see `decode_image`."""
    return np.array(decode_image(data, where))


def decode_image(data: bytes, where: str) -> Image.Image:
    """Return a JPEG upright and in RGB, whatever its colour mode, as whoever resizes it next wants it.

    Args:
        data: The file's bytes.
        where: Its path, for messages.

    Raises:
        ImageProblem: Empty, no JPEG, truncated, damaged, or more than `MAX_PIXELS`.
    """
    image = _open(data, where)
    _load(image, data, where)
    upright = _upright(image)
    rgb = image if image.mode == "RGB" else image.convert("RGB")
    return rgb.transpose(upright) if upright is not None else rgb


class Verified(NamedTuple):
    """Of an image that can be used: its upright size, and what it looks like (`likeness.look`)."""

    width: int
    height: int
    look: str


def verify(data: bytes, where: str) -> Verified:
    """Return size and look of the upright image after decoding all of it, as cheaply as that can be done.

    An eighth of the size in grey (of small images more, for the look's sake) skips most of the arithmetic, yet every
    coded bit is still read, so truncation is found.

    Raises:
        ImageProblem: As `decode_rgb`.
    """
    image = _open(data, where)
    width, height = image.size
    upright = _upright(image)
    image.draft("L", (max(width // 8, min(width, SHARP)), max(height // 8, min(height, SHARP))))
    _load(image, data, where)
    seen = look(image if upright is None else image.transpose(upright))
    return Verified(height, width, seen) if upright in _ON_ITS_SIDE else Verified(width, height, seen)


def _open(data: bytes, where: str) -> JpegImageFile:
    """Parse the header only. Not `Image.open`: that tries every format and warns about sizes refused here anyway."""
    if not data:
        raise ImageProblem(where, "empty file", "the file is empty")
    if not data.startswith(b"\xff\xd8"):
        raise ImageProblem(where, "not a JPEG", f"the file is {_kind(data)}, not a JPEG")
    try:
        image = JpegImageFile(io.BytesIO(data))
    except DAMAGE as error:
        status = "truncated" if b"\xff\xda" not in data else "damaged"
        raise ImageProblem(where, status, f"the JPEG header cannot be read ({error or 'it ends early'})") from error
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ImageProblem(
            where, "too large", f"{width}x{height} pixels are more than {MAX_PIXELS // 10**6} megapixels"
        )
    return image


def _load(image: JpegImageFile, data: bytes, where: str) -> None:
    scans, complete = _scans(data)
    if scans > MAX_SCANS:
        raise ImageProblem(where, "too large", f"its pixels come in {scans:,} passes, more than {MAX_SCANS}")
    try:
        image.load()
    except DAMAGE as error:
        status = "truncated" if "truncated" in str(error) else "damaged"
        raise ImageProblem(where, status, f"the pixels cannot be decoded ({error})") from error
    if not complete:
        raise ImageProblem(where, "truncated", "the end of the JPEG is missing")


def _scans(data: bytes) -> tuple[int, bool]:
    """Return in how many passes a JPEG's picture comes, and whether it has its end.

    What follows (a phone's notes, a second picture) is not looked at.
    """
    place, scans = 2, 0
    while found := _MARKER.search(data, place):
        marker, place = data[found.end() - 1], found.end()
        if marker in (_START, _END):
            return scans, marker == _END and scans > 0
        scans += marker == _SCAN
        place += int.from_bytes(data[place : place + 2])
    return scans, False


def _upright(image: JpegImageFile) -> Image.Transpose | None:
    """Return what turns an image upright, as `PIL.ImageOps.exif_transpose` would: EXIF says it, else XMP."""
    if not image.info.keys() & {"exif", "xmp"}:
        return None
    try:
        return _UPRIGHT.get(image.getexif().get(_ORIENTATION_TAG, 1))
    except DAMAGE:
        return None  # damaged EXIF says nothing about orientation; the pixels are as good as any


def _kind(data: bytes) -> str:
    start = data[:512].lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return "a web page (a failed download?)"
    if not data.strip(b"\0"):
        return "all zeros"
    if data[4:8] == b"ftyp":
        return _BRANDS.get(data[8:12], "a film")
    return next((name for mark, name in _SIGNATURES.items() if data.startswith(mark)), "something else")


def _check_inside(file: str, path: str) -> None:
    pure = PurePosixPath(file)
    if "\0" in path or pure.is_absolute() or ".." in pure.parts or Path(file).is_absolute():
        raise ImageProblem(path, "unsafe image name", "the path leaves the data root")
