"""Frames and masks as the networks of a fold read them, altered on the way, and what the networks say.

All at the size that the network sees: what an alteration does there is all that can reach the answer, and filling a
region costs a twentieth of what it would on the full frame. Belongs here: reading and running. Which alterations there
are is for each stage to say (`counterfactuals`, `mask_ablation`, `robustness`).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from distracted_pipeline.evaluation.predictions import Part
from distracted_pipeline.explanation.what_if.tables import ORIGINAL
from distracted_pipeline.images.feeder import ahead, cores
from distracted_pipeline.memory import Pieces
from distracted_pipeline.options import RunOptions
from distracted_pipeline.progress import Progress
from distracted_pipeline.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor

    from distracted_pipeline.training.checkpoint import Trained

_BATCH, _FRAMES_AHEAD, _CHUNK = 64, 8, 256


@dataclass(frozen=True)
class Frame:
    """One frame on its way to the networks.

    Attributes:
        row: Of the part.
        img: Image name.
        subject: Driver.
        true: Position of its class.
        pixels: uint8 RGB `[h, w, 3]` at the network's size; None where none of the networks reads pixels.
        mask: uint8 `[H, W]` of category ids at the mask's own size; None where it has none.
    """

    row: int
    img: str
    subject: str
    true: int
    pixels: np.ndarray | None
    mask: np.ndarray | None


@dataclass(frozen=True)
class Version:
    """A frame as it is shown to the networks.

    Attributes:
        about: See `tables.Look`.
        name: Likewise, `version`.
        pixels: As in `Frame`; the frame's own where only the mask is altered.
        mask: Likewise.
        on_objects: See `tables.Look`.
    """

    about: str
    name: str
    pixels: np.ndarray | None
    mask: np.ndarray | None
    on_objects: float | None = None


Alter = Callable[[Frame], Iterable[Version]]
"""What is made of a frame beside the frame itself."""


@dataclass
class Said:
    """What the networks said of some versions, in order.

    Attributes:
        frames: The frame of each version.
        versions: Pixels and masks are dropped.
        probabilities: float32 [replicate, version, class].
    """

    frames: list[Frame] = field(default_factory=list)
    versions: list[Version] = field(default_factory=list)
    probabilities: np.ndarray = field(default_factory=lambda: np.empty((0, 0, 0), np.float32))


def ask(
    settings: Settings,
    trained: "Sequence[Trained]",
    part: Part,
    rows: Sequence[int],
    alter: Alter,
    options: RunOptions = RunOptions(),
    *,
    need_masks: bool = False,
) -> Said:
    """Return what every training of a fold says of frames that it never saw, and of their altered versions.

    Args:
        settings: Where frames and masks lie.
        trained: The fold's trainings.
        part: The fold's predictions: which frames there are.
        rows: Of the part, the frames to ask about.
        alter: Makes the versions of one frame; the original is added.
        options: Device, images at once, who hears of progress.
        need_masks: `alter` reads masks, even where the networks do not.

    Raises:
        DistractedError: A frame is unreadable, or the networks read masks and it has none.
    """
    net = trained[0].net
    reads = frozenset(net.map_inputs)
    answer = _answerer(settings, trained, options)
    said, found = Said(), []
    progress = Progress(len(rows), f"frames of fold {part.fold}, altered", options.log)
    frames = read_frames(settings, trained[0], part, rows, masks=need_masks or "fractions" in reads)

    def made(frame: Frame) -> tuple[Frame, list[tuple[Version, np.ndarray | None]]]:
        versions = [Version("", ORIGINAL, frame.pixels, frame.mask), *alter(frame)]
        slim = [Version(v.about, v.name, v.pixels, None, v.on_objects) for v in versions]  # masks are large
        maps = [_fractions(settings, v.mask, "fractions" in reads) for v in versions]
        return frame, list(zip(slim, maps, strict=True))

    waiting: list[tuple[Version, np.ndarray | None]] = []
    with ThreadPoolExecutor(cores()) as pool:
        for frame, versions in ahead(pool, made, frames, lambda: _FRAMES_AHEAD):
            said.frames += [Frame(frame.row, frame.img, frame.subject, frame.true, None, None)] * len(versions)
            said.versions += [Version(v.about, v.name, None, None, v.on_objects) for v, _ in versions]
            waiting += versions
            if len(waiting) >= _CHUNK:
                found.append(answer(waiting))
                waiting = []
            progress.advance(1)
    if waiting:
        found.append(answer(waiting))
    said.probabilities = np.concatenate(found, axis=1)
    return said


def read_frames(
    settings: Settings, trained: "Trained", part: Part, rows: Sequence[int], *, masks: bool
) -> Iterator[Frame]:
    """Yield frames of a part, driver by driver, as a network reads them; `masks` as they are in the cache."""
    from distracted_pipeline.images.decode import ImageReader
    from distracted_pipeline.images.manifest import read_manifest
    from distracted_pipeline.masks.cache import open_cache
    from distracted_pipeline.variants.backbones import load_preprocessing

    table = read_manifest(settings)
    path_of = dict(zip(table["img"].to_pylist(), table["path"].to_pylist(), strict=True))
    preprocessing = load_preprocessing(settings, trained.config.model_name) if trained.config.taps else None
    cache = open_cache(settings) if masks else None
    with ImageReader(settings.data) as reader:
        for row in sorted(rows, key=lambda row: (part.subject[row], row)):  # caches lie by driver
            img = str(part.img[row])
            pixels = None
            if preprocessing is not None:
                pixels = np.ascontiguousarray(preprocessing.resize(reader.rgb(path_of[img])).transpose(1, 2, 0))
            mask = cache.mask(img) if cache is not None else None
            yield Frame(row, img, str(part.subject[row]), int(part.true[row]), pixels, mask)


def _fractions(settings: Settings, mask: np.ndarray | None, wanted: bool) -> np.ndarray | None:
    from distracted_pipeline.masks.fractions import GRID, class_fractions

    if not wanted or mask is None:
        return None
    ids = 1 + len(settings.dataset.categories)
    out = np.empty((ids, *GRID), np.float16)
    class_fractions(mask, np.bincount(mask.ravel(), minlength=ids), out)
    return out


def _answerer(
    settings: Settings, trained: "Sequence[Trained]", options: RunOptions
) -> Callable[[list[tuple[Version, np.ndarray | None]]], np.ndarray]:
    """Return what gives the probabilities of versions, float32 [replicate, version, class].

    What the networks have in common is computed once for all of them: the frozen body up to the tap that they read, in
    fp16 as the cache has it. Versions that share their pixels share that, too.
    """
    import torch
    from torch.nn import functional

    from distracted_pipeline.features.taps import PIXELS
    from distracted_pipeline.training.inputs import FRACTIONS
    from distracted_pipeline.variants.backbones import load_backbone, load_preprocessing

    nets, config = [one.net for one in trained], trained[0].config
    where = next(nets[0].parameters()).device
    pieces = Pieces(options.batch_size or _BATCH, options.log, what=f"variant {config.name}")
    common = config.taps if config.taps != (PIXELS,) and not any(net.own_body for net in nets) else ()
    preprocessing = load_preprocessing(settings, config.model_name) if config.taps else None
    body = None
    if common:
        body = load_backbone(settings, config.model_name).trunk.to(where)
        body.streamline()

    def of_pixels(part: slice, pixels: np.ndarray) -> "dict[str, Tensor]":
        assert preprocessing is not None
        x = preprocessing.normalise(torch.from_numpy(pixels[part].transpose(0, 3, 1, 2).copy()).to(where))
        return {PIXELS: x} if body is None else {k: v.half().float() for k, v in body.taps(x, common).items()}

    def answer(versions: list[tuple[Version, np.ndarray | None]]) -> np.ndarray:
        given: dict[str, Tensor] = {}
        with torch.inference_mode():
            if preprocessing is not None:
                kept = {id(version.pixels): version.pixels for version, _ in versions}
                distinct = np.stack([pixels for pixels in kept.values() if pixels is not None])
                parts = list(pieces.over(len(distinct), lambda part: of_pixels(part, distinct)))
                place = {key: i for i, key in enumerate(kept)}
                index = torch.tensor([place[id(version.pixels)] for version, _ in versions], device=where)
                given = {name: torch.cat([each[name] for each in parts])[index] for name in parts[0]}
            if FRACTIONS in nets[0].map_inputs:
                maps = np.stack([fractions for _, fractions in versions if fractions is not None])
                given[FRACTIONS] = torch.from_numpy(maps).to(where).float()

            def logits(part: slice) -> "Tensor":
                batch = {name: values[part] for name, values in given.items()}
                run = [net if common or not config.taps else net.forward_from_images for net in nets]
                return torch.stack([functional.softmax(one(batch).double(), 1) for one in run]).cpu()

            return torch.cat(list(pieces.over(len(versions), logits)), 1).float().numpy()

    return answer
