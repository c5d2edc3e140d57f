"""Where images lie when they are not where they belong, in words that say what to do.

Looks only when nothing was found in the right place. What the right place is, is `kaggle`'s to know.
"""

import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from distracted_pipeline.advice import RUN
from distracted_pipeline.images.archive import Archive
from distracted_pipeline.settings import DATA_SETTINGS_FILE, RAW_CSV

_DEPTH: Final = 4
_PACKED: Final = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst", ".7z", ".rar")
_UNFINISHED: Final = (".crdownload", ".part", ".partial", ".download", ".opdownload", ".tmp")


def where_else(root: Path, classes: Collection[str], zips: Sequence[Path]) -> str:
    """Return where in a data root, or in its zips, folders of the classes lie, and what to type; empty if nowhere."""
    right = root / "imgs" / "train"
    for folder in _folders(root, _DEPTH):
        if folder != right and _holds_classes(folder, classes):
            return _advice(root, folder)
    for path in zips:
        archive = Archive(path, path.name)
        try:
            for name in archive.members:
                parts = PurePosixPath(name).parts
                if name.lower().endswith(".zip"):
                    return f"{path.name} holds another zip, {name}: take that out of it into {root}, then: {RUN}"
                place = next((i for i, part in enumerate(parts[:-1]) if part in classes), None)
                if place is not None and parts[0] != "__MACOSX":
                    inside = "/".join(parts[:place]) or "the top"
                    return (
                        f"In {path.name} the class folders lie in {inside}; they belong in imgs/train. Unpack it so "
                        f"that they lie in {right}, then: {RUN}"
                    )
        finally:
            archive.close()
    unfinished = sorted(file.name for file in root.iterdir() if file.name.lower().endswith(_UNFINISHED))
    if unfinished:
        return f"{unfinished[0]} there is a download that has not finished: wait for it, or fetch it again; then: {RUN}"
    packed = sorted(file.name for file in root.iterdir() if file.name.lower().endswith(_PACKED))
    if packed:
        return f"{packed[0]} there is no zip: unpack it so that the class folders lie in {right}, then: {RUN}"
    return ""


def _advice(root: Path, folder: Path) -> str:
    if folder.name == "train" and folder.parent.name == "imgs" and root / "imgs" not in folder.parents:
        other = folder.parent.parent
        choice = f", or type: {RUN} --data {other}" if (other / RAW_CSV).is_file() else f", then: {RUN}"
        return f"The images lie {_deeper(root, other)}, in {folder}: move what is in {other} up into {root}{choice}"
    return f"Class folders lie in {folder}; they belong in {root / 'imgs' / 'train'}: move them there, then: {RUN}"


def _deeper(root: Path, folder: Path) -> str:
    levels = len(folder.relative_to(root).parts)
    return "one level deeper" if levels == 1 else f"{levels} levels deeper"


def _holds_classes(folder: Path, classes: Collection[str]) -> bool:
    return any((folder / name).is_dir() and any(os.scandir(folder / name)) for name in classes)


def _folders(folder: Path, depth: int) -> Iterator[Path]:
    """Yield a folder and those below it, the upper ones first; other data roots and hidden folders are left out."""
    level = [folder]
    for _ in range(depth + 1):
        yield from level
        level = [
            Path(entry.path)
            for above in level
            for entry in sorted(os.scandir(above), key=lambda entry: entry.name)
            if entry.is_dir() and entry.name[0] != "." and not (Path(entry.path) / DATA_SETTINGS_FILE).is_file()
        ]
