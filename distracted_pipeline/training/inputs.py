"""What networks read, as tensors: taps and pixels from the feature cache, class fractions from the mask cache.

Two forms: `Rows` keeps the cache's compact types and makes float batches on the device as training asks for
them; `load_inputs` returns everything as floats at once, for a handful of images. Not here: computing taps
(`features`) and masks (`masks`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from distracted_pipeline.advice import RUN
from distracted_pipeline.devices import autocast_dtype, resolve_device
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.features.frozen_pass import PIXELS
from distracted_pipeline.features.taps import TapStore
from distracted_pipeline.images.decode import ImageReader
from distracted_pipeline.images.manifest import read_manifest
from distracted_pipeline.memory import Pieces
from distracted_pipeline.options import RunOptions
from distracted_pipeline.progress import Progress
from distracted_pipeline.settings import Settings
from distracted_pipeline.variants.backbones import Preprocessing, load_preprocessing
from distracted_pipeline.variants.config import VariantConfig
from distracted_pipeline.variants.kinds import FRACTIONS
from distracted_pipeline.variants.networks import STANDARDISED, VariantNet

_OWN_CHUNK, _OWN_BATCH = 512, 32


@dataclass(frozen=True)
class Rows:
    """The inputs of N images in compact types (fp16, pixels uint8), and what turns them into floats.

    Attributes:
        raw: By input name, `[N, ...]`.
        labels: Class positions, int64 `[N]`.
        preprocessing: Scales `pixels`; None where there are none.
        dtype: Of the floats.
    """

    raw: dict[str, Tensor]
    labels: Tensor
    preprocessing: Preprocessing | None
    dtype: torch.dtype = torch.float32

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device) -> "Rows":
        """Return the rows on a device if they fit into half of its free memory, else the rows as they are."""
        if device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(device)
            if sum(values.nbytes for values in self.raw.values()) > free // 2:
                return self
        raw = {name: _rows_last(name, values.to(device)) for name, values in self.raw.items()}
        return replace(self, raw=raw, labels=self.labels.to(device))

    def standardised(self, net: VariantNet) -> "Rows":
        """Return the rows with pooled embeddings as `net`'s classifier reads them; rows without any as they are."""
        if "pooled" not in self.raw:
            return self
        device, pooled = net.classifier.weight.device, self.raw["pooled"]
        parts = [net.standardise(part.to(device, self.dtype)).to(pooled.device) for part in pooled.split(_OWN_CHUNK)]
        others = {name: values for name, values in self.raw.items() if name != "pooled"}
        return replace(self, raw={STANDARDISED: torch.cat(parts), **others})

    def batch(self, index: Tensor, device: torch.device) -> dict[str, Tensor]:
        """Return float inputs of the rows `index` on the device; pixels are normalised."""
        taken = {name: _taken(values, index.to(values.device)).to(device) for name, values in self.raw.items()}
        return {name: self._floats(name, values) for name, values in taken.items()}

    def _floats(self, name: str, values: Tensor) -> Tensor:
        if name == PIXELS and self.preprocessing is not None:
            return self.preprocessing.normalise(values).to(self.dtype)
        floats = values.to(self.dtype)
        return floats.contiguous(memory_format=torch.channels_last) if values.ndim == 4 else floats


def _rows_last(name: str, values: Tensor) -> Tensor:
    """Return maps channels last, as convolutions read them; pixels stay as they are until they are normalised."""
    return values.contiguous(memory_format=torch.channels_last) if values.ndim == 4 and name != PIXELS else values


def _taken(values: Tensor, index: Tensor) -> Tensor:
    """Return rows of a tensor in its own layout, which plain indexing would undo."""
    if values.ndim == 4 and values.is_contiguous(memory_format=torch.channels_last):
        return values.permute(0, 2, 3, 1).index_select(0, index).permute(0, 3, 1, 2)
    return values.index_select(0, index)


def load_rows(
    settings: Settings,
    config: VariantConfig,
    net: VariantNet,
    imgs: Sequence[str],
    labels: np.ndarray,
    options: RunOptions = RunOptions(),
) -> Rows:
    """Return what `net` reads of `imgs`, in that order; taps that are missing are computed first.

    Raises:
        DistractedError: An image has no mask, or a tap cannot be computed.
    """
    raw: dict[str, Tensor] = {}
    if config.taps and net.own_body and config.taps != (PIXELS,):
        raw |= _own_taps(settings, config, net, imgs, options)
    elif config.taps:
        raw |= load_taps(settings, config, config.taps, imgs, options)
    if FRACTIONS in config.inputs:
        raw[FRACTIONS] = torch.from_numpy(_fractions(settings, imgs))
    preprocessing = load_preprocessing(settings, config.model_name) if PIXELS in raw else None
    return Rows(raw, torch.from_numpy(labels.astype(np.int64)), preprocessing)


def _own_taps(
    settings: Settings, config: VariantConfig, net: VariantNet, imgs: Sequence[str], options: RunOptions
) -> dict[str, Tensor]:
    """Return the taps that a body of the network's own makes of `imgs`, in fp16 as the cache would keep them.

    In memory: such a body belongs to one variant and fold, and nothing else reads its taps.
    """
    assert net.trunk is not None
    chosen = resolve_device(options.device_name())
    options = replace(options, device=str(chosen))
    dtype = autocast_dtype(options.precision, chosen)
    trunk = net.trunk.to(chosen)
    preprocessing = load_preprocessing(settings, config.model_name)
    progress = Progress(len(imgs), "images through the checkpoint's body", options.log)
    pieces = Pieces(options.batch_size or _OWN_BATCH, options.log, what=f"variant {config.name}")
    parts: dict[str, list[Tensor]] = {tap: [] for tap in config.taps}

    def own(pixels: Tensor, part: slice) -> dict[str, Tensor]:
        found = trunk.taps(preprocessing.normalise(pixels[part].to(chosen)), config.taps)
        return {tap: values.half().cpu() for tap, values in found.items()}

    with torch.inference_mode(), torch.autocast(chosen.type, dtype, enabled=dtype is not None):
        for first in range(0, len(imgs), _OWN_CHUNK):
            chunk = load_taps(settings, config, (PIXELS,), imgs[first : first + _OWN_CHUNK], options)[PIXELS]
            for found in pieces.over(len(chunk), partial(own, chunk)):
                for tap, values in found.items():
                    parts[tap].append(values)
                progress.advance(len(next(iter(found.values()))))
    return {tap: torch.cat(values) for tap, values in parts.items()}


def load_taps(
    settings: Settings,
    config: VariantConfig,
    taps: Sequence[str],
    imgs: Sequence[str],
    options: RunOptions = RunOptions(),
) -> dict[str, Tensor]:
    """Return taps of `imgs` in fp16 (pixels uint8), after computing those that are missing."""
    store = TapStore(settings, config.model_name)
    table = read_manifest(settings)
    subject_of = dict(zip(table["img"].to_pylist(), table["subject"].to_pylist(), strict=True))
    for subject in sorted({subject_of[img] for img in imgs if img in subject_of}):
        missing = store.missing(subject, taps)
        if missing:
            options.log(f"taps {', '.join(missing)} of {subject} are not cached yet: computing them")
            options = replace(options, device=options.device_name())  # claimed once
            store.ensure(subject, taps, options)
    return {name: torch.from_numpy(values) for name, values in store.load(taps, imgs).items()}


def load_inputs(
    settings: Settings, names: Sequence[str], imgs: Sequence[str], *, model_name: str | None = None
) -> dict[str, Tensor]:
    """Return float32 inputs of `imgs` by name, in that order: for looking at a few images, not for training.

    Args:
        settings: Where the data lies.
        names: `pixels` (normalised), `fractions`, or taps.
        imgs: Image names of the manifest.
        model_name: The variant's own backbone (`config.model_name`), which decides size and scale of pixels.

    Raises:
        DistractedError: An image is not in the manifest, unreadable, or has no mask or tap.
    """
    found: dict[str, Tensor] = {}
    for name in names:
        if name == PIXELS:
            preprocessing = load_preprocessing(settings, model_name)
            found[name] = preprocessing.normalise(torch.from_numpy(_pixels(settings, preprocessing, imgs)))
        elif name == FRACTIONS:
            found[name] = torch.from_numpy(_fractions(settings, imgs)).float()
        else:
            found[name] = torch.from_numpy(TapStore(settings, model_name).load([name], imgs)[name]).float()
    return found


def _pixels(settings: Settings, preprocessing: Preprocessing, imgs: Sequence[str]) -> np.ndarray:
    table = read_manifest(settings)
    path_of = dict(zip(table["img"].to_pylist(), table["path"].to_pylist(), strict=True))
    unknown = [img for img in imgs if img not in path_of]
    if unknown:
        raise DistractedError(f"{unknown[0]} is not in {settings.manifest}. Type: {RUN}")
    with ImageReader(settings.data) as reader:
        return np.stack([preprocessing.resize(reader.rgb(path_of[img])) for img in imgs])


def _fractions(settings: Settings, imgs: Sequence[str]) -> np.ndarray:
    from distracted_pipeline.masks.cache import fraction_maps

    return fraction_maps(settings, imgs)
