"""From decoded images to what a model wants, exactly as its own processor does it, several times faster.

Belongs here: resizing and normalising. Decoding is `images.decode`.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.images.decode import MAX_PIXELS
from distracted_pipeline.masks.geometry import Geometry, learn_geometry, whole_frame
from distracted_pipeline.masks.resize import resize_like_pil


class Preprocessor:
    """One image to `pixel_values`, bit-identical to the processor's.

    Normalising is a look-up in a table that the processor itself fills. For every new image size the
    short way is compared with the processor once; where they differ (cropping, padding, …) the
    processor does the work, and what it does to a frame's geometry is learnt from it.

    Args:
        processor: A Hugging Face image processor of the PIL backend, which is the reference: torchvision's
            resize differs from it.
        content: Tells to which height and width an image is resized before black fills the input on the right and
            below; None where images fill it.
    """

    def __init__(self, processor: Any, content: Callable[[int, int], tuple[int, int]] | None = None) -> None:
        self._processor = processor
        self._content = content
        self._table: np.ndarray | None = None
        self._routes: dict[tuple[int, int], Callable[[np.ndarray | Image.Image], Tensor]] = {}
        self._device_routes: dict[tuple[int, int], Callable[[Tensor], Tensor] | None] = {}
        self._geometries: dict[tuple[int, int], Geometry] = {}

    def __call__(self, image: np.ndarray | Image.Image) -> Tensor:
        """Return float32 `[3, h, w]` for uint8 RGB `[H, W, 3]`, or for a decoded picture in RGB.

        Raises:
            DistractedError: The processor cannot take an image of this size.
        """
        height, width = (image.height, image.width) if isinstance(image, Image.Image) else image.shape[:2]
        route = self._routes.get((height, width))
        if route is None:
            route = self._routes[height, width] = self._choose_route(height, width)
        return route(image)

    def geometry(self, height: int, width: int) -> Geometry:
        """Return where in the model's input images of this size lie.

        Raises:
            DistractedError: The processor cannot take them, or does to them what cannot be undone.
        """
        if (height, width) not in self._geometries:
            self._geometries[height, width] = self._find_geometry(height, width)
        return self._geometries[height, width]

    def _find_geometry(self, height: int, width: int) -> Geometry:
        if (height, width) not in self._routes:
            self._routes[height, width] = self._choose_route(height, width)
        if self._routes[height, width] == self._reference:
            return learn_geometry(self._pixels, height, width)
        return whole_frame(height, width)

    def on_device(self, height: int, width: int, device: torch.device) -> Callable[[Tensor], Tensor] | None:
        """Return what turns uint8 `[B, H, W, 3]` on the device into float32 `[B, 3, h, w]` there, just as exactly.

        None where the processor does more than PIL's bilinear resize and a normalisation, or the device has no float64.
        """
        if (height, width) not in self._device_routes:
            self._device_routes[height, width] = self._choose_device_route(height, width, device)
        return self._device_routes[height, width]

    def _choose_device_route(self, height: int, width: int, device: torch.device) -> Callable[[Tensor], Tensor] | None:
        if device.type == "mps":
            return None
        probe = _noise(height, width)
        reference = self(probe)
        assert self._table is not None  # filled with the first route
        size, whole = self._sizes(height, width, reference)
        black = (0, whole[1] - size[1], 0, whole[0] - size[0])
        table = torch.from_numpy(self._table).to(device)
        for height_first in (False, True):

            def route(images: Tensor, first: bool = height_first) -> Tensor:
                planes = functional.pad(resize_like_pil(images, size, height_first=first), black)
                return torch.stack([table[c][planes[:, c].long()] for c in range(3)], 1)

            if torch.equal(route(torch.from_numpy(probe[None]).to(device))[0].cpu(), reference):
                return route
        return None

    def _choose_route(self, height: int, width: int) -> Callable[[np.ndarray | Image.Image], Tensor]:
        probe = _noise(height, width)
        reference = self._reference(probe)
        if self._table is None:
            ramp = np.repeat(np.arange(256, dtype=np.uint8).reshape(16, 16, 1), 3, axis=2)
            values = self._pixels(ramp, do_resize=False, do_center_crop=False)[:, :16, :16]
            self._table = np.ascontiguousarray(values.reshape(3, 256))
        size, whole = self._sizes(height, width, reference)
        resample = int(getattr(self._processor, "resample", None) or 0)

        def short(image: np.ndarray | Image.Image) -> Tensor:
            return self._resize_and_look_up(image, size, whole, resample)

        return short if torch.equal(short(probe), reference) else self._reference

    def _sizes(self, height: int, width: int, reference: Tensor) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return the size that an image has in the input, and the input's."""
        whole = (int(reference.shape[1]), int(reference.shape[2]))
        size = self._content(height, width) if self._content else whole
        return (min(size[0], whole[0]), min(size[1], whole[1])), whole

    def _resize_and_look_up(
        self, image: np.ndarray | Image.Image, size: tuple[int, int], whole: tuple[int, int], resample: int
    ) -> Tensor:
        assert self._table is not None  # filled before any route is tried
        picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
        if picture.size != size[::-1]:
            picture = picture.resize(size[::-1], resample)
        values = np.empty((3, *whole), np.float32)
        for table, band, result in zip(self._table, picture.split(), values, strict=True):
            plane = np.asarray(band)
            if size != whole:
                plane = np.pad(plane, ((0, whole[0] - size[0]), (0, whole[1] - size[1])))
            np.take(table, plane, out=result, mode="clip")
        return torch.from_numpy(values)

    def _reference(self, image: np.ndarray | Image.Image) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(self._pixels(np.asarray(image))))

    def _pixels(self, image: np.ndarray, **options: Any) -> np.ndarray:
        height, width = image.shape[:2]
        try:
            self._check_extent(height, width)
            batch = self._processor(images=[image], return_tensors="np", input_data_format="channels_last", **options)
            return np.asarray(batch["pixel_values"][0], dtype=np.float32)
        except Exception as error:  # what a processor raises for a frame of no height, or too high, is its own affair
            why = str(error).strip().partition("\n")[0] or "no reason given"
            raise DistractedError(
                f"the model cannot take {width}x{height} pixels ({type(error).__name__}: {why})"
            ) from error

    def _check_extent(self, height: int, width: int) -> None:
        """Fail where a narrow frame, enlarged until its shorter edge fits, would fill the memory."""
        size = getattr(self._processor, "size", None)
        edge = getattr(size, "shortest_edge", None)
        if edge and not getattr(size, "longest_edge", None):
            longer = edge * max(height, width) // min(height, width)
            if edge * longer > MAX_PIXELS:
                raise ValueError(f"its processor makes {edge}x{longer} pixels of them")


def _noise(height: int, width: int) -> np.ndarray:
    """Return noise to compare routes with: a plain picture would hide misplaced pixels."""
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
