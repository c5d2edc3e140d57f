"""Hugging Face image classifiers by id or folder: their weights, their fingerprint, what they do to pixels.

Belongs here: finding and loading. Does not belong here: where one can cut into a network (`trunks`), what is
trained on top (`networks`), and caching (`features`).
"""

import copy
import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.huggingface import quiet_transformers
from distracted_pipeline.settings import Settings
from distracted_pipeline.variants.config import VariantConfig
from distracted_pipeline.variants.trunks import EfficientNetTrunk, Trunk

_HASHED = ("config.json", "preprocessor_config.json")
_WEIGHTS = ("model*.safetensors",)
"""Pickled weights are never loaded."""


@dataclass(frozen=True)
class Preprocessing:
    """What a backbone's processor does to an image, reduced to one resize and one affine map per channel.

    Attributes:
        size: Height and width in pixels. The whole image is resized, never cropped: hands are at the border.
        scale: Per channel; a pixel value 0..255 becomes `value * scale + shift`.
        shift: Per channel.
    """

    size: tuple[int, int]
    scale: tuple[float, float, float]
    shift: tuple[float, float, float]

    def resize(self, image: np.ndarray | Image.Image) -> np.ndarray:
        """Return uint8 `[3, h, w]` of an RGB uint8 `[H, W, 3]`, bilinear with antialiasing.

        Whatever filter the processor names: EfficientNet's default is nearest, which drops thin objects.
        """
        height, width = self.size
        source = image if isinstance(image, Image.Image) else Image.fromarray(image)
        resized = source.resize((width, height), Image.Resampling.BILINEAR)
        return np.ascontiguousarray(np.asarray(resized).transpose(2, 0, 1))

    def normalise(self, pixels: Tensor) -> Tensor:
        """Return float32 of uint8 `[B, 3, h, w]`, as the processor would have scaled it, channels last in memory."""
        scale = torch.tensor(self.scale, device=pixels.device)[:, None, None]
        shift = torch.tensor(self.shift, device=pixels.device)[:, None, None]
        return (pixels.float() * scale + shift).contiguous(memory_format=torch.channels_last)


@dataclass(frozen=True)
class Backbone:
    """A loaded backbone.

    Attributes:
        name: Id or folder it was loaded from.
        fingerprint: 12 hex digits over weights, configuration and processor.
        trunk: The network without its classifier, in eval mode, nothing trainable yet.
        preprocessing: What happens to pixels before it.
    """

    name: str
    fingerprint: str
    trunk: Trunk
    preprocessing: Preprocessing


def load_backbone(settings: Settings, name: str | None = None) -> Backbone:
    """Return the backbone `name` (None: the settings' one), on the CPU in float32, free to be changed.

    Raises:
        DistractedError: It is not there, or its weights do not fit its configuration. Never a random stand-in.
    """
    source = _source(settings, name)
    fingerprint = backbone_fingerprint(settings, name)
    # Reading the files takes longer than a small training: the pristine trunk is kept, callers get copies.
    trunk = copy.deepcopy(_pristine_trunk(source, fingerprint))
    return Backbone(source, fingerprint, trunk, load_preprocessing(settings, name))


@lru_cache(maxsize=2)
def _pristine_trunk(source: str, fingerprint: str) -> Trunk:
    from transformers import AutoModelForImageClassification

    try:
        with quiet_transformers():
            model, report = AutoModelForImageClassification.from_pretrained(
                fetched_folder(source), dtype=torch.float32, use_safetensors=True, output_loading_info=True
            )
    except (OSError, ValueError) as error:
        raise _missing(source, error) from error
    lost = sorted(report["missing_keys"]) + sorted(str(key) for key in report["mismatched_keys"])
    if lost:
        raise DistractedError(
            f"backbone {source}: {len(lost)} weights of the configuration are not in the file (first: {lost[0]}). "
            "Set DISTRACTED_BACKBONE to a complete image-classification model."
        )
    kind = EfficientNetTrunk if model.config.model_type == "efficientnet" else Trunk
    # Channels last halves the time of depthwise convolutions on a CPU.
    return kind(model.eval()).requires_grad_(False).to(memory_format=torch.channels_last)


def load_preprocessing(settings: Settings, name: str | None = None) -> Preprocessing:
    """Return what the backbone's processor does to pixels, read off the processor itself.

    Raises:
        DistractedError: The folder has no usable `preprocessor_config.json`.
    """
    return _preprocessing(_source(settings, name))


def backbone_fingerprint(settings: Settings, name: str | None = None) -> str:
    """Return 12 hex digits over weights, configuration and processor files, without loading the model.

    Raises:
        DistractedError: As `fetched_folder`.
    """
    folder = fetched_folder(_source(settings, name))
    digest = hashlib.sha256()
    for path in [*(folder / file for file in _HASHED if (folder / file).is_file()), *_weights(folder)]:
        facts = path.stat()
        digest.update(f"{path.name}:{_file_hash(path, facts.st_mtime_ns, facts.st_size)}\n".encode())
    return digest.hexdigest()[:12]


def why_unsupported(settings: Settings, config: VariantConfig) -> str | None:
    """Return why a variant cannot be trained here, or None if it can (or if nobody knows yet).

    Reads `config.json` only: cheap enough to ask for every variant.
    """
    source = _source(settings, config.model_name)
    folder = local_folder(source) if config.taps else None
    family = None
    if folder is not None and (folder / "config.json").is_file():
        family = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    return config.technique.why_not(source, family)


def local_folder(source: str) -> Path | None:
    """Return the folder that holds a backbone's files, without any network access; None if there is none."""
    if Path(source).is_dir():
        return Path(source)
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        cached = try_to_load_from_cache(source, "config.json")
    except HFValidationError:
        return None
    return Path(cached).parent if isinstance(cached, str) else None


def fetched_folder(source: str) -> Path:
    """Return the folder of a backbone's files, downloading a hub model that is not in the cache yet.

    Raises:
        DistractedError: A local folder without weights, or a model that the hub does not give.
    """
    folder = local_folder(source)
    if folder is not None and _weights(folder):
        return folder
    if Path(source).is_dir():
        raise _missing(source, f"{folder} holds no weights (model.safetensors)")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:
        return Path(snapshot_download(source, allow_patterns=[*_HASHED, *_WEIGHTS]))
    except (OSError, ValueError, HFValidationError) as error:
        raise _missing(source, error) from error


def _weights(folder: Path) -> list[Path]:
    return next((found for pattern in _WEIGHTS if (found := sorted(folder.glob(pattern)))), [])


def _source(settings: Settings, name: str | None) -> str:
    """Make a variant's `model_name` absolute, as the settings do with their backbone: data root first."""
    if name is None:
        return settings.backbone
    inside = settings.data / name
    return str(inside.resolve()) if inside.is_dir() else name


@lru_cache(maxsize=8)
def _preprocessing(source: str) -> Preprocessing:
    from transformers import AutoImageProcessor

    try:
        with quiet_transformers():
            processor = AutoImageProcessor.from_pretrained(fetched_folder(source))
    except (OSError, ValueError) as error:
        raise _missing(source, error) from error
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    off = {"do_resize": False, "do_center_crop": False, "input_data_format": "channels_last"}
    table = np.asarray(processor(images=[ramp], return_tensors="np", **off)["pixel_values"][0], np.float64)[:, 0]
    scale = (table[:, -1] - table[:, 0]) / 255
    return Preprocessing(_size(processor), tuple(scale.tolist()), tuple(table[:, 0].tolist()))


def _size(processor: Any) -> tuple[int, int]:
    facts = processor.crop_size if processor.do_center_crop else processor.size
    side = getattr(facts, "shortest_edge", None)
    height, width = (side, side) if side else (facts["height"], facts["width"])
    return int(height), int(width)


@lru_cache(maxsize=64)
def _file_hash(path: Path, mtime_ns: int, size: int) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _missing(source: str, why: object) -> DistractedError:
    first = str(why).strip().split("\n")[0].rstrip(".")
    return DistractedError(
        f"backbone {source!r} (setting DISTRACTED_BACKBONE or the variant's model_name) cannot be loaded: {first}. "
        "Place config.json, preprocessor_config.json and model.safetensors of an image classifier in a folder "
        "and set DISTRACTED_BACKBONE to it, or go online once without HF_HUB_OFFLINE; then `distracted doctor`."
    )
