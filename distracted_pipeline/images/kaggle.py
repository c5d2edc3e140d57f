"""The reader `kaggle`: Kaggle's tree in the data root, or Kaggle's zip dropped there, and its csv.

Lists frames with their sizes and change stamps; opens none of them. What the csv says is for `labels`, what is in the
images for `decode`.
"""

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Final

from distracted_pipeline.advice import RUN
from distracted_pipeline.dataset import Dataset
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.images.archive import SEPARATOR, Archive
from distracted_pipeline.images.frames import Frame, Source, entries, is_file, is_folder, is_litter, stamp, unsafe
from distracted_pipeline.images.labels import read_labels
from distracted_pipeline.images.misplaced import where_else
from distracted_pipeline.images.names import composed, is_plain_file_name
from distracted_pipeline.images.problems import Problem, problem
from distracted_pipeline.settings import RAW_CSV

IMAGES: Final = "imgs"

DOWNLOAD: Final = (
    "Download https://www.kaggle.com/c/state-farm-distracted-driver-detection/data and put the zip, or imgs/ and "
    f"{RAW_CSV} from it, there; or draw a data set with: distracted demo"
)

_MAC_LITTER: Final = "__MACOSX/"
_MEMBER: Final = re.compile(
    r"(?P<prefix>(?!__MACOSX/)(?:[^/]+/)*?)imgs/(?:train/(?:(?P<folder>[^/]+)/)?|test/)(?P<img>[^/]+)"
)


def find(root: Path, dataset: Dataset, source: Source) -> None:
    """Add the frames and the csv of a data root in Kaggle's layout; the tree wins over a zip beside it.

    The csv is the one in the data root if there is one, else the one in the zip.

    Raises:
        DistractedError: No frames or no csv.
        OSError: Something cannot be read.
    """
    zips = sorted(path for path in root.glob("*.zip") if path.is_file() and not is_litter(path.name))
    _find_frames(root, dataset, zips, source)
    source.files.append(_find_csv(root, zips, source))
    source.labels = partial(read_labels, source.files, dataset)


def _find_frames(root: Path, dataset: Dataset, zips: list[Path], source: Source) -> None:
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
    if not any(frame.labelled for frame in source.frames) and (elsewhere := where_else(root, dataset.class_ids, zips)):
        raise DistractedError(f"{root} holds no labelled images where they belong. {elsewhere}")
    if not source.frames:
        tried = f" (looked into {', '.join(z.name for z in zips)})" if zips else ""
        raise DistractedError(
            f"{root} holds no images: no {IMAGES}/train/{dataset.class_ids[0]} … {dataset.class_ids[-1]}, and no zip "
            f"with them{tried}. {DOWNLOAD}"
        )


def _tree(root: Path, problems: list[Problem]) -> Iterator[Frame]:
    """Yield the frames under `imgs/`, links followed, folders and files in name order."""
    train = root / IMAGES / "train"
    for entry in entries(train):
        if is_folder(entry):
            if is_plain_file_name(entry.name):
                yield from _folder(train / entry.name, root, entry.name, problems)
            else:
                problems.append(unsafe(f"{IMAGES}/train/{entry.name}"))
    yield from _folder(train, root, "", problems)
    yield from _folder(root / IMAGES / "test", root, None, problems)


def _folder(path: Path, root: Path, folder: str | None, problems: list[Problem]) -> Iterator[Frame]:
    shown = path.relative_to(root).as_posix()
    for entry in entries(path):
        where = f"{shown}/{entry.name}"
        if is_folder(entry):
            if folder != "":
                problems.append(_nested(where))
        elif not is_plain_file_name(entry.name):
            problems.append(unsafe(where))
        elif is_file(entry):
            stat = entry.stat()
            yield Frame(composed(entry.name), where, stat.st_size, stamp(stat), folder, folder is not None)
        else:
            yield Frame(composed(entry.name), where, -1, "", folder, folder is not None)


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
        if not name.startswith((train, test)) or is_litter(name.rpartition("/")[2]):
            continue
        path = f"{archive.shown}{SEPARATOR}{name}"
        if match is None:
            nested.add(path.rpartition("/")[0])
        elif not is_plain_file_name(match["img"]) or not is_plain_file_name(match["folder"] or "-"):
            source.problems.append(unsafe(path))
        else:
            folder = None if name.startswith(test) else match["folder"] or ""
            member = archive.members[name]
            member_stamp = f"{member.file_size}:{member.CRC:08x}"
            yield Frame(composed(match["img"]), path, member.file_size, member_stamp, folder, folder is not None)
    source.problems += [_nested(folder) for folder in sorted(nested)]


def _find_csv(root: Path, zips: list[Path], source: Source) -> tuple[str, bytes]:
    """Return the csv of the data root, else of the frames' zip, else of any zip (it may come zipped alone)."""
    inside = _csv_member(source.archive) if source.archive else ""
    path = root / RAW_CSV
    if path.is_file():
        if source.archive and inside:
            source.notes.append(f"{RAW_CSV} in the data root is used, not the one in {source.archive.shown}")
        return RAW_CSV, path.read_bytes()
    if source.archive and inside:
        return f"{source.archive.shown}{SEPARATOR}{inside}", source.archive.read(inside)
    for other in zips:
        with closing(Archive(other, other.name)) as archive:
            if inside := _csv_member(archive):
                return f"{other.name}{SEPARATOR}{inside}", archive.read(inside)
    state = "is missing"
    if path.is_symlink() or path.is_dir():
        state = "is a folder" if path.is_dir() else "is a link to nowhere"
    raise DistractedError(
        f"{path} {state}, so nobody knows which driver and class an image shows. Copy it there from Kaggle's zip, "
        f"then: {RUN}"
    )


def _csv_member(archive: Archive) -> str:
    names = [
        name for name in archive.members if f"/{name}".endswith(f"/{RAW_CSV}") and not name.startswith(_MAC_LITTER)
    ]
    return min(names, key=lambda name: (name.count("/"), name), default="")


def _nested(where: str) -> Problem:
    return problem("nested folder", where, None, "images in a folder inside an image folder are not read")
