"""The readers `folders` and `list`: frames that `dataset.yaml` says how to find, each known by its path.

`folders` walks a folder of class folders and takes drivers from a csv or from the paths; `list` takes what text files
list, one frame a line. Frames lie in folders; none is unlabelled. What lines mean is `labels`.
"""

import stat
import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

from distracted_pipeline.advice import RUN
from distracted_pipeline.dataset import DATASET_FILE, Dataset
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.images.frames import Frame, Source, entries, is_file, is_folder, stamp, unsafe
from distracted_pipeline.images.labels import Label, Line, label_lines, read_labels
from distracted_pipeline.images.names import image_name, is_plain_file_name
from distracted_pipeline.images.problems import OK, Problem


def find(root: Path, dataset: Dataset, source: Source) -> None:
    """Add the frames and labels that the data set's description names.

    Raises:
        DistractedError: A folder or file that the description names is absent, or holds no frame.
        OSError: Something cannot be read.
    """
    for name in dataset.labels.files:
        if not (root / name).is_file():
            raise DistractedError(
                f"{root / name} is missing, which {DATASET_FILE} names under `labels`. Put it there, or correct "
                f"{DATASET_FILE}, then: {RUN}"
            )
        source.files.append((name, (root / name).read_bytes()))
    if dataset.labels.reader == "list":
        labels, problems = read_labels(source.files, dataset)
        source.labels = lambda: (labels, problems)
        source.frames += _listed(root, labels)
        return
    folder = root / dataset.labels.root
    source.frames += _walk(folder, "", root, dataset, source.problems)
    if not source.frames:
        raise DistractedError(
            f"{folder} holds no images. It is the `root` in {DATASET_FILE}: put the class folders there, or correct "
            f"{DATASET_FILE}, then: {RUN}"
        )
    if source.files:
        source.labels = partial(read_labels, source.files, dataset)
    else:
        below = len(f"{dataset.labels.root}/")
        lines = [Line(frame.path, None, frame.path[below:]) for frame in source.frames]
        source.labels = partial(label_lines, lines, dataset)


def _listed(root: Path, labels: list[Label]) -> Iterator[Frame]:
    """Yield the frames that usable labels name, where there is anything."""
    for label in labels:
        if label.status != OK:
            continue
        for form in (None, "NFC", "NFD"):  # as the list has it, as most systems write it, as macOS does
            path = label.path if form is None else unicodedata.normalize(form, label.path)
            with suppress(FileNotFoundError, NotADirectoryError):  # `rows.join` says so
                found = (root / path).stat()
                regular = stat.S_ISREG(found.st_mode)
                yield Frame(label.img, path, found.st_size if regular else -1, stamp(found) if regular else "")
                break


def _walk(folder: Path, below: str, root: Path, dataset: Dataset, problems: list[Problem]) -> Iterator[Frame]:
    """Yield the files under a folder, links followed, in name order; `below` is where in the folder of all images."""
    for entry in entries(folder):
        where = f"{below}{entry.name}"
        path = f"{dataset.labels.root}/{where}"
        if not is_plain_file_name(image_name(where)):
            problems.append(unsafe(path))
        elif is_folder(entry):
            yield from _walk(folder / entry.name, f"{where}/", root, dataset, problems)
        elif path in dataset.labels.files:
            continue
        elif is_file(entry):
            found = entry.stat()
            yield Frame(image_name(where), path, found.st_size, stamp(found))
        else:
            yield Frame(image_name(where), path, -1, "")
