"""One pass of a fold's networks over images: how they are read, and what is found in each.

Everything is the mean over the fold's trainings, taken before anything is scaled: a network that says more of a class
weighs more. Which images are explained, and what is kept of them, is `explain`; the maps themselves are `gradcam`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from distracted_pipeline.evaluation.predictions import Part
from distracted_pipeline.memory import Pieces
from distracted_pipeline.options import RunOptions
from distracted_pipeline.progress import Progress
from distracted_pipeline.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor

    from distracted_pipeline.training.checkpoint import Trained
    from distracted_pipeline.variants.networks import VariantNet

_BATCH, _BATCH_CACHED = 16, 128


@dataclass(frozen=True)
class Explained:
    """What is known of one image; maps and contributions are means over trainings.

    Attributes:
        row: Of the part.
        cams: Of the predicted and of the true class, float32 [2, h, w].
        contributions: Of image and masks to the logits, [2, class]; None for a network with one branch.
        mask_cams: As `cams`, of the mask branch; None likewise, and for images that are not shown.
        each: Of the true class by each training, float32 [training, h, w].
    """

    row: int
    cams: np.ndarray
    contributions: np.ndarray | None
    mask_cams: np.ndarray | None
    each: np.ndarray


@dataclass(frozen=True)
class Plan:
    """How the images of one fold are read and which of them are averaged.

    Attributes:
        tap: The cached tap that the maps are computed from; None for what the network's `map_inputs` say.
        averaged: Rows of the part.
        everything: The part's rows are all averaged, because their maps cost next to nothing.
    """

    tap: str | None
    averaged: np.ndarray
    everything: bool


def explain_rows(
    settings: Settings,
    trained: "Sequence[Trained]",
    plan: Plan,
    part: Part,
    rows: list[int],
    shown: set[int],
    options: RunOptions,
) -> Iterator[Explained]:
    """Yield what is known of each of `rows`, driver by driver; of those in `shown` also the mask branch's CAMs."""
    import torch

    nets = [one.net for one in trained]
    where = next(nets[0].parameters()).device
    read = _reader(settings, trained[0], plan.tap)
    pieces = Pieces(options.batch_size or (_BATCH_CACHED if plan.everything else _BATCH), options.log)
    rows = sorted(rows, key=lambda row: (part.subject[row], row))  # caches lie by driver
    progress = Progress(len(rows), f"images of fold {part.fold}", options.log)

    def explain(chosen: slice) -> list[Explained]:
        now = rows[chosen]
        batch = {name: values.to(where) for name, values in read(part.img[now].tolist()).items()}
        targets = torch.from_numpy(np.stack([part.predicted[now], part.true[now]], 1).astype(np.int64)).to(where)
        wanted = [at for at, row in enumerate(now) if row in shown]
        each, both, few = _pass(nets, batch, targets, wanted)
        maps = each.mean(0)
        of_masks = {} if few is None else dict(zip(wanted, few, strict=True))
        return [
            Explained(row, maps[at], None if both is None else both[at], of_masks.get(at), each[:, at, 1])
            for at, row in enumerate(now)
        ]

    for some in pieces.over(len(rows), explain):
        yield from some
        progress.advance(len(some))


def _pass(
    nets: "Sequence[VariantNet]", batch: "dict[str, Tensor]", targets: "Tensor", wanted: list[int]
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Return a batch's CAMs by network; of its contributions and of the mask CAMs `wanted`, the means over networks."""
    import torch

    from distracted_pipeline.explanation.gradcam import contributions, explained, mask_cams

    maps, both, few = [], [], []
    chosen = {name: values[wanted] for name, values in batch.items()}
    for net in nets:
        found, logits = explained(net, batch, targets)
        maps.append(found.float())
        given = contributions(net, batch, logits)
        if given is None:
            continue
        both.append(given.double())
        of_masks = mask_cams(net, chosen, targets[wanted]) if wanted else None
        if of_masks is not None:
            few.append(of_masks.float())
    others = [torch.stack(some).mean(0).cpu().numpy() if some else None for some in (both, few)]
    return torch.stack(maps).cpu().numpy(), others[0], others[1]


def _reader(settings: Settings, trained: "Trained", tap: str | None) -> Callable[[list[str]], "dict[str, Tensor]"]:
    """Return what reads a batch of images: the network's `map_inputs`, `tap` in the place of pixels."""
    import torch

    from distracted_pipeline.features.frozen_pass import PIXELS
    from distracted_pipeline.features.taps import TapStore
    from distracted_pipeline.training.inputs import load_inputs
    from distracted_pipeline.variants.backbones import load_preprocessing

    model_name = trained.config.model_name
    names = tuple(name for name in trained.net.map_inputs if not (tap and name == PIXELS))
    store = TapStore(settings, model_name)

    def read(imgs: list[str]) -> "dict[str, Tensor]":
        batch = load_inputs(settings, names, imgs, model_name=model_name)
        if tap:
            values = torch.from_numpy(store.load([tap], imgs)[tap])
            batch[tap] = load_preprocessing(settings, model_name).normalise(values) if tap == PIXELS else values.float()
        return batch

    return read
