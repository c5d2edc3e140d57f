"""Predictions for anybody's frames: files in, probabilities out, as `distracted predict` prints them.

Belongs here: which files, which of them trained the model. What a model makes of an image is `engine`; clips are
`predict_video`. Predicting the held-out drivers of a fold, which is what evaluation counts, is `evaluation.predict`.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.images.decode import decode_rgb, file_bytes
from distracted_pipeline.images.frames import is_litter
from distracted_pipeline.images.manifest import labelled, read_manifest
from distracted_pipeline.images.names import natural, printable
from distracted_pipeline.images.problems import ImageProblem
from distracted_pipeline.options import RunOptions
from distracted_pipeline.progress import Progress
from distracted_pipeline.serving.engine import Engine, Model, Prepared, load_engine
from distracted_pipeline.serving.familiarity import SAMPLE
from distracted_pipeline.settings import Settings


@dataclass
class FilePredictions:
    """What came out.

    Attributes:
        probabilities: float32 `[N, class]`, rows as `imgs`.
        imgs: Files that could be predicted, in natural order, relative to the folder that was named.
        failed: Every other file, with the reason.
        notes: What a reader must know: which model it was, and which images prove nothing.
    """

    probabilities: np.ndarray
    imgs: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def predict_files(
    settings: Settings,
    path: Path,
    variant: str,
    *,
    fold: str | None = None,
    options: RunOptions = RunOptions(),
) -> FilePredictions:
    """Predict an image, or every file of a folder (a video's frames, say), in natural order.

    Args:
        settings: Where the models lie, and the segmenter for models that read masks.
        path: A JPEG, or a folder of them; folders in it are not read.
        variant: As for `load_engine`.
        fold: Likewise.
        options: Likewise; `log` also hears of progress.

    Raises:
        DistractedError: No such path, nothing in it, no such model, or a segmenter that is needed is not there.
    """
    folder, names = _files(path)
    engine = load_engine(settings, variant, fold, options)
    nothing = np.empty((0, len(settings.dataset.class_ids)), np.float32)
    result = FilePredictions(nothing, notes=[*engine.notes, *_skipped_folders(path)])
    known = _known_images(settings, engine.model)
    parts: list[np.ndarray] = []
    seen: list[str] = []
    progress = Progress(len(names), "images", options.log)
    images = _readable(folder, names, engine, result.failed)
    while batch := list(islice(images, engine.pieces.size)):
        parts.append(engine.predict([image.prepared for image in batch]))
        result.imgs += [image.name for image in batch]
        seen += [image.name for image in batch if image.sha256 in known]
        progress.advance(len(batch))
    if parts:
        result.probabilities = np.concatenate(parts)
    if seen:
        result.notes.append(
            f"warning: {len(seen)} of {len(names)} images are of drivers that this model was trained on "
            f"({printable(seen[0])} first): what it says about them is no evidence of how good it is"
        )
    result.notes += engine.unlike(_some(folder, result.imgs))
    return result


def _some(folder: Path, imgs: Sequence[str]) -> list[np.ndarray]:
    """Return a few images, spread over all."""
    places = np.unique(np.linspace(0, len(imgs) - 1, min(SAMPLE, len(imgs))).astype(int)) if imgs else ()
    return [decode_rgb(file_bytes(folder / imgs[place], imgs[place]), imgs[place]) for place in places]


def _files(path: Path) -> tuple[Path, list[str]]:
    if path.is_file():
        return path.parent, [path.name]
    if not path.is_dir():
        raise DistractedError(f"{path} is neither a file nor a folder. Name a JPEG, or a folder of them.")
    names = sorted(
        (file.name for file in path.iterdir() if not file.is_dir() and not is_litter(file.name)), key=natural
    )
    if not names:
        raise DistractedError(f"{path} holds no files. Name a JPEG, or a folder of them (folders in it are not read).")
    return path, names


def _skipped_folders(path: Path) -> list[str]:
    folders = sum(1 for entry in path.iterdir() if entry.is_dir()) if path.is_dir() else 0
    return [f"{folders} folders in {path} are not read"] if folders else []


def _known_images(settings: Settings, model: Model) -> set[str]:
    """Return the digests of the images that trained the model or chose its epoch; names say nothing about frames."""
    table = labelled(read_manifest(settings))
    subjects = [*model.about["train_subjects"], *model.about["validation_subjects"]]
    rows = table.filter(pc.is_in(table["subject"], value_set=pa.array(subjects, pa.string())))
    return set(rows["sha256"].to_pylist())


class _Image(NamedTuple):
    name: str
    sha256: str
    prepared: Prepared


def _readable(folder: Path, names: Sequence[str], engine: Engine, failed: dict[str, str]) -> Iterator[_Image]:
    """Yield the images that can be read, ready for the network; put the others into `failed`, with the reason."""
    for name in names:
        try:
            data = file_bytes(folder / name, name)
            prepared = engine.prepare(decode_rgb(data, name), name)
        except ImageProblem as problem:
            failed[name] = problem.what
        except DistractedError as error:
            failed[name] = str(error)
        else:
            yield _Image(name, hashlib.sha256(data).hexdigest(), prepared)
