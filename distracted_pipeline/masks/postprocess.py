"""From a segmentation model's raw output to one class map per image.

Belongs here: the arithmetic, on tensors and arrays. Loading and running models is `models`.

The reference for universal models is their `post_process_panoptic_segmentation` in transformers followed by
a remap of its segments. The class map here is bit-identical to it wherever the reference is right: with
fused labels its segment counter restarts and two classes can share an id
(https://github.com/huggingface/transformers/issues/23461); taking the class of the winning query
itself cannot collide. Where the processor pads or crops, the reference stretches the map all the same,
and being right beats being equal (`geometry`).

It is an order of magnitude cheaper because unconfident queries are dropped
before any upsampling and each of the others is upsampled, compared and forgotten while it is in cache.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from distracted_pipeline.masks.families import Reading
from distracted_pipeline.masks.geometry import Geometry, whole_frame
from distracted_pipeline.masks.segmenter import Thresholds

_VECTORISED_PERIMETER = 128
"""Where height plus width is at most this, torch upsamples across channels, and their number decides the last bit."""


@dataclass(frozen=True)
class Queries:
    """The confident queries of one image, on the CPU.

    Attributes:
        masks: Logits float32 `[K, h, w]`.
        scores: Class probabilities float32 `[K]`.
        labels: Label ids int64 `[K]`.
    """

    masks: Tensor
    scores: Tensor
    labels: Tensor


def sure_queries(class_logits: Tensor, thresholds: Thresholds) -> tuple[Tensor, Tensor, Tensor]:
    """Return score and label of every query `[B, Q]`, and which of them count.

    Args:
        class_logits: `[B, Q, L + 1]`; the last label is "no object".
        thresholds: Only `score` is used.
    """
    scores, labels = class_logits.float().softmax(-1).max(-1)
    return scores, labels, labels.ne(class_logits.shape[-1] - 1) & (scores > thresholds.score)


def confident_queries(class_logits: Tensor, mask_logits: Tensor, thresholds: Thresholds) -> list[Queries]:
    """Return each image's confident queries; only those leave the device.

    Args:
        class_logits: `[B, Q, L + 1]`; the last label is "no object".
        mask_logits: `[B, Q, h, w]`.
        thresholds: Only `score` is used.
    """
    scores, labels, keep = sure_queries(class_logits, thresholds)
    counts = keep.sum(1).tolist()
    masks = mask_logits[keep].float().cpu().split(counts)
    return [
        Queries(*parts)
        for parts in zip(masks, scores[keep].cpu().split(counts), labels[keep].cpu().split(counts), strict=True)
    ]


def panoptic_map(
    queries: Queries,
    table: np.ndarray,
    size: tuple[int, int],
    reading: Reading,
    geometry: Geometry | None = None,
) -> np.ndarray:
    """Return the category of every pixel of one image as uint8 `[H, W]`.

    Args:
        queries: The confident queries, in the model's order (ties go to the first).
        table: Category of every label id, uint8 (`labels.category_table`).
        size: Height and width of the image.
        reading: That of the model's kind.
        geometry: Where in the model's input the image lies; None: it fills it.
    """
    geometry = geometry or whole_frame(*size)
    seen = geometry.seen_size
    result = np.zeros(seen, np.uint8)
    count = len(queries.scores)
    if not count:
        return np.zeros(size, np.uint8)
    thresholds = reading.thresholds
    own: list[int] = []
    owned: list[np.ndarray] = []
    at_least = np.empty(seen, np.bool_)

    def weighted() -> Iterator[np.ndarray]:
        for plane, score in zip(_probabilities(queries.masks, geometry, reading), queries.scores, strict=True):
            if reading.own_only:
                owned.append(plane.numpy() >= thresholds.mask)
            values = plane.mul_(score).numpy()
            mine = owned[-1] if owned else np.greater_equal(values, thresholds.mask, out=at_least)
            own.append(int(np.count_nonzero(mine)))
            yield values

    winner = _winner(weighted(), count, seen)
    for k, label in enumerate(queries.labels.tolist()):
        if not table[label] or not own[k]:
            continue
        won = winner == k
        # float32, as the reference divides two integer tensors
        if float(np.float32(np.count_nonzero(won)) / np.float32(own[k])) > thresholds.overlap:
            kept = won & owned[k] if owned else won
            result |= kept.view(np.uint8) * table[label]
    return result if geometry.plain else geometry.on_frame(result)


def _probabilities(masks: Tensor, geometry: Geometry, reading: Reading) -> Iterable[Tensor]:
    """Return each query's probabilities on what the model saw of the image, one after the other in the same memory."""
    sources: Iterable[Tensor] = masks
    if reading.working_size is not None:
        sources = _upsampled_one_by_one(masks, reading.working_size)
    if reading.content is not None:
        height, width = reading.content
        sources = (plane[:height, :width] for plane in sources)
    if reading.sigmoid_last:
        return (plane.sigmoid_() for plane in _laid(sources, len(masks), geometry, reading.antialias))
    sources = masks.sigmoid() if sources is masks else (plane.sigmoid_() for plane in sources)
    return _laid(sources, len(masks), geometry, reading.antialias)


def semantic_map(
    logits: Tensor, table: np.ndarray, size: tuple[int, int], geometry: Geometry | None = None
) -> np.ndarray:
    """Return the category of every pixel from per-class logits: `argmax` of the upsampled logits, remapped.

    Args:
        logits: float32 `[L, h, w]` on the CPU.
        table: Category of every label id, uint8.
        size: Height and width of the image.
        geometry: Where in the model's input the image lies; None: it fills it.
    """
    geometry = geometry or whole_frame(*size)
    seen = geometry.seen_size
    classes = list(range(len(logits))) if _at_once(len(logits), seen) else contenders(logits[None]).tolist()
    planes = (plane.numpy() for plane in _laid(logits[classes], len(classes), geometry))
    winner = _winner(planes, len(classes), seen)
    result = np.zeros(seen, np.uint8)
    for k, label in enumerate(classes):
        if table[label]:
            result |= (winner == k).view(np.uint8) * table[label]
    return result if geometry.plain else geometry.on_frame(result)


def contenders(logits: Tensor) -> Tensor:
    """Return the classes that can win a pixel of the upsampled logits `[B, L, h, w]`.

    Bilinear values lie between those of four neighbours, so a class whose largest neighbour is below another
    class's smallest, everywhere, never wins; the margin is far above the rounding of float32.
    """
    padded = functional.pad(logits, (1, 1, 1, 1), mode="replicate")
    highest = functional.max_pool2d(padded, 2, stride=1)
    lowest = -functional.max_pool2d(-padded, 2, stride=1)
    margin = 1e-4 * logits.abs().max()
    return (highest >= lowest.amax(1, keepdim=True) - margin).flatten(2).any(2).any(0).nonzero().flatten()


def _winner(planes: Iterable[np.ndarray], count: int, size: tuple[int, int]) -> np.ndarray:
    """Return the index of the largest of `count` planes per pixel, the first of equal ones."""
    kind = np.uint8 if count <= 256 else np.uint16
    winner, claim = np.zeros(size, kind), np.empty(size, kind)
    best, better = np.full(size, -np.inf, np.float32), np.empty(size, np.bool_)
    for k, plane in enumerate(planes):
        np.greater(plane, best, out=better)
        # k only grows, so the larger index is the later claim: four times faster than writing through a mask.
        np.maximum(winner, np.multiply(better.view(np.uint8), kind(k), out=claim), out=winner)
        np.maximum(best, plane, out=best)
    return winner


def _laid(channels: Iterable[Tensor], count: int, geometry: Geometry, antialias: bool = False) -> Iterable[Tensor]:
    """Return `count` channels of the model's input on the part of the image that the model saw."""
    if geometry.plain:
        return _upsampled(channels, count, geometry.seen_size, antialias)
    return (geometry.lay(channel) for channel in channels)


def _upsampled(
    channels: Iterable[Tensor], count: int, size: tuple[int, int], antialias: bool = False
) -> Iterable[Tensor]:
    """Return `count` channels `[h, w]` upsampled, rounded exactly as upsampling all of them at once rounds."""
    if _at_once(count, size):
        together = torch.stack([channel.clone() for channel in channels])[None]
        return functional.interpolate(together, size=size, mode="bilinear", align_corners=False, antialias=antialias)[0]
    return _upsampled_one_by_one(channels, size, antialias)


def _at_once(count: int, size: tuple[int, int]) -> bool:
    """Tell whether torch's rounding depends on the number of channels, so that none may be treated alone.

    Torch has a kernel of its own for three channels and one across channels for small outputs.
    """
    return count == 3 or sum(size) <= _VECTORISED_PERIMETER


def _upsampled_one_by_one(
    channels: Iterable[Tensor], size: tuple[int, int], antialias: bool = False
) -> Iterator[Tensor]:
    """Yield each channel upsampled, all in the same memory: fresh pages would cost more than the arithmetic."""
    buffer = torch.empty(size)
    wide: Tensor | None = None
    aten = torch.ops.aten
    at_once = aten._upsample_bilinear2d_aa.out if antialias else aten.upsample_bilinear2d.out
    for channel in channels:
        before = (int(channel.shape[0]), int(channel.shape[1]))
        if antialias or not _exact_by_axes(before, size):
            at_once(channel[None, None], size, False, None, None, out=buffer[None, None])
        else:
            wide = torch.empty(before[0], size[1]) if wide is None else wide
            _upsample_by_axes(channel, wide, buffer)
        yield buffer


def _upsample_by_axes(channel: Tensor, wide: Tensor, result: Tensor) -> None:
    """Upsample a channel along its rows into `wide` `[h, W]`, then along its columns into `result` `[H, W]`.

    Both axes at once interpolate every row anew for each row of the result that lies beside it. And with whole rows as
    the batch of the second pass, torch's loop runs over neighbours in memory.
    """
    linear = torch.ops.aten.upsample_linear1d.out
    linear(channel[:, None], [wide.shape[1]], False, None, out=wide[:, None])
    linear(wide.T[None], [result.shape[0]], False, None, out=result.T[None])


@lru_cache(maxsize=256)
def _exact_by_axes(before: tuple[int, int], size: tuple[int, int]) -> bool:
    """Tell, by trying it once, whether one axis after the other rounds as torch's kernel for both axes does."""
    noise = torch.randn(before, generator=torch.Generator().manual_seed(0))
    expected = functional.interpolate(noise[None, None], size=size, mode="bilinear", align_corners=False)[0, 0]
    result = torch.empty(size)
    _upsample_by_axes(noise, torch.empty(before[0], size[1]), result)
    return torch.equal(result, expected)
