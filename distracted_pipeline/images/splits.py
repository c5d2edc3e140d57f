"""Somebody's split, as a csv or as folders: which frame is on which side, whose it is, and what is in it.

Belongs here: reading. What a split gives away is for `audit` to say.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.images.csv_rows import named_rows
from distracted_pipeline.images.decode import file_bytes, verify
from distracted_pipeline.images.names import printable
from distracted_pipeline.images.problems import ImageProblem
from distracted_pipeline.progress import Log, Progress

TRAIN: Final = "train"
TEST: Final = "test"

_SIDES: Final = {
    **dict.fromkeys(("train", "training"), TRAIN),
    **dict.fromkeys(("test", "testing", "val", "valid", "validation", "dev", "holdout", "eval"), TEST),
}
_COLUMNS: Final = {
    "path": ("path", "img", "image", "file", "filename"),
    "side": ("split", "set", "subset", "partition"),
    "subject": ("subject", "driver"),
    "label": ("classname", "class", "label"),
    "correct": ("correct",),
}
_NEEDED: Final = ("path", "side")
_FRAMES: Final = (".jpg", ".jpeg")
_CHUNK: Final = 64


@dataclass(frozen=True)
class Listed:
    """One frame of a split.

    Attributes:
        path: The file.
        side: `TRAIN` or `TEST`.
        subject: The driver, empty where nobody says.
        label: The class, empty where nobody says.
        correct: Whether the published model was right about it; None where nobody says.
    """

    path: Path
    side: str
    subject: str = ""
    label: str = ""
    correct: bool | None = None


@dataclass(frozen=True)
class Seen:
    """What is in a file: hash and look, or why it cannot be used (`look` is empty then)."""

    sha256: str = ""
    look: str = ""
    problem: str = ""


def read_split(place: Path, images: Path | None = None, drivers: Mapping[str, str] | None = None) -> list[Listed]:
    """Return the frames of a split.

    Args:
        place: A csv with the columns img (or path) and split, and perhaps subject, classname, correct; or a folder with
            `train/` and `test/` and the classes' folders in them.
        images: Where the csv's frames lie; by default beside it.
        drivers: Driver by file name, where the split does not say it.

    Raises:
        DistractedError: There is no such file or folder, or it cannot be understood; says file, line and value.
    """
    if place.is_dir():
        found = _folders(place)
    elif place.is_file():
        found = list(_lines(place, images or place.parent))
    else:
        raise DistractedError(
            f"there is no file or folder {place}: name a csv with the columns img and split, or a folder"
        )
    for side in (TRAIN, TEST):
        if not any(one.side == side for one in found):
            raise DistractedError(f"{place} has no {side} frames: both sides are needed, train and test")
    known = drivers or {}
    return [one if one.subject else replace(one, subject=known.get(one.path.name, "")) for one in found]


def read_drivers(path: Path) -> dict[str, str]:
    """Return the driver by file name from a list as Kaggle's (`subject,classname,img`).

    Raises:
        DistractedError: It cannot be read, or lacks a column.
    """
    names, rows = named_rows(_text(path), path)
    absent = [name for name in ("subject", "img") if name not in names]
    if absent:
        raise DistractedError(f"{path}, line 1: no column {', '.join(absent)}; it must read subject,classname,img")
    return {row["img"]: row["subject"] for _, row in rows}


def look_at(listed: Sequence[Listed], log: Log = print) -> list[Seen]:
    """Return what is in each frame, read by a few threads."""
    progress = Progress(len(listed), "frames", log)

    def chunk(first: int) -> list[Seen]:
        return [_look(one.path) for one in listed[first : first + _CHUNK]]

    found: list[Seen] = []
    pool = ThreadPoolExecutor(max_workers=min(16, (os.cpu_count() or 1) + 1))
    try:
        for part in pool.map(chunk, range(0, len(listed), _CHUNK)):
            found += part
            progress.advance(len(part))
    finally:
        pool.shutdown(cancel_futures=True)
    return found


def _look(path: Path) -> Seen:
    sha256 = ""
    try:
        data = file_bytes(path, str(path))
        sha256 = hashlib.sha256(data).hexdigest()
        return Seen(sha256, verify(data, str(path)).look)
    except ImageProblem as error:
        return Seen(sha256, problem=error.what)


def _folders(place: Path) -> list[Listed]:
    sides = {folder: _SIDES[folder.name.lower()] for folder in sorted(place.iterdir()) if folder.name.lower() in _SIDES}
    if not sides:
        raise DistractedError(
            f"{place} has no folders train/ and test/: put the frames there, in a folder for each class"
        )
    found = []
    for folder, side in sides.items():
        for path in sorted(path for path in folder.rglob("*") if path.suffix.lower() in _FRAMES):
            inner = path.relative_to(folder).parts
            found.append(Listed(path, side, label=inner[0] if len(inner) > 1 else ""))
    return found


def _lines(place: Path, images: Path) -> Iterator[Listed]:
    names, rows = named_rows(_text(place), place)
    header = {name.strip().lower(): name for name in names if name}
    columns = {
        role: header[next(word for word in words if word in header)]
        for role, words in _COLUMNS.items()
        if any(word in header for word in words)
    }
    absent = [" or ".join(_COLUMNS[role][:2]) for role in _NEEDED if role not in columns]
    if absent:
        raise DistractedError(
            f"{place}, line 1: no column {', '.join(absent)} (found: {printable(', '.join(names))}). "
            "The first line must name the columns img and split; subject, classname and correct may follow"
        )
    find = _Finder(images)
    seen: dict[str, int] = {}
    for line, row in rows:
        said = {role: (row[name] or "").strip() for role, name in columns.items()}
        where = f"{place}, line {line}"
        if said["side"].lower() not in _SIDES:
            raise DistractedError(f"{where}: split is {printable(said['side'])!r}, not train or test")
        correct = said.get("correct", "").lower()
        if correct not in ("", "0", "1", "true", "false"):
            raise DistractedError(f"{where}: correct is {printable(correct)!r}, not 0 or 1")
        path = find(said["path"], said.get("label", ""))
        if path is None:
            raise DistractedError(
                f"{where}: there is no frame {printable(said['path'])!r} below {images}. Say where the frames lie: "
                "--images FOLDER"
            )
        if str(path) in seen:
            raise DistractedError(f"{where}: {printable(said['path'])} is listed in line {seen[str(path)]} already")
        seen[str(path)] = line
        answered = correct in ("1", "true") if correct else None
        side = _SIDES[said["side"].lower()]
        yield Listed(path, side, said.get("subject", ""), said.get("label", ""), answered)


class _Finder:
    """Finds a csv's frames: at their path below a folder, in their class's folder, or by name anywhere below."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names: dict[str, Path] | None = None

    def __call__(self, name: str, label: str) -> Path | None:
        if not name:
            return None
        for path in self._likely(name, label):
            if path.is_file():
                return path
        if self._names is None:
            self._names = {
                path.name: path for path in sorted(self._folder.rglob("*")) if path.suffix.lower() in _FRAMES
            }
        return self._names.get(Path(name).name)

    def _likely(self, name: str, label: str) -> Iterable[Path]:
        yield self._folder / name
        if label:
            yield self._folder / label / name
            yield self._folder / "imgs" / "train" / label / name


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise DistractedError(f"there is no file {path}") from error
    except (OSError, ValueError) as error:
        raise DistractedError(f"{path} cannot be read as UTF-8 text ({error}). Save it as UTF-8") from error
