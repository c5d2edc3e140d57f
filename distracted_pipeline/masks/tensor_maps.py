"""Class maps of a whole batch as tensors: what `postprocess` computes, for devices other than the CPU.

Belongs here: the same arithmetic without leaving the device, so that one byte a pixel is all that has to. On the CPU
`postprocess` is several times faster, and identical to transformers to the last bit; here a pixel may differ where two
queries, or a query and a threshold, are equal but for rounding.
"""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor
from torch.nn import functional

from distracted_pipeline.masks.families import Reading
from distracted_pipeline.masks.geometry import Geometry, whole_frame
from distracted_pipeline.masks.postprocess import contenders, sure_queries


def panoptic_maps(
    class_logits: Tensor,
    mask_logits: Tensor,
    table: Tensor,
    size: tuple[int, int],
    reading: Reading,
    geometry: Geometry | None = None,
    most: int | None = None,
) -> Tensor:
    """Return the category of every pixel of images of one size as uint8 `[B, H, W]`, on the device of the logits.

    The queries of all images are compared one rank at a time, so memory hardly grows with their number.

    Args:
        class_logits: `[B, Q, L + 1]`; the last label is "no object".
        mask_logits: `[B, Q, h, w]`.
        table: Category of every label id, uint8, on the same device.
        size: Height and width of the images.
        reading: That of the model's kind.
        geometry: Where in the model's input the images lie; None: they fill it.
        most: No image has more sure queries; None: the device is asked, and waited for.
    """
    geometry = geometry or whole_frame(*size)
    thresholds = reading.thresholds
    scores, labels, keep = sure_queries(class_logits, thresholds)
    most = most or max(int(keep.sum(1).max()), 1)
    # The sure queries of every image come first, in the model's order; the others weigh nothing and belong nowhere.
    queries = keep.byte().argsort(dim=1, descending=True, stable=True)[:, :most]
    weights = (scores * keep).gather(1, queries)
    categories = (table[labels.masked_fill(~keep, 0)] * keep).gather(1, queries)
    images = torch.arange(len(queries), device=queries.device)
    own: list[Tensor] = []
    owned: list[Tensor] = []

    def weighted() -> Iterator[Tensor]:
        for rank in range(most):
            planes = _probabilities(mask_logits[images, queries[:, rank]].float(), geometry, reading)
            if reading.own_only:
                owned.append(planes >= thresholds.mask)
            planes *= weights[:, rank, None, None]
            own.append(_count(owned[-1] if owned else planes >= thresholds.mask))
            yield planes

    winner = _winner(weighted())
    claims, won = torch.stack(own, 1), torch.stack([_count(winner == rank) for rank in range(most)], 1)
    maps = _looked_up(winner, categories * ((claims > 0) & (won / claims > thresholds.overlap)))
    for rank, mine in enumerate(owned):
        maps.masked_fill_((winner == rank) & ~mine, 0)
    return _on_frame(maps, geometry)


def most_sure(class_logits: Tensor, reading: Reading) -> Tensor:
    """Return how many sure queries an image of a batch has at most, on the device."""
    return sure_queries(class_logits, reading.thresholds)[2].sum(1).max()


def semantic_maps(logits: Tensor, table: Tensor, size: tuple[int, int], geometry: Geometry | None = None) -> Tensor:
    """Return the category of every pixel of images of one size as uint8 `[B, H, W]`, on the device of the logits.

    Args:
        logits: `[B, L, h, w]`.
        table: Category of every label id, uint8, on the same device.
        size: Height and width of the images.
        geometry: Where in the model's input the images lie; None: they fill it.
    """
    geometry = geometry or whole_frame(*size)
    logits = logits.float()
    classes = contenders(logits)
    winner = _winner(_laid(logits[:, label], geometry) for label in classes.tolist())
    return _on_frame(_looked_up(winner, table[classes].expand(len(logits), -1)), geometry)


def _probabilities(planes: Tensor, geometry: Geometry, reading: Reading) -> Tensor:
    """Return mask logits `[B, h, w]` as probabilities on what the model saw of the images."""
    if reading.working_size is not None:
        planes = _resized(planes, reading.working_size)
    if reading.content is not None:
        planes = planes[:, : reading.content[0], : reading.content[1]]
    if reading.sigmoid_last:
        return _laid(planes, geometry).sigmoid_()
    return _laid(planes.sigmoid_(), geometry, reading.antialias)


def _laid(planes: Tensor, geometry: Geometry, antialias: bool = False) -> Tensor:
    if geometry.plain:
        return _resized(planes, geometry.seen_size, antialias)
    return geometry.lay(planes)


def _on_frame(maps: Tensor, geometry: Geometry) -> Tensor:
    """Return class maps of what the model saw as those of the whole images, 0 around them."""
    if geometry.plain:
        return maps
    whole = maps.new_zeros((len(maps), geometry.rows.length, geometry.columns.length))
    whole[(slice(None), *geometry.seen)] = maps
    return whole


def _resized(planes: Tensor, size: tuple[int, int], antialias: bool = False) -> Tensor:
    planes = planes[:, None]
    return functional.interpolate(planes, size=size, mode="bilinear", align_corners=False, antialias=antialias)[:, 0]


def _winner(ranks: Iterable[Tensor]) -> Tensor:
    """Return the rank whose plane is the largest at a pixel, the first of equal ones, as int16 `[B, H, W]`."""
    planes = iter(ranks)
    best = next(planes)
    winner = torch.zeros_like(best, dtype=torch.int16)
    for rank, plane in enumerate(planes, start=1):
        winner.masked_fill_(plane > best, rank)
        best = torch.maximum(best, plane)
    return winner


def _looked_up(winner: Tensor, categories: Tensor) -> Tensor:
    """Return `categories[b, winner[b, y, x]]` for ranks `[B, H, W]` and categories `[B, K]`."""
    return categories.gather(1, winner.flatten(1).long()).view(winner.shape)


def _count(planes: Tensor) -> Tensor:
    return planes.flatten(1).sum(1)
