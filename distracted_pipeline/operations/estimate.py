"""How long the rest will take on this machine: ten images through each stage, times what is still missing.

Belongs here: the measuring behind `distracted doctor --hours`. It writes nothing into the data root;
models that are not here yet are fetched, as a run would.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from distracted_pipeline.devices import resolve_device
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.features.plan import wanted_taps
from distracted_pipeline.features.taps import TapStore
from distracted_pipeline.images.decode import ImageReader
from distracted_pipeline.images.folds import fold_rows
from distracted_pipeline.images.manifest import labelled, read_manifest
from distracted_pipeline.masks.fractions import GRID
from distracted_pipeline.memory import Pieces
from distracted_pipeline.options import RunOptions
from distracted_pipeline.scopes import FOLDS
from distracted_pipeline.settings import Settings
from distracted_pipeline.training.checkpoint import is_trained
from distracted_pipeline.training.inputs import PIXELS, Rows
from distracted_pipeline.training.loop import fit
from distracted_pipeline.variants.backbones import Backbone, load_backbone, why_unsupported
from distracted_pipeline.variants.config import VariantConfig, load_catalogue, replicates_of
from distracted_pipeline.variants.kinds import FRACTIONS
from distracted_pipeline.variants.networks import build_network

IMAGES = 10


@dataclass(frozen=True)
class Estimate:
    """What one stage will cost.

    Attributes:
        stage: Its name.
        seconds_each: Measured for one image (for trainings: one image in one epoch).
        count: How many are left.
    """

    stage: str
    seconds_each: float
    count: int

    @property
    def hours(self) -> float:
        """Return the time left at the measured pace."""
        return self.seconds_each * self.count / 3600


def estimate(settings: Settings, device: str = "auto") -> list[Estimate]:
    """Return masks, features and every variant's trainings, in the order of `distracted run`.

    The pace holds for one process. The measured epoch scores as many images as it learns from, so the estimate is a
    little too high. Loading models is not counted.

    Raises:
        DistractedError: There is no manifest, or a model cannot be loaded.
    """
    table = read_manifest(settings)
    images = labelled(table)
    rows = np.linspace(0, images.num_rows - 1, min(IMAGES, images.num_rows)).astype(int)
    with ImageReader(settings.data) as reader:
        frames = [reader.rgb(path) for path in images["path"].take(pa.array(rows)).to_pylist()]
    chosen = resolve_device(device)
    found = [_masks(settings, table, frames, device)]
    for model_name, taps in wanted_taps(settings)[0].items():
        found += _features(settings, model_name, taps, images, frames, chosen)
    for config in load_catalogue(settings).values():
        if why_unsupported(settings, config) is None:
            found += _trainings(settings, config, images, frames, chosen)
    return found


def in_words(estimates: list[Estimate]) -> Iterator[str]:
    """Yield a line per stage and one for the sum."""
    for each in estimates:
        pace = f"{1000 * each.seconds_each:,.1f} ms an image"
        yield f"{each.stage:<24} {each.hours:8.2f} h   {pace:>18} x {each.count:,}"
    yield f"{'together':<24} {sum(each.hours for each in estimates):8.2f} h"


def _masks(settings: Settings, table: pa.Table, frames: list[np.ndarray], device: str) -> Estimate:
    from distracted_pipeline.masks.cache import open_cache
    from distracted_pipeline.masks.identity import masks_are_given
    from distracted_pipeline.masks.loading import load_segmenter

    usable = set(table.filter(pa.compute.equal(table["status"], "ok"))["img"].to_pylist())
    cache = open_cache(settings)
    missing = len(usable - {img for subject in cache.subjects_done() for img in cache.imgs(subject)})
    if not missing or masks_are_given(settings):
        return Estimate("masks", 0.0, missing)
    segmenter = load_segmenter(settings, device)
    names = [f"{number}.jpg" for number in range(len(frames))]
    segmenter.segment(frames[:1], names[:1])
    return Estimate("masks", _pace(lambda: segmenter.segment(frames, names), len(frames)), missing)


def _features(
    settings: Settings,
    model_name: str | None,
    taps: list[str],
    images: pa.Table,
    frames: list[np.ndarray],
    device: torch.device,
) -> Iterator[Estimate]:
    """Yield the frozen pass of one backbone over the drivers whose taps are not cached."""
    store, subjects = TapStore(settings, model_name), images["subject"].to_pylist()
    unfilled = {subject for subject in set(subjects) if store.missing(subject, taps)}
    if unfilled:
        backbone = load_backbone(settings, model_name)
        pixels, deep = _pixels(backbone, frames), [tap for tap in taps if tap != PIXELS]
        _taps(backbone, pixels[:1], deep, device)
        pace = _pace(lambda: _taps(backbone, pixels, deep, device), len(frames))
        yield Estimate("features", pace, sum(subject in unfilled for subject in subjects))


def _trainings(
    settings: Settings, config: VariantConfig, images: pa.Table, frames: list[np.ndarray], device: torch.device
) -> Iterator[Estimate]:
    """Yield the missing trainings of one variant, and the pass through its own body where it has one."""
    untrained = [fold for fold in FOLDS if not _is_trained(settings, config.name, fold)]
    if not untrained:
        return
    backbone = load_backbone(settings, config.model_name) if config.taps else None
    net = build_network(config, backbone, settings.dataset).to(device)
    trainings = 1 if config.solves else replicates_of(settings, config)
    mask_ids = len(settings.dataset.mask_names)
    raw: dict[str, Tensor] = {FRACTIONS: torch.zeros(len(frames), mask_ids, *GRID, dtype=torch.float16)}
    if backbone is not None:
        raw[PIXELS] = _pixels(backbone, frames)
        raw |= _taps(backbone, raw[PIXELS], [tap for tap in config.taps if tap != PIXELS], device)
        if config.checkpoint:
            pace = _pace(lambda: _taps(backbone, raw[PIXELS], list(config.taps), device), len(frames))
            yield Estimate(f"{config.name}, body", pace, images.num_rows * len(untrained) * trainings)
    labels = torch.arange(len(frames)) % len(settings.dataset.class_ids)
    rows = Rows({name: raw[name] for name in config.inputs}, labels, backbone.preprocessing if backbone else None)
    once = config.model_copy(update={"epochs": 1, "batch_size": min(config.batch_size, len(frames))})

    def epoch() -> object:
        return fit([net], rows, rows, once, [0], RunOptions(device=str(device), log=lambda line: None))

    epoch()  # the first one also pays for torch's preparations
    pace = _pace(epoch, len(frames))
    images_seen = config.epochs * trainings * sum(len(fold_rows(images, fold).train) for fold in untrained)
    yield Estimate(config.name, pace, images_seen)


def _is_trained(settings: Settings, variant: str, fold: str) -> bool:
    try:
        return is_trained(settings, variant, fold)
    except DistractedError:  # the variant that it starts from is not trained yet
        return False


def _pixels(backbone: Backbone, frames: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack([backbone.preprocessing.resize(frame) for frame in frames]))


def _taps(backbone: Backbone, pixels: Tensor, names: list[str], device: torch.device) -> dict[str, Tensor]:
    trunk = backbone.trunk.to(device)

    def taps(part: slice) -> dict[str, Tensor]:
        found = trunk.taps(backbone.preprocessing.normalise(pixels[part].to(device)), names)
        return {name: value.half().cpu().clone() for name, value in found.items()}

    with torch.inference_mode():
        parts = list(Pieces(len(pixels), print).over(len(pixels), taps))
    return {name: torch.cat([part[name] for part in parts]) for name in names}


def _pace(work: Callable[[], object], images: int) -> float:
    start = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / images
