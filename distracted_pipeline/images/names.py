"""Names that are safe as files, folders and partitions, their natural order, and how unsafe ones are shown."""

import re
import unicodedata
from pathlib import PurePosixPath
from typing import Final

_MAX_LENGTH: Final = 200
# A colon separates archive and member, a backslash folders on Windows; lone surrogates are undecodable bytes.
_UNSAFE: Final = re.compile(r"[/\\:\x00-\x1f\x7f\ud800-\udfff]")


def is_plain_file_name(name: str) -> bool:
    """Tell whether any system takes a name as a file's: no folders, control characters or undecodable bytes."""
    return name not in ("", ".", "..") and len(name) <= _MAX_LENGTH and not _UNSAFE.search(name)


def composed(name: str) -> str:
    """Return a name as it is compared: what macOS writes as e and an accent is one letter elsewhere."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def plain_path(path: str) -> str:
    """Return a path as it is compared and joined: `./a//b.jpg` is `a/b.jpg`."""
    return "" if path in ("", ".") else str(PurePosixPath(path))


def image_name(path: str) -> str:
    """Return what the image at a path below the folder of all images is known by: `a/b.jpg` is `a__b.jpg`.

    File names alone repeat from folder to folder. Empty where the path is absolute or leads out of that folder.
    """
    parts = composed(path).split("/")
    return "" if path.startswith("/") or ".." in parts else "__".join(parts)


def natural(name: str) -> list[tuple[bool, int, str]]:
    """Return the key that puts frame_2 before frame_10."""
    return [
        (not part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in re.split(r"(\d+)", name) if part
    ]


def printable(text: str) -> str:
    """Return the text with control characters and undecodable bytes escaped, cut to a readable length."""
    if not text.isprintable():
        text = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
    return text if len(text) <= _MAX_LENGTH else text[: _MAX_LENGTH - 1] + "…"
