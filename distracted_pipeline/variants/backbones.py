"""Hugging Face image classifiers by id or folder: their weights, their fingerprint, what they do to pixels.

Belongs here: finding and loading. Does not belong here: where one can cut into a network (`trunks`), what is
trained on top (`networks`), and caching (`features`).
"""

import hashlib
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor

from distracted_pipeline.advice import DOCTOR
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.files import read_others_json
from distracted_pipeline.huggingface import lacking_weights, quiet_transformers
from distracted_pipeline.images.resize import resized
from distracted_pipeline.settings import Settings
from distracted_pipeline.variants.config import VariantConfig
from distracted_pipeline.variants.network_copies import Original
from distracted_pipeline.variants.trunks import EfficientNetTrunk, Trunk

_HASHED = ("config.json", "preprocessor_config.json", "processor_config.json")
_INDEX = "model.safetensors.index.json"
"""Which file holds which weights, where there are several."""

_WEIGHTS = ("model*.safetensors",)
"""Pickled weights are never loaded."""

_FRAMES = ((480, 640), (640, 480))
"""Height and width of ordinary frames: what becomes of their shapes tells the size of the input."""


@dataclass(frozen=True)
class Preprocessing:
    """What a backbone's processor does to an image, reduced to one resize and one affine map per channel.

    A processor that cannot be reduced so is refused (`load_preprocessing`).

    Attributes:
        size: Height and width in pixels. The whole image is resized, never cropped: hands are at the border.
        scale: Per channel; a pixel value 0..255 becomes `value * scale + shift`.
        shift: Per channel.
        order: Which of red, green and blue each channel of the input is.
    """

    size: tuple[int, int]
    scale: tuple[float, float, float]
    shift: tuple[float, float, float]
    order: tuple[int, int, int] = (0, 1, 2)

    def resize(self, image: np.ndarray | Image.Image) -> np.ndarray:
        """Return uint8 `[3, h, w]` of an RGB uint8 `[H, W, 3]`, bilinear with antialiasing.

        Whatever filter the processor names: EfficientNet's default is nearest, which drops thin objects.
        """
        return resized(image, self.size)

    def normalise(self, pixels: Tensor) -> Tensor:
        """Return float32 of RGB uint8 `[B, 3, h, w]` as the processor would have scaled it, channels last in memory."""
        scale = torch.tensor(self.scale, device=pixels.device)[:, None, None]
        shift = torch.tensor(self.shift, device=pixels.device)[:, None, None]
        if self.order != (0, 1, 2):
            pixels = pixels[:, list(self.order)]
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
        DistractedError: It is not there, its weights do not fit its configuration (never a random stand-in), or it
            does not make an embedding of a photograph.
    """
    source = _source(settings, name)
    fingerprint = backbone_fingerprint(settings, name)
    # Reading the files takes longer than a small training.
    trunk = _original_trunk(source, fingerprint).copy()
    return Backbone(source, fingerprint, trunk, load_preprocessing(settings, name))


@lru_cache(maxsize=2)
def _original_trunk(source: str, fingerprint: str) -> Original[Trunk]:
    from transformers import AutoModelForImageClassification

    try:
        with quiet_transformers():
            model, report = AutoModelForImageClassification.from_pretrained(
                fetched_folder(source), dtype=torch.float32, use_safetensors=True, output_loading_info=True
            )
    except (OSError, ValueError, SafetensorError) as error:
        raise _missing(source, error) from error
    kind = EfficientNetTrunk if model.config.model_type == "efficientnet" else Trunk
    trunk = kind(model.eval())
    lost = [*sorted(report["missing_keys"]), *sorted(str(key) for key in report["mismatched_keys"])]
    lost = [key for key in lost if key.partition(".")[0] not in trunk.removed]
    if lost:
        raise DistractedError(
            f"backbone {source}: {len(lost)} weights of the configuration are not in the file (first: {lost[0]}). "
            "Set DISTRACTED_BACKBONE to a complete image-classification model."
        )
    # Channels last halves the time of depthwise convolutions on a CPU.
    trunk = trunk.requires_grad_(False).to(memory_format=torch.channels_last)
    _try(trunk, _preprocessing(source), source)
    return Original(trunk)


def _try(trunk: Trunk, preprocessing: Preprocessing, source: str) -> None:
    """Fail where a network makes no embedding of photographs, whatever it raises."""
    channels = getattr(trunk.model.config, "num_channels", 3)
    if channels != 3:
        raise _unfit(source, f"it reads images of {channels} channel{'s' * (channels > 1)}, and photographs have 3")
    noise = torch.randint(0, 256, (2, 3, *preprocessing.size), generator=torch.Generator().manual_seed(0))
    try:
        with torch.no_grad():
            _, pooled = trunk(preprocessing.normalise(noise.byte()))
    except Exception as error:  # a network of another family fails in its own way
        first = str(error).strip().partition("\n")[0].rstrip(".")
        size = "x".join(map(str, preprocessing.size[::-1]))
        raise _unfit(source, f"{trunk.family} fails on images of {size} ({type(error).__name__}: {first})") from error
    if pooled.shape != (2, trunk.width):
        raise _unfit(source, f"{trunk.family} gives {list(pooled.shape[1:])} numbers instead of {trunk.width}")


def load_preprocessing(settings: Settings, name: str | None = None) -> Preprocessing:
    """Return what the backbone's processor does to pixels, read off the processor itself.

    Raises:
        DistractedError: The folder has no usable `preprocessor_config.json`, or the processor does more than resize,
            reorder and scale.
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
        try:
            family = read_others_json(folder / "config.json")["model_type"]
        except (ValueError, KeyError, OSError) as error:
            return str(_missing(source, f"its config.json is damaged ({type(error).__name__}: {error})"))
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
    lacking = lacking_weights(folder, _WEIGHTS) if folder is not None else ""
    if folder is not None and not lacking:
        return folder
    if Path(source).is_dir():
        raise _missing(source, f"{folder} holds no weights ({lacking})")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:
        return Path(snapshot_download(source, allow_patterns=[*_HASHED, _INDEX, *_WEIGHTS]))
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
    size = _size(processor, source)
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    table = _unresized(processor, ramp, source)[:, 0].astype(np.float64)
    scale = (table[:, -1] - table[:, 0]) / 255
    preprocessing = Preprocessing(size, tuple(scale.tolist()), tuple(table[:, 0].tolist()))
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    wanted = torch.from_numpy(_unresized(processor, noise, source))
    for first, second, third in permutations(range(3)):
        found = replace(preprocessing, order=(first, second, third))
        made = found.normalise(torch.from_numpy(noise.transpose(2, 0, 1)[None].copy()))[0]
        if made.shape == wanted.shape and torch.allclose(made, wanted, atol=1e-3 * float(wanted.abs().max())):
            return found
    raise _unfit(source, "its processor does more to pixels than resize them, reorder their channels and scale them")


def _unresized(processor: Any, image: np.ndarray, source: str) -> np.ndarray:
    """Return what a processor makes of RGB uint8 `[h, w, 3]` without resizing or cropping, float32 `[3, h, w]`."""
    return _pixels(processor, image, source, do_resize=False, do_center_crop=False)


def _pixels(processor: Any, image: np.ndarray, source: str, **options: Any) -> np.ndarray:
    try:
        made = processor(images=[image], return_tensors="np", input_data_format="channels_last", **options)
        pixels = np.asarray(made["pixel_values"][0], np.float32)
    except Exception as error:  # a processor of another kind fails in its own way
        first = str(error).strip().partition("\n")[0].rstrip(".")
        raise _unfit(source, f"its processor fails on a photograph ({type(error).__name__}: {first})") from error
    if pixels.ndim != 3 or len(pixels) != 3:
        raise _unfit(source, f"its processor makes {list(pixels.shape)} numbers of a photograph instead of an image")
    return pixels


def _size(processor: Any, source: str) -> tuple[int, int]:
    """Return height and width of the input: what the processor makes of any frame, else the size that it names."""
    with suppress(DistractedError):  # some fail on photographs though they name a size
        shapes = {_pixels(processor, np.zeros((*size, 3), np.uint8), source).shape[1:] for size in _FRAMES}
        if len(shapes) == 1:
            height, width = shapes.pop()
            return int(height), int(width)
    facts = dict(getattr(processor, "size", None) or {})
    for names in (("shortest_edge",) * 2, ("longest_edge",) * 2, ("height", "width"), ("max_height", "max_width")):
        if all(facts.get(name) for name in names):
            return int(facts[names[0]]), int(facts[names[1]])
    raise _unfit(source, f"its processor says no size that frames get (size: {facts})")


@lru_cache(maxsize=64)
def _file_hash(path: Path, mtime_ns: int, size: int) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _unfit(source: str, why: str) -> DistractedError:
    return DistractedError(
        f"backbone {source!r} (setting DISTRACTED_BACKBONE or the variant's model_name) cannot be used: {why}. "
        "Name another image classifier there, then type: " + DOCTOR
    )


def _missing(source: str, why: object) -> DistractedError:
    first = str(why).strip().split("\n")[0].rstrip(".")
    return DistractedError(
        f"backbone {source!r} (setting DISTRACTED_BACKBONE or the variant's model_name) cannot be loaded: {first}. "
        "Place config.json, preprocessor_config.json and model.safetensors of an image classifier in a folder "
        "and set DISTRACTED_BACKBONE to it, or go online once without HF_HUB_OFFLINE; then `distracted doctor`."
    )
