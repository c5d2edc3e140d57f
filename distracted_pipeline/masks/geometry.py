"""Where in a model's input a frame lies, and how the model's maps are laid back onto it.

Belongs here: what a processor's resizing, cropping and padding did to frames of one size, and undoing it. What a pixel
is, given the maps, is `postprocess`; when the plain resize is known already, `preprocess` says so.

Transformers' own post-processing stretches a map over the whole frame, whatever the processor did. For a plain resize
that is right, and what is done here too. Where a processor pads or crops it is wrong: there, maps go where the model
saw them, and what it never saw is `none`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from distracted_pipeline.errors import DistractedError

_SHORT = 16
"""An axis of fewer pixels, in frame or input, tells too little to be measured: all of it is taken as seen."""

_NEAR = 0.5
"""What the input shows is the whole frame if its measured ends are this near, in pixels of the input."""


@dataclass(frozen=True)
class Axis:
    """One axis of a frame in the input; the centre of pixel `k` lies at `start + step * (k + 0.5)` of it.

    Attributes:
        length: Pixels of the frame.
        first: First pixel that the model saw.
        last: The pixel after the last one that it saw.
        start: Where the frame begins, as a share of the input's length; negative where that was cropped.
        step: From one pixel to the next, as such a share.
    """

    length: int
    first: int
    last: int
    start: float
    step: float

    @property
    def plain(self) -> bool:
        """Whether the input shows the whole frame and nothing else."""
        return (self.first, self.last, self.start) == (0, self.length, 0.0) and self.step == 1 / self.length


@dataclass(frozen=True)
class Geometry:
    """Where a frame lies in a model's input."""

    rows: Axis
    columns: Axis

    @property
    def plain(self) -> bool:
        """Whether the input is the whole frame resized, so that a map is laid onto it by resizing back."""
        return self.rows.plain and self.columns.plain

    @property
    def seen(self) -> tuple[slice, slice]:
        """Rows and columns of the frame that the model saw."""
        return slice(self.rows.first, self.rows.last), slice(self.columns.first, self.columns.last)

    @property
    def seen_size(self) -> tuple[int, int]:
        """Height and width of that part."""
        return self.rows.last - self.rows.first, self.columns.last - self.columns.first

    def lay(self, maps: Tensor) -> Tensor:
        """Return maps of the input, `[..., h, w]` of any resolution, on the seen part of the frame, bilinear."""
        return _sampled(_sampled(maps, self.rows, -2), self.columns, -1)

    def on_frame(self, seen: np.ndarray) -> np.ndarray:
        """Return class ids of the seen part as those of the whole frame, 0 around them."""
        whole = np.zeros((self.rows.length, self.columns.length), seen.dtype)
        whole[self.seen] = seen
        return whole


def whole_frame(height: int, width: int) -> Geometry:
    """Return the geometry of a plain resize."""
    return Geometry(*(Axis(length, 0, length, 0.0, 1 / length) for length in (height, width)))


def learn_geometry(process: Callable[[np.ndarray], np.ndarray], height: int, width: int) -> Geometry:
    """Return where a processor puts frames of one size, by showing it four: black, white, and a ramp along each axis.

    Args:
        process: From uint8 `[H, W, 3]` to what the model gets, `[3, h, w]`; any affine change of values is undone.
        height: Of the frames.
        width: Of the frames.

    Raises:
        DistractedError: The frame is turned, mirrored, bent or cut into pieces, which a map could not be freed from.
    """
    frame = np.zeros((height, width, 3), np.uint8)
    black, white = process(frame), process(frame + np.uint8(255))
    contrast = white - black
    channel = int(np.abs(contrast).max((1, 2)).argmax())
    contrast, black = contrast[channel], black[channel]
    shown = np.abs(contrast) > np.abs(contrast).max() / 2
    inside = tuple(np.flatnonzero(shown.any(1 - axis)) for axis in (0, 1))
    if not all(_unbroken(places) for places in inside) or not shown[np.ix_(*inside)].all():
        raise _bent(height, width)

    axes = []
    for axis, length in enumerate((height, width)):
        ramped = process(_ramp(height, width, axis))[channel]
        values = ((ramped - black)[np.ix_(*inside)] / contrast[np.ix_(*inside)]).astype(np.float64)
        axes.append(_measured(values.mean(1 - axis), inside[axis], shown.shape[axis], length))
        if axes[-1] is None or values.std(1 - axis).max() > 0.01:
            raise _bent(height, width)
    rows, columns = axes
    assert rows is not None
    assert columns is not None
    return Geometry(rows, columns)


def _measured(found: np.ndarray, inside: np.ndarray, size: int, length: int) -> Axis | None:
    """Return an axis from the share of the frame that each place inside the input shows; None where no line fits.

    Args:
        found: Shares 0..1, in the order of `inside`.
        inside: Places in the input that show the frame.
        size: Of the input.
        length: Of the frame.
    """
    first, count = int(inside[0]), len(inside)
    resized, offset = float(count), float(first)
    if min(count, length) >= _SHORT:
        # Filters flatten a ramp at its ends.
        middle = slice(count // 8, count - count // 8)
        places = inside[middle] + 0.5
        slope, share = np.polyfit(places, found[middle], 1)
        off = np.abs(found[middle] - (slope * places + share)).max()
        if slope <= 0 or off > 1.5 / 255 + 1 / length + 1 / count:
            return None
        if max(abs(1 / slope - count), abs(-share / slope - first)) >= _NEAR:
            resized, offset = 1 / slope, -share / slope
    centres = offset + resized * _centres(length)
    seen = np.flatnonzero((centres > first) & (centres < first + count))
    if not len(seen):
        return None
    return Axis(length, int(seen[0]), int(seen[-1]) + 1, offset / size, resized / size / length)


def _ramp(height: int, width: int, axis: int) -> np.ndarray:
    """Return a frame that brightens along an axis from 0 to 255, in steps at other places in each line.

    So the mean over the lines tells places far finer than one byte does.
    """
    bright = 255 * np.expand_dims(_centres((height, width)[axis]), 1 - axis)
    dither = np.expand_dims((8 * _centres((height, width)[1 - axis]) + 0.5) % 1, axis)
    return np.repeat(np.floor(bright + dither).clip(0, 255).astype(np.uint8)[:, :, None], 3, 2)


def _unbroken(places: np.ndarray) -> bool:
    return len(places) > 0 and len(places) == places[-1] - places[0] + 1


def _centres(length: int) -> np.ndarray:
    """Return the centres of pixels as shares of their axis."""
    return (np.arange(length) + 0.5) / length


def _sampled(maps: Tensor, axis: Axis, dim: int) -> Tensor:
    """Return maps at the centres of an axis's seen pixels, linear between the centres of the maps' own.

    What lies beyond the frame in the input says nothing about its border.
    """
    size = maps.shape[dim]
    pixels = torch.arange(axis.first, axis.last, dtype=torch.float64) + 0.5
    begin, end = max(axis.start, 0.0), min(axis.start + axis.step * axis.length, 1.0)
    places = ((axis.start + axis.step * pixels) * size - 0.5).clamp(begin * size, end * size - 1)
    places = places.clamp(0, size - 1)
    low = places.floor().long()
    high = (low + 1).clamp(max=size - 1)
    share = (places - low).to(maps.dtype)
    low, high, share = (each.to(maps.device) for each in (low, high, share))
    share = share[:, None] if dim == -2 else share
    return torch.lerp(maps.index_select(dim, low), maps.index_select(dim, high), share)


def _bent(height: int, width: int) -> DistractedError:
    return DistractedError(
        f"the model's processor does more to a frame of {width}x{height} pixels than resize, crop and pad it, so "
        "nobody knows where its masks belong. Set DISTRACTED_SEGMENTER to another model"
    )
