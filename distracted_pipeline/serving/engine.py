"""A trained model with all that it reads: an image in, probabilities out, for files, clips and cameras alike.

Belongs here: which model answers, the segmenter beside it, every forward pass of `distracted predict`. One network
answers, the first of a variant's trainings, as the champion is one: averaging them would cost as many passes. Which
images there are is the business of `predict_files` and `predict_video`.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from distracted_pipeline.advice import RUN
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.evaluation.checkpoint_facts import replicates
from distracted_pipeline.features.frozen_pass import PIXELS
from distracted_pipeline.masks.fractions import GRID, class_fractions
from distracted_pipeline.masks.identity import segmenter_fingerprint
from distracted_pipeline.masks.loading import load_segmenter
from distracted_pipeline.masks.segmenter import Segmenter
from distracted_pipeline.memory import Pieces
from distracted_pipeline.options import RunOptions
from distracted_pipeline.scopes import ORIGINAL_FOLD, SCOPES
from distracted_pipeline.serving.champion import ALIAS, MODEL, check_variant, required_version, usable_fold
from distracted_pipeline.serving.export import classifier_of
from distracted_pipeline.serving.familiarity import unlike_training
from distracted_pipeline.settings import Settings
from distracted_pipeline.training.checkpoint import load_trained
from distracted_pipeline.variants.backbones import Preprocessing
from distracted_pipeline.variants.kinds import FRACTIONS

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


@dataclass(frozen=True)
class Prepared:
    """An image on its way into the network.

    Attributes:
        arrays: In the order of the model's inputs.
        mask: uint8 `[H, W]` of category ids where the model reads masks, else None.
    """

    arrays: list[np.ndarray]
    mask: np.ndarray | None


@dataclass
class Engine:
    """A model, its segmenter where it needs one, and how many images fit at once.

    Attributes:
        settings: Whose models they are.
        model: What predicts.
        segmenter: None where the model reads no masks.
        pieces: Sizes of forward passes.
        notes: What a reader must know of the choice.
    """

    settings: Settings
    model: Model
    segmenter: Segmenter | None
    pieces: Pieces
    notes: list[str] = field(default_factory=list)

    def prepare(self, image: np.ndarray, name: str) -> Prepared:
        """Return what the network reads of an image, RGB uint8 `[H, W, 3]`.

        Raises:
            DistractedError: The segmenter cannot take it.
        """
        arrays, mask = {}, None
        if self.model.size:
            # Only its resize is used: the model normalises by itself.
            size = (self.model.size[0], self.model.size[1])
            arrays[PIXELS] = Preprocessing(size, (1.0,) * 3, (0.0,) * 3).resize(image)
        if self.segmenter is not None:
            mask = _mask(self.segmenter, image, name)
            arrays[FRACTIONS] = _fractions(mask, len(self.settings.dataset.mask_names))
        return Prepared([arrays[key] for key in self.model.inputs], mask)

    def predict(self, batch: Sequence[Prepared]) -> np.ndarray:
        """Return the probabilities of some images, float32 `[N, class]`."""
        inputs = [
            torch.from_numpy(np.stack([image.arrays[k] for image in batch])) for k in range(len(self.model.inputs))
        ]
        return np.concatenate(list(self.pieces.over(len(batch), lambda part: _run(self.model, inputs, part))))

    def unlike(self, frames: Sequence[np.ndarray]) -> list[str]:
        """Return a warning where most of some frames are unlike those that the model was trained on."""
        share = unlike_training(self.settings, self.model.about["train_subjects"], frames)
        if share is None or share < 0.5:
            return []
        kind = "drawings" if self.settings.synthetic else f"photographs of {self.settings.dataset.name}"
        return [
            f"warning: {share:.0%} of {len(frames)} frames looked at are unlike the {kind} that this model was trained "
            "on (distance of their embeddings): however sure it is of them, do not rely on it"
        ]


def load_engine(settings: Settings, variant: str, fold: str | None, options: RunOptions) -> Engine:
    """Return a model ready to predict.

    Args:
        settings: Where the models lie, and the segmenter for models that read masks.
        variant: Of the catalogue or trained by `distracted train`, or `champion`.
        fold: Whose weights; None takes the original fold's. The champion has its own.
        options: Device (the champion runs on the CPU), images at once, and who hears of halvings.

    Raises:
        DistractedError: No such model, or a segmenter that is needed is not there.
    """
    device = options.device_name()
    model = load_champion(settings, fold) if variant == ALIAS else load_variant(settings, variant, fold, device)
    pieces = Pieces(options.batch_size or _BATCH, options.log, remedy="name another variant")
    engine = Engine(settings, model, None, pieces, [model.chosen])
    if settings.synthetic:
        engine.notes.append("trained on drawings, not on photographs")
    if FRACTIONS in model.inputs:
        if segmenter_fingerprint(settings) != model.about["masks_fingerprint"]:
            engine.notes.append(
                f"warning: {model.about['variant']} learnt from masks of another segmenter than DISTRACTED_SEGMENTER "
                f"({settings.segmenter}), or of other class maps; its probabilities may be worse"
            )
        engine.segmenter = load_segmenter(settings, device)
    return engine


def load_variant(settings: Settings, variant: str, fold: str | None, device: str) -> Model:
    """Return the first training of a variant, on the original fold unless another is named.

    Raises:
        DistractedError: There is no such variant, or it is not trained.
    """
    check_variant(settings, variant)
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
        chosen = (
            f"{ALIAS}: {about['variant']}, fold {about['fold']}, version {version.version} of {MODEL} in MLflow "
            f"(macro recall {float(version.tags['macro_recall']):.3f} on {SCOPES[version.tags['scope']].words})"
        )
        return Model(module, tuple(about["inputs"]), tuple(about["size"]), torch.device("cpu"), about, chosen)
    except (OSError, MlflowException, KeyError, ValueError) as error:  # anybody may change tags, or move the alias
        changed = isinstance(error, (KeyError, ValueError))
        why = f"its tags or metadata are not as they were registered ({error})" if changed else str(error)
        raise DistractedError(
            f"the champion (version {version.version} of {MODEL}) cannot be used from {version.source}: {why}. "
            f"Register it again: delete {settings.evaluation / 'champion.json'} and type: {RUN}"
        ) from error


@torch.inference_mode()
def _run(model: Model, inputs: Sequence[Tensor], part: slice) -> np.ndarray:
    return model.run(*(value[part].to(model.device) for value in inputs)).float().cpu().numpy()


def _mask(segmenter: Segmenter, image: np.ndarray, name: str) -> np.ndarray:
    try:
        return segmenter.segment([image], [name])[0]
    except DistractedError:
        raise
    except Exception as error:  # whatever a model raises for a frame of odd shape: the other frames may be well
        why = str(error).strip().partition("\n")[0]
        raise DistractedError(f"the segmenter cannot take it ({type(error).__name__}: {why})") from error


def _fractions(mask: np.ndarray, mask_ids: int) -> np.ndarray:
    """Return what the mask cache would give for a mask, float32 `[mask_ids, 60, 80]`."""
    fractions = np.empty((mask_ids, *GRID), np.float16)
    class_fractions(mask, np.bincount(mask.ravel(), minlength=mask_ids), fractions)
    return fractions.astype(np.float32)
