"""Predictions for anybody's frames: files in, probabilities out, as `distracted predict` prints them.

Belongs here: which files, which model, what a reader must know about the outcome. One network answers, the first of a
variant's trainings, as the champion is one: averaging them would cost as many passes. Predicting the held-out drivers
of a fold, which is what evaluation counts, is `evaluation.predict`.
"""

import hashlib
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from distracted_pipeline.advice import RUN, did_you_mean
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.evaluation.checkpoint_facts import replicates
from distracted_pipeline.features.taps import PIXELS
from distracted_pipeline.images.decode import decode_rgb, file_bytes
from distracted_pipeline.images.frames import is_litter
from distracted_pipeline.images.manifest import labelled, read_manifest
from distracted_pipeline.images.names import printable
from distracted_pipeline.images.problems import ImageProblem
from distracted_pipeline.masks.fractions import GRID, class_fractions
from distracted_pipeline.masks.identity import segmenter_fingerprint
from distracted_pipeline.masks.loading import load_segmenter
from distracted_pipeline.masks.segmenter import Segmenter
from distracted_pipeline.memory import Pieces
from distracted_pipeline.options import RunOptions
from distracted_pipeline.progress import Progress
from distracted_pipeline.scopes import ORIGINAL_FOLD
from distracted_pipeline.serving.champion import ALIAS, MODEL, required_version, usable_fold
from distracted_pipeline.serving.export import classifier_of
from distracted_pipeline.serving.familiarity import SAMPLE, unlike_training
from distracted_pipeline.settings import Settings
from distracted_pipeline.training.checkpoint import load_trained
from distracted_pipeline.variants.backbones import Preprocessing
from distracted_pipeline.variants.config import load_catalogue
from distracted_pipeline.variants.kinds import FRACTIONS

CHAMPION = ALIAS

_BATCH = 32


@dataclass(frozen=True)
class Model:
    """What predicts.

    Attributes:
        run: From `inputs`, in that order, to probabilities `[B, class]`.
        inputs: `pixels` uint8 and `fractions`, those that it reads.
        size: Height and width of pixels; empty where it reads none.
        device: Where its inputs go.
        about: variant, fold, train_subjects, validation_subjects, masks_fingerprint.
        chosen: Which model it is and why, in one line.
    """

    run: Callable[..., Tensor]
    inputs: tuple[str, ...]
    size: tuple[int, ...]
    device: torch.device
    about: dict[str, Any]
    chosen: str


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
        variant: Of the catalogue or trained by `distracted train`, or `champion`.
        fold: Whose weights; None takes the original fold's. The champion has its own.
        options: Device (the champion runs on the CPU), images at once, and who hears of progress.

    Raises:
        DistractedError: No such path, nothing in it, no such model, or a segmenter that is needed is not there.
    """
    folder, names = _files(path)
    device = options.device_name()
    model = load_champion(settings, fold) if variant == CHAMPION else load_variant(settings, variant, fold, device)
    nothing = np.empty((0, len(settings.dataset.class_ids)), np.float32)
    result = FilePredictions(nothing, notes=[model.chosen, *_skipped_folders(path)])
    if settings.synthetic:
        result.notes.append("trained on drawings, not on photographs")
    segmenter = _segmenter(settings, model, device, result.notes)
    parts: list[np.ndarray] = []
    seen: list[str] = []
    digests = _known_images(settings, model)
    progress = Progress(len(names), "images", options.log)
    pieces = Pieces(options.batch_size or _BATCH, options.log, remedy="name another variant")
    size, mask_ids = pieces.size, len(settings.dataset.mask_names)
    for batch in _batches(folder, names, model, segmenter, mask_ids, size, digests, seen, result.failed):
        inputs = [torch.from_numpy(np.stack([arrays[k] for _, arrays in batch])) for k in range(len(model.inputs))]
        parts += pieces.over(len(batch), partial(_run, model, inputs))
        result.imgs += [name for name, _ in batch]
        progress.advance(len(batch))
    if parts:
        result.probabilities = np.concatenate(parts)
    if seen:
        result.notes.append(
            f"warning: {len(seen)} of {len(names)} images are of drivers that this model was trained on "
            f"({printable(seen[0])} first): what it says about them is no evidence of how good it is"
        )
    result.notes += _unlike(settings, model, folder, result.imgs)
    return result


def _unlike(settings: Settings, model: Model, folder: Path, imgs: Sequence[str]) -> list[str]:
    """Return a warning where most of the frames are unlike those that the model was trained on."""
    places = np.unique(np.linspace(0, len(imgs) - 1, min(SAMPLE, len(imgs))).astype(int)) if imgs else ()
    frames = [decode_rgb(file_bytes(folder / imgs[place], imgs[place]), imgs[place]) for place in places]
    share = unlike_training(settings, model.about["train_subjects"], frames)
    if share is None or share < 0.5:
        return []
    kind = "drawings" if settings.synthetic else f"photographs of {settings.dataset.name}"
    return [
        f"warning: {share:.0%} of {len(frames)} frames looked at are unlike the {kind} that this model was trained on "
        "(distance of their embeddings): however sure it is of them, do not rely on it"
    ]


@torch.inference_mode()
def _run(model: Model, inputs: Sequence[Tensor], part: slice) -> np.ndarray:
    return model.run(*(value[part].to(model.device) for value in inputs)).float().cpu().numpy()


def load_variant(settings: Settings, variant: str, fold: str | None, device: str) -> Model:
    """Return the first training of a variant, on the original fold unless another is named.

    Raises:
        DistractedError: There is no such variant, or it is not trained.
    """
    if not (settings.models / variant).is_dir() and variant not in (known := load_catalogue(settings)):
        raise DistractedError(
            f"there is no variant {variant!r}.{did_you_mean(variant, [*known, CHAMPION])} "
            f"Choose from {', '.join(known)}, or {CHAMPION}."
        )
    used = fold or usable_fold(settings, variant)
    trained = load_trained(settings, variant, used, device)
    module = classifier_of(settings, trained)
    why = "as asked" if fold else "the original split" if used == ORIGINAL_FOLD else "the first that is trained"
    of = max(1, replicates(settings, variant, used))
    chosen = (
        f"{variant}, fold {used} ({why}), training 1 of {of}, trained on {len(trained.meta['train_subjects'])} drivers"
    )
    return Model(module, module.inputs, module.size or (), next(module.net.parameters()).device, trained.meta, chosen)


def load_champion(settings: Settings, fold: str | None = None) -> Model:
    """Return the model that is registered as the champion, as it was exported.

    Raises:
        DistractedError: None is registered, MLflow does not answer, or a fold was named.
    """
    version = required_version(settings, fold)
    import mlflow.pytorch
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException
    from mlflow.models import Model as Saved

    try:
        # A copy: MLflow reads paths as URIs, and those of the data root may hold `#` or `?`.
        with tempfile.TemporaryDirectory() as copy:
            folder = download_artifacts(artifact_uri=version.source, tracking_uri=settings.mlflow_uri, dst_path=copy)
            module = mlflow.pytorch.load_model(folder)
            about = Saved.load(folder).metadata or {}
    except (OSError, MlflowException) as error:
        raise DistractedError(
            f"the champion (version {version.version} of {MODEL}) cannot be read from {version.source} ({error}). "
            f"Register it again: delete {settings.evaluation / 'champion.json'} and type: {RUN}"
        ) from error
    chosen = (
        f"{CHAMPION}: {about['variant']}, fold {about['fold']}, version {version.version} of {MODEL} in MLflow "
        f"(macro recall {float(version.tags['macro_recall']):.3f}, {version.tags['scope']})"
    )
    return Model(module, tuple(about["inputs"]), tuple(about["size"]), torch.device("cpu"), about, chosen)


def natural(name: str) -> list[tuple[bool, int, str]]:
    """Return the key that puts frame_2 before frame_10."""
    return [
        (not part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in re.split(r"(\d+)", name) if part
    ]


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


def _segmenter(settings: Settings, model: Model, device: str, notes: list[str]) -> Segmenter | None:
    if FRACTIONS not in model.inputs:
        return None
    if segmenter_fingerprint(settings) != model.about["masks_fingerprint"]:
        notes.append(
            f"warning: {model.about['variant']} learnt from masks of another segmenter than DISTRACTED_SEGMENTER "
            f"({settings.segmenter}), or of other class maps; its probabilities may be worse"
        )
    return load_segmenter(settings, device)


def _known_images(settings: Settings, model: Model) -> set[str]:
    """Return the digests of the images that trained the model or chose its epoch; names say nothing about frames."""
    table = labelled(read_manifest(settings))
    subjects = [*model.about["train_subjects"], *model.about["validation_subjects"]]
    rows = table.filter(pc.is_in(table["subject"], value_set=pa.array(subjects, pa.string())))
    return set(rows["sha256"].to_pylist())


def _batches(
    folder: Path,
    names: Sequence[str],
    model: Model,
    segmenter: Segmenter | None,
    mask_ids: int,
    size: int,
    known: set[str],
    seen: list[str],
    failed: dict[str, str],
) -> Iterator[list[tuple[str, list[np.ndarray]]]]:
    """Yield names with their inputs; put those that cannot be read into `failed`, those of `known` also into `seen`."""
    batch: list[tuple[str, list[np.ndarray]]] = []
    # Only its resize is used: the model normalises by itself.
    resizer = Preprocessing((model.size[0], model.size[1]), (1.0,) * 3, (0.0,) * 3) if model.size else None
    for name in names:
        try:
            data = file_bytes(folder / name, name)
            image = decode_rgb(data, name)
            arrays = {}
            if resizer is not None:
                arrays[PIXELS] = resizer.resize(image)
            if segmenter is not None:
                arrays[FRACTIONS] = _fractions(segmenter, mask_ids, image, name)
        except ImageProblem as problem:
            failed[name] = problem.what
            continue
        except DistractedError as error:
            failed[name] = str(error)
            continue
        if hashlib.sha256(data).hexdigest() in known:
            seen.append(name)
        batch.append((name, [arrays[key] for key in model.inputs]))
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _fractions(segmenter: Segmenter, mask_ids: int, image: np.ndarray, name: str) -> np.ndarray:
    """Return what the mask cache would give for the image, float32 `[mask_ids, 60, 80]`."""
    try:
        mask = segmenter.segment([image], [name])[0]
    except DistractedError:
        raise
    except Exception as error:  # whatever a model raises for a frame of odd shape: the other frames may be well
        why = str(error).strip().partition("\n")[0]
        raise DistractedError(f"the segmenter cannot take it ({type(error).__name__}: {why})") from error
    fractions = np.empty((mask_ids, *GRID), np.float16)
    class_fractions(mask, np.bincount(mask.ravel(), minlength=mask_ids), fractions)
    return fractions.astype(np.float32)
