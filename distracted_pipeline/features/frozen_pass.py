"""One pass of a frozen backbone over images: decoded ahead, through the device, and back to the CPU while it goes on.

Belongs here: what happens between an image's bytes and its taps. Which are missing, and where they are kept, is `taps`;
where a backbone can be cut is `variants.trunks`.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from distracted_pipeline.compiling import filled_up
from distracted_pipeline.devices import autocast_dtype
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.images.decode import ImageReader, decode_image
from distracted_pipeline.images.decoders import Decoders
from distracted_pipeline.images.feeder import batches
from distracted_pipeline.memory import Pieces
from distracted_pipeline.variants.backbones import Preprocessing
from distracted_pipeline.variants.trunks import Trunk

PIXELS = "pixels"
"""The uint8 tap: images at the backbone's input size, `[N, 3, h, w]`, not normalised."""


class ImageChanged(Exception):
    """An image's bytes are not those of the manifest; says its path."""


@dataclass(frozen=True)
class Passed:
    """Taps on their way to the CPU, and which of their rows are finite; there once the device has come to `ready`."""

    values: dict[str, Tensor]
    finite: dict[str, Tensor]
    ready: torch.cuda.Event | None

    def wait(self) -> None:
        """Return once everything is on the CPU."""
        if self.ready is not None:
            self.ready.synchronize()

    def check_finite(self, images: Sequence[str]) -> None:
        """Fail with the first of these images that has a tap which fp16 cannot hold."""
        for tap, finite in self.finite.items():
            if not finite.all():
                raise DistractedError(
                    f"tap {tap} of {images[int(finite.byte().argmin())]} is not finite in fp16: the backbone's weights "
                    "are broken or its activations exceed 65504. Set DISTRACTED_BACKBONE to another model, or "
                    "precision to fp32."
                )


@dataclass(frozen=True)
class FrozenPass:
    """How a backbone runs over images.

    Attributes:
        data: The root that the images' paths are relative to.
        preprocessing: What happens to images before the backbone.
        trunk: Loads the backbone; asked only for taps that need it.
        device: Where it runs.
        precision: In which it runs there.
        pieces: How many images at once.
        decoders: Processes that decode; None leaves it to threads.
    """

    data: Path
    preprocessing: Preprocessing
    trunk: Callable[[], Trunk]
    device: torch.device
    precision: str
    pieces: Pieces
    decoders: Decoders | None = None

    def over(
        self, rows: pa.Table, taps: Sequence[str], pixels: np.ndarray | None = None
    ) -> Generator[Passed, None, None]:
        """Yield the taps of images, a piece at a time and in order, on the CPU.

        Args:
            rows: Columns `path` and `sha256`.
            taps: Names.
            pixels: The images' tap `PIXELS` where it is known: then none is opened.

        Raises:
            ImageChanged: An image has other bytes than its row says.
        """
        with closing(self._begun(rows, taps, pixels)) as begun:
            yield from _one_behind(begun)

    def _begun(self, rows: pa.Table, taps: Sequence[str], known: np.ndarray | None) -> Generator[Passed, None, None]:
        paths, digests, decoders = rows["path"].to_pylist(), rows["sha256"].to_pylist(), self.decoders
        with ExitStack() as stack:
            if known is not None:

                def fill(i: int, slot: np.ndarray) -> None:
                    slot[:] = known[i]

            else:
                reader = stack.enter_context(ImageReader(self.data))

                def fill(i: int, slot: np.ndarray) -> None:
                    if decoded := decoders and decoders.image(paths[i], digests[i]):
                        slot[:] = decoded.pixels
                        return
                    data = reader.bytes(paths[i])
                    if hashlib.sha256(data).hexdigest() != digests[i]:
                        raise ImageChanged(paths[i])
                    slot[:] = self.preprocessing.resize(decode_image(data, paths[i]))

            shape, threads = (3, *self.preprocessing.size), decoders.processes if decoders else 0
            pinned = self.device.type == "cuda"
            for pixels in batches(rows.num_rows, self.pieces.size, shape, fill, workers=threads, pinned=pinned):
                yield from self.pieces.over(len(pixels), partial(self._values, pixels, taps))

    def _values(self, pixels: Tensor, taps: Sequence[str], part: slice) -> Passed:
        device = self.device
        deep = [tap for tap in taps if tap != PIXELS]
        values = {PIXELS: pixels[part]} if PIXELS in taps else {}
        if not deep:
            return Passed(values, {}, None)
        trunk = self.trunk().to(device)
        dtype = autocast_dtype(self.precision, device)
        with torch.inference_mode(), torch.autocast(device.type, dtype, enabled=dtype is not None):
            x = self.preprocessing.normalise(pixels[part].to(device, non_blocking=True))
            count = len(x)
            if device.type == "cuda":  # cuDNN compiles depthwise convolutions for every shape: seconds for each subject
                x = filled_up(x, self.pieces.size)
            found = trunk.taps(x, deep)
        halves = {tap: value[:count].to(torch.float16).contiguous() for tap, value in found.items()}
        finite = {tap: value.isfinite().flatten(1).all(1).to("cpu", non_blocking=True) for tap, value in halves.items()}
        values |= {tap: value.to("cpu", non_blocking=True) for tap, value in halves.items()}
        ready = torch.cuda.current_stream(device).record_event() if device.type == "cuda" else None
        return Passed(values, finite, ready)


def _one_behind(passed: Iterable[Passed]) -> Iterator[Passed]:
    """Yield each piece, there, once the next one is on its way through the device."""
    waiting: deque[Passed] = deque()
    for piece in chain(passed, [None]):
        if waiting:
            waiting[0].wait()
            yield waiting.popleft()
        if piece is not None:
            waiting.append(piece)
