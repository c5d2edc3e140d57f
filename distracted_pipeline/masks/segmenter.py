"""What a segmenter is: the protocol that everything in this room speaks.

Belongs here: names and promises only. The implementations are `models` (Hugging Face) and `label_maps` (class maps
that exist already); `loading` chooses the one that the settings name.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from PIL.Image import Image

from distracted_pipeline.options import RunOptions

ORDINARY_SIZE = (480, 640)
"""Height and width of a frame that every segmenter must be able to take."""


@dataclass(frozen=True)
class Thresholds:
    """When a query of a universal model counts; the defaults are those of transformers.

    Attributes:
        score: Class probability that a query must exceed.
        mask: Weighted probability from which on a pixel is the query's own.
        overlap: Share of its own pixels that a query must win to be kept.
    """

    score: float = 0.5
    mask: float = 0.5
    overlap: float = 0.8


class Segmenter(Protocol):
    """Anything that turns images into class maps.

    Attributes:
        name: Model id, folder or `folder:PATH`.
        fingerprint: 12 hex digits over everything that changes the masks.
    """

    name: str
    fingerprint: str

    def segment(self, images: Sequence[np.ndarray], names: Sequence[str]) -> list[np.ndarray]:
        """Return a uint8 `[H, W]` map of category ids, 0 for none, for each uint8 RGB image `[H, W, 3]`.

        Raises:
            DistractedError: One of the images cannot be segmented.
        """
        ...


@runtime_checkable
class StagedSegmenter(Segmenter, Protocol):
    """A segmenter whose work before and after the model can run in threads beside it."""

    def prepare(self, image: np.ndarray, name: str) -> Any:
        """Return what `forward` takes for one image; those of equal `shape` can share a batch."""
        ...

    def forward(self, prepared: Sequence[Any]) -> list[Any]:
        """Run one batch on the device; the only stage that is never called twice at the same time."""
        ...

    def finish(self, raw: Any, size: tuple[int, int]) -> np.ndarray:
        """Return the uint8 `[H, W]` class map of one image from its part of `forward`'s result."""
        ...

    def batch_size(self, prepared: Any) -> int:
        """Return how many like `prepared` to run at once on this device."""
        ...


@runtime_checkable
class TakesPictures(StagedSegmenter, Protocol):
    """A staged segmenter that takes pictures as they were decoded, before they are copied into arrays."""

    def prepare_picture(self, picture: Image, name: str) -> Any:
        """Do what `prepare` does, for an upright picture in RGB."""
        ...


@runtime_checkable
class Compilable(StagedSegmenter, Protocol):
    """A staged segmenter that can be compiled, for batches of one size."""

    def compile_for(self, images: int, options: RunOptions) -> None:
        """Compile where `options.compile` says so, or where that pays for so many images; once."""
        ...

    def forward_steady(self, prepared: Sequence[Any], size: int) -> list[Any]:
        """Do what `forward` does, where compiled with a batch of `size` images whatever their number."""
        ...
