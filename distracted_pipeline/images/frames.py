"""Files that should be images, found but not opened, and where their labels stand: what every reader returns.

Which layout is read how belongs to `kaggle` and `listed`; what is in the files to `decode`.
"""

import errno
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from distracted_pipeline.images.archive import Archive
from distracted_pipeline.images.labels import Label
from distracted_pipeline.images.names import printable
from distracted_pipeline.images.problems import Problem, problem

# What file managers, browsers, editors and copying programs leave behind (rsync's begin with a dot); everything else in
# the folders counts as a frame.
_LITTER: Final = re.compile(
    r"\..*|Thumbs\.db|desktop\.ini|.*~|#.*#|.*\.(crdownload|part|partial|filepart|download|opdownload|tmp|bak|swp)",
    re.IGNORECASE,
)


class Frame(NamedTuple):
    """One file that should be an image.

    Attributes:
        img: What it is known by.
        path: Manifest path: relative to the data root, POSIX, `archive.zip::member` inside a zip.
        bytes: Size; -1 for what is no regular file (a broken link, a pipe).
        stamp: Changes when the content does.
        folder: Class that its folder says, empty for a folder of no class; None where labels alone say the class.
        labelled: False for a frame that nobody has labelled.
    """

    img: str
    path: str
    bytes: int
    stamp: str
    folder: str | None = None
    labelled: bool = True


@dataclass
class Source:
    """The raw data that was found.

    Attributes:
        frames: Every file that should be an image, in listing order.
        files: Manifest path and bytes of every label file.
        labels: Reads labels, and what is wrong with their lines.
        archive: The zip that the frames lie in, open; None where they lie in folders.
        notes: Choices a reader should know about.
        problems: What in the folders cannot be taken as a frame.
    """

    frames: list[Frame] = field(default_factory=list)
    files: list[tuple[str, bytes]] = field(default_factory=list)
    labels: Callable[[], tuple[list[Label], list[Problem]]] = field(default=lambda: ([], []))
    archive: Archive | None = None
    notes: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def close(self) -> None:
        """Close the zip."""
        if self.archive is not None:
            self.archive.close()


def is_litter(name: str) -> bool:
    """Tell whether a file of this name was left behind by some program, finished or not, and is no frame."""
    return _LITTER.fullmatch(name) is not None


def entries(folder: Path) -> list[os.DirEntry[str]]:
    """Return what is in a folder, by name; nothing where there is no such folder."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as found:
        return sorted((entry for entry in found if not is_litter(entry.name)), key=lambda entry: entry.name)


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Tell whether something is a folder, or a link to one; a link that leads in a circle is no folder and no file."""
    return _is(entry.is_dir)


def is_file(entry: os.DirEntry[str]) -> bool:
    """Tell whether something is a regular file, or a link to one."""
    return _is(entry.is_file)


def _is(look: Callable[[], bool]) -> bool:
    try:
        return look()
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        return False


def stamp(stat: os.stat_result) -> str:
    """Return what changes when a file does: size, time of change, and that of its status, which no tool sets back."""
    return f"{stat.st_size}:{stat.st_mtime_ns}:{stat.st_ctime_ns}"


def unsafe(where: str) -> Problem:
    """Return the problem of a file or folder whose name is not plain."""
    return problem("unsafe image name", printable(where), None, "the name is not a plain file name")
