"""Where the raw data lies: Kaggle's tree in the data root, or Kaggle's zip dropped there.

Lists frames with their sizes and change stamps; opens none of them. Their labels are `labels`'
business, their content `decode`'s.
"""

import os
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.images.archive import SEPARATOR, Archive
from distracted_pipeline.images.names import is_plain_file_name, printable
from distracted_pipeline.images.problems import Problem, problem
from distracted_pipeline.settings import RAW_CSV

IMAGES: Final = "imgs"

DOWNLOAD: Final = (
    "Download https://www.kaggle.com/c/state-farm-distracted-driver-detection/data and put the zip, or imgs/ and "
    f"{RAW_CSV} from it, there; or draw a data set with: distracted demo"
)

# What file managers leave behind; everything else in the folders counts as a frame.
_LITTER: Final = re.compile(r"\..*|Thumbs\.db|desktop\.ini", re.IGNORECASE)
_MAC_LITTER: Final = "__MACOSX/"
_MEMBER: Final = re.compile(
    r"(?P<prefix>(?!__MACOSX/)(?:[^/]+/)*?)imgs/(?:train/(?:(?P<folder>[^/]+)/)?|test/)(?P<img>[^/]+)"
)


class Frame(NamedTuple):
    """One file that should be an image.

    Attributes:
        img: File name.
        path: Manifest path: relative to the data root, POSIX, `archive.zip::member` inside a zip.
        folder: Name of its folder under `imgs/train`, empty right under it; None for an unlabelled test frame.
        bytes: Size; -1 for what is no regular file (a broken link, a pipe).
        stamp: Changes when the content does.
    """

    img: str
    path: str
    folder: str | None
    bytes: int
    stamp: str


@dataclass
class Source:
    """The raw data that was found.

    Attributes:
        frames: Every file in the image folders, in listing order.
        csv_name: Manifest path of the csv.
        csv: Its bytes.
        archive: The zip that the frames lie in, open; None where they lie in folders.
        notes: Choices a reader should know about.
        problems: What in the folders cannot be taken as a frame.
    """

    frames: list[Frame] = field(default_factory=list)
    csv_name: str = ""
    csv: bytes = b""
    archive: Archive | None = None
    notes: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def close(self) -> None:
        """Close the zip."""
        if self.archive is not None:
            self.archive.close()


def find_source(root: Path) -> Source:
    """Return the frames and the csv of a data root; the tree wins over a zip beside it.

    The csv is the one in the data root if there is one, else the one in the zip. Close the source after use.

    Raises:
        DistractedError: No such folder, no frames, no csv, or something that cannot be read.
    """
    if not root.exists():
        raise DistractedError(f"the data root {root} does not exist. Create it. {DOWNLOAD}")
    if not root.is_dir():
        raise DistractedError(
            f"the data root {root} is a file, but what is derived from the images goes there too. Give the folder that "
            f"it lies in: distracted run --data {root.parent}"
        )
    source = Source()
    try:
        zips = sorted(path for path in root.glob("*.zip") if path.is_file() and not _litter(path.name))
        _find_frames(root, zips, source)
        _find_csv(root, zips, source)
    except OSError as error:
        raise DistractedError(
            f"{error.filename or root} cannot be read ({error.strerror}). Check its permissions, then: distracted run"
        ) from error
    return source


def _find_frames(root: Path, zips: list[Path], source: Source) -> None:
    source.frames += _tree(root, source.problems)
    if source.frames and zips:
        source.notes.append(f"the images in {IMAGES}/ are used; {', '.join(z.name for z in zips)} beside it is ignored")
    for path in [] if source.frames else zips:
        archive = Archive(path, path.name)
        if not any(_MEMBER.fullmatch(name) for name in archive.members):
            continue
        if source.archive is not None:
            source.notes.append(f"the images in {source.archive.shown} are used; those in {path.name} are ignored")
            break
        source.archive = archive
    if source.archive is not None:
        source.frames += _members(source.archive, source)
    if not source.frames:
        tried = f" (looked into {', '.join(z.name for z in zips)})" if zips else ""
        raise DistractedError(
            f"{root} holds no images: no {IMAGES}/train/c0 … c9, and no zip with them{tried}. {DOWNLOAD}"
        )


def _tree(root: Path, problems: list[Problem]) -> Iterator[Frame]:
    """Yield the frames under `imgs/`, links followed, folders and files in name order."""
    train = root / IMAGES / "train"
    for entry in _entries(train):
        if entry.is_dir():
            if is_plain_file_name(entry.name):
                yield from _folder(train / entry.name, root, entry.name, problems)
            else:
                problems.append(_unsafe(f"{IMAGES}/train/{entry.name}"))
    yield from _folder(train, root, "", problems)
    yield from _folder(root / IMAGES / "test", root, None, problems)


def _folder(path: Path, root: Path, folder: str | None, problems: list[Problem]) -> Iterator[Frame]:
    shown = path.relative_to(root).as_posix()
    for entry in _entries(path):
        where = f"{shown}/{entry.name}"
        if entry.is_dir():
            if folder != "":
                problems.append(_nested(where))
        elif not is_plain_file_name(entry.name):
            problems.append(_unsafe(where))
        elif entry.is_file():
            stat = entry.stat()
            yield Frame(entry.name, where, folder, stat.st_size, f"{stat.st_size}:{stat.st_mtime_ns}")
        else:
            yield Frame(entry.name, where, folder, -1, "")


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        return sorted((entry for entry in entries if not _litter(entry.name)), key=lambda entry: entry.name)


def _members(archive: Archive, source: Source) -> Iterator[Frame]:
    """Yield the frames in a zip, in its order; with several `imgs/` folders, those of the outermost."""
    matches = [(name, _MEMBER.fullmatch(name)) for name in archive.members]
    prefixes = Counter(match["prefix"] for _, match in matches if match)
    chosen = min(prefixes, key=lambda prefix: (prefix.count("/"), prefix))
    if len(prefixes) > 1:
        ignored = ", ".join(f"{prefix}{IMAGES}/ ({n:,})" for prefix, n in sorted(prefixes.items()) if prefix != chosen)
        source.notes.append(f"{archive.shown}: the images in {chosen}{IMAGES}/ are used; ignored: {ignored}")
    train, test = (f"{chosen}{IMAGES}/{part}/" for part in ("train", "test"))
    nested: set[str] = set()
    for name, match in matches:
        if not name.startswith((train, test)) or _litter(name.rpartition("/")[2]):
            continue
        path = f"{archive.shown}{SEPARATOR}{name}"
        if match is None:
            nested.add(path.rpartition("/")[0])
        elif not is_plain_file_name(match["img"]) or not is_plain_file_name(match["folder"] or "-"):
            source.problems.append(_unsafe(path))
        else:
            folder = None if name.startswith(test) else match["folder"] or ""
            member = archive.members[name]
            yield Frame(match["img"], path, folder, member.size, f"{member.size}:{member.crc:08x}")
    source.problems += [_nested(folder) for folder in sorted(nested)]


def _find_csv(root: Path, zips: list[Path], source: Source) -> None:
    """Take the csv of the data root, else of the frames' zip, else of any zip (it may come zipped alone)."""
    inside = _csv_member(source.archive) if source.archive else ""
    path = root / RAW_CSV
    if path.is_file():
        source.csv_name, source.csv = RAW_CSV, path.read_bytes()
        if source.archive and inside:
            source.notes.append(f"{RAW_CSV} in the data root is used, not the one in {source.archive.shown}")
        return
    if source.archive and inside:
        source.csv_name, source.csv = f"{source.archive.shown}{SEPARATOR}{inside}", source.archive.read(inside)
        return
    for other in zips:
        with closing(Archive(other, other.name)) as archive:
            if inside := _csv_member(archive):
                source.csv_name, source.csv = f"{other.name}{SEPARATOR}{inside}", archive.read(inside)
                return
    raise DistractedError(
        f"{path} is missing, so nobody knows which driver and class an image shows. Copy it there from Kaggle's zip, "
        "then: distracted run"
    )


def _csv_member(archive: Archive) -> str:
    names = [
        name for name in archive.members if f"/{name}".endswith(f"/{RAW_CSV}") and not name.startswith(_MAC_LITTER)
    ]
    return min(names, key=lambda name: (name.count("/"), name), default="")


def _litter(name: str) -> bool:
    return _LITTER.fullmatch(name) is not None


def _nested(where: str) -> Problem:
    return problem("nested folder", where, None, "images in a folder inside an image folder are not read")


def _unsafe(where: str) -> Problem:
    return problem("unsafe image name", printable(where), None, "the name is not a plain file name")
