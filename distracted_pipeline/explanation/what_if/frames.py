"""Frames and masks as networks read them, altered on the way, and what the networks say.

All at the size that the network sees: what an alteration does there is all that can reach the answer, and filling a
region costs a twentieth of what it would on the full frame. Belongs here: reading and running. Which alterations there
are is for each stage to say (`counterfactuals`, `mask_ablation`, `robustness`).

Altered frames are the same for every variant, and so is what a frozen body makes of them. They are made once, as all
variants on that backbone read them, and kept in memory while variant after variant is asked.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
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
_MOST_KEPT = 2**30
"""Bytes of altered frames that are kept for the next variant."""


@dataclass(frozen=True)
class Frame:
    """One frame on its way to the networks.

    Attributes:
        row: Of the part.
        img: Image name.
        subject: Driver.
        true: Position of its class.
        pixels: uint8 RGB `[h, w, 3]` at the network's size.
        mask: uint8 `[H, W]` of category ids at the mask's own size; None where nobody reads masks.
    """

    row: int
    img: str
    subject: str
    true: int
    pixels: np.ndarray
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
    pixels: np.ndarray
    mask: np.ndarray | None
    on_objects: float | None = None


Alter = Callable[[Frame], Iterable[Version]]
"""What is made of a frame beside the frame itself."""


@dataclass(frozen=True)
class Shown:
    """Who was shown what.

    Attributes:
        img: Image name.
        subject: Driver.
        true: Position of its class.
        about: See `tables.Look`.
        name: Likewise, `version`.
        on_objects: Likewise.
    """

    img: str
    subject: str
    true: int
    about: str
    name: str
    on_objects: float | None


@dataclass(frozen=True)
class Altered:
    """The versions of a fold's frames, as all networks on one backbone read them, on the CPU.

    Attributes:
        shown: A line for each version.
        inputs: By tap, fp16, or `pixels`, uint8; a row for each distinct picture.
        picture: Row of each version in these.
        maps: Class fractions, fp16; a row for each distinct mask. None where nobody reads masks.
        map: Row of each version in these.
    """

    shown: list[Shown]
    inputs: "dict[str, Tensor]"
    picture: "Tensor"
    maps: "Tensor | None"
    map: "Tensor"

    @property
    def bytes(self) -> int:
        """Size in memory."""
        return sum(values.nbytes for values in (*self.inputs.values(), *([] if self.maps is None else [self.maps])))


_kept: dict[str, Altered] = {}


def alter_frames(
    settings: Settings,
    trained: "Trained",
    part: Part,
    rows: Sequence[int],
    alter: Alter,
    options: RunOptions,
    *,
    key: tuple[str, str],
    need_masks: bool,
) -> Altered:
    """Return a fold's frames and their altered versions as the variants of the catalogue read them.

    Args:
        settings: Where frames and masks lie.
        trained: Whom it is for: says which backbone.
        part: The fold's predictions: which frames there are.
        rows: Of the part, the frames to alter.
        alter: Makes the versions of one frame; the original is added.
        options: Device, images at once, who hears of progress.
        key: Names what `alter` does, and the fold: the same is not made twice in a row.
        need_masks: `alter` reads masks, even where no network does.

    Raises:
        DistractedError: A frame is unreadable, or its mask is read and it has none.
    """
    taps, fractions = _read_by_variants(settings, trained)
    whole = "\0".join([*key, str(settings), *map(str, rows), *sorted(taps), *part.img.tolist()])
    for other in [name for name in _kept if not name.startswith(f"{key[0]}\0")]:
        del _kept[other]
    if whole not in _kept:
        made = _make(settings, trained, part, rows, alter, options, taps, fractions, need_masks or fractions)
        if made.bytes + sum(each.bytes for each in _kept.values()) > _MOST_KEPT:
            return made
        _kept[whole] = made
    return _kept[whole]


def ask(
    settings: Settings, trained: "Sequence[Trained]", altered: Altered, options: RunOptions = RunOptions()
) -> np.ndarray:
    """Return what every training of a fold says of altered frames, float32 [replicate, version, class]."""
    import torch
    from torch.nn import functional

    from distracted_pipeline.features.frozen_pass import PIXELS
    from distracted_pipeline.training.inputs import FRACTIONS
    from distracted_pipeline.variants.backbones import load_preprocessing

    nets, config = [one.net for one in trained], trained[0].config
    where = next(nets[0].parameters()).device
    whole = config.taps == (PIXELS,) or nets[0].own_body  # the network begins with the pixels
    preprocessing = load_preprocessing(settings, config.model_name) if whole else None
    names = (PIXELS,) if whole else config.taps
    pieces = Pieces(options.batch_size or _BATCH, options.log, what=f"variant {config.name}")

    def answer(part: slice) -> "Tensor":
        batch: dict[str, Tensor] = {}
        for name in names:
            values = altered.inputs[name][altered.picture[part]].to(where)
            batch[name] = preprocessing.normalise(values) if preprocessing is not None else values.float()
        if FRACTIONS in nets[0].map_inputs:
            assert altered.maps is not None
            batch[FRACTIONS] = altered.maps[altered.map[part]].to(where).float()
        run = [net.forward_from_images if whole else net for net in nets]
        return torch.stack([functional.softmax(one(batch).double(), 1) for one in run]).cpu()

    with torch.inference_mode():
        found: np.ndarray = torch.cat(list(pieces.over(len(altered.shown), answer)), 1).float().numpy()
    return found


def read_frames(
    settings: Settings, trained: "Trained", part: Part, rows: Sequence[int], *, masks: bool
) -> Iterator[Frame]:
    """Yield frames of a part, driver by driver, as a network reads them; `masks` as they are in the cache.

    For a network without a backbone, at the size that the data root's backbone reads.
    """
    from distracted_pipeline.images.decode import ImageReader
    from distracted_pipeline.images.manifest import read_manifest
    from distracted_pipeline.masks.cache import open_cache
    from distracted_pipeline.variants.backbones import load_preprocessing

    table = read_manifest(settings)
    path_of = dict(zip(table["img"].to_pylist(), table["path"].to_pylist(), strict=True))
    preprocessing = load_preprocessing(settings, trained.config.model_name)
    cache = open_cache(settings) if masks else None
    with ImageReader(settings.data) as reader:
        for row in sorted(rows, key=lambda row: (part.subject[row], row)):  # caches lie by driver
            img = str(part.img[row])
            pixels = np.ascontiguousarray(preprocessing.resize(reader.rgb(path_of[img])).transpose(1, 2, 0))
            mask = cache.mask(img) if cache is not None else None
            yield Frame(row, img, str(part.subject[row]), int(part.true[row]), pixels, mask)


def _read_by_variants(settings: Settings, trained: "Trained") -> tuple[set[str], bool]:
    """Return what the catalogue's variants on a network's backbone read: their taps, and whether any reads masks."""
    from distracted_pipeline.features.frozen_pass import PIXELS
    from distracted_pipeline.training.inputs import FRACTIONS
    from distracted_pipeline.variants.config import load_catalogue

    config = trained.config
    alike = [other for other in load_catalogue(settings).values() if other.model_name == config.model_name]
    taps = {tap for other in (config, *alike) if not other.checkpoint for tap in other.taps}
    if any(other.checkpoint for other in alike) or trained.net.own_body:
        taps.add(PIXELS)
    return taps, any(FRACTIONS in other.inputs for other in (config, *alike))


def _make(
    settings: Settings,
    trained: "Trained",
    part: Part,
    rows: Sequence[int],
    alter: Alter,
    options: RunOptions,
    taps: set[str],
    fractions: bool,
    masks: bool,
) -> Altered:
    import torch

    read = _reader(settings, trained, taps, options)
    progress = Progress(len(rows), f"frames of fold {part.fold}, altered", options.log)
    ids = 1 + len(settings.dataset.categories)
    shown: list[Shown] = []
    pictures: list[dict[str, Tensor]] = []
    picture: list[int] = []
    maps: list[np.ndarray] = []
    which: list[int] = []

    def made(frame: Frame) -> tuple[Frame, list[Version], dict[int, np.ndarray]]:
        versions = [Version("", ORIGINAL, frame.pixels, frame.mask), *alter(frame)]
        seen = {id(v.mask): v.mask for v in versions if fractions and v.mask is not None}
        return frame, versions, {key: _fractions(mask, ids) for key, mask in seen.items()}

    waiting: list[np.ndarray] = []
    count = 0
    with ThreadPoolExecutor(cores()) as pool:
        frames = read_frames(settings, trained, part, rows, masks=masks)
        for frame, versions, seen in ahead(pool, made, frames, lambda: _FRAMES_AHEAD):
            distinct = {id(v.pixels): v.pixels for v in versions}
            place = {key: count + i for i, key in enumerate(distinct)}
            count += len(distinct)
            mask_place = {key: len(maps) + i for i, key in enumerate(seen)}
            maps += seen.values()
            for v in versions:
                shown.append(Shown(frame.img, frame.subject, frame.true, v.about, v.name, v.on_objects))
                picture.append(place[id(v.pixels)])
                which.append(mask_place.get(id(v.mask), 0))
            waiting += distinct.values()
            if len(waiting) >= _CHUNK:
                pictures.append(read(np.stack(waiting)))
                waiting = []
            progress.advance(1)
    if waiting:
        pictures.append(read(np.stack(waiting)))
    return Altered(
        shown,
        {name: torch.cat([each[name] for each in pictures]) for name in pictures[0]} if pictures else {},
        torch.tensor(picture),
        torch.from_numpy(np.stack(maps)) if maps else None,
        torch.tensor(which),
    )


def _reader(
    settings: Settings, trained: "Trained", taps: set[str], options: RunOptions
) -> "Callable[[np.ndarray], dict[str, Tensor]]":
    """Return what makes the taps of pictures, uint8 `[B, h, w, 3]`, in fp16 as the cache has them."""
    import torch

    from distracted_pipeline.features.frozen_pass import PIXELS
    from distracted_pipeline.variants.backbones import load_backbone, load_preprocessing

    model_name = trained.config.model_name
    where = next(trained.net.parameters()).device
    preprocessing, deep = load_preprocessing(settings, model_name), sorted(taps - {PIXELS})
    pieces = Pieces(options.batch_size or _BATCH, options.log)
    body = load_backbone(settings, model_name).trunk.to(where) if deep else None
    if body is not None:
        body.streamline()

    def read(pictures: np.ndarray) -> "dict[str, Tensor]":
        pixels = torch.from_numpy(np.ascontiguousarray(pictures.transpose(0, 3, 1, 2)))
        found = {PIXELS: pixels} if PIXELS in taps else {}
        if body is None:
            return found

        def of(part: slice) -> "dict[str, Tensor]":
            with torch.inference_mode():
                made = body.taps(preprocessing.normalise(pixels[part].to(where)), deep)
                return {name: values.half().cpu() for name, values in made.items()}

        parts = list(pieces.over(len(pixels), of))
        return found | {name: torch.cat([each[name] for each in parts]) for name in deep}

    return read


def _fractions(mask: np.ndarray, ids: int) -> np.ndarray:
    import cv2

    from distracted_pipeline.masks.fractions import GRID, class_fractions

    out = np.empty((ids, *GRID), np.float16)
    class_fractions(mask, cv2.calcHist([mask], [0], None, [ids], [0, ids]).ravel(), out)
    return out
