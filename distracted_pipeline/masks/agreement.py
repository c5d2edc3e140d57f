"""How much reduced precision changes the masks: some images once more in fp32.

Belongs here: the comparison, and its record beside the cache. Which precision a device takes is `devices`.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from distracted_pipeline.files import write_json
from distracted_pipeline.masks.overlap import Overlap
from distracted_pipeline.masks.segmenter import Segmenter

IMAGES = 16
"""Enough to tell how many pixels agree, and a matter of seconds."""

AGREEMENT = "agreement.json"


@runtime_checkable
class Reducible(Segmenter, Protocol):
    """A segmenter with a precision, and a twin in full precision."""

    precision: str

    def in_fp32(self) -> Segmenter:
        """Return the twin."""
        ...


@dataclass(frozen=True)
class Agreement:
    """Masks in reduced precision against the same in fp32.

    Attributes:
        precision: The reduced one.
        images: How many were compared.
        pixels: Share of pixels with the same category.
        iou: Category -> intersection over union; None where neither side has the category.
    """

    precision: str
    images: int
    pixels: float
    iou: dict[str, float | None]

    def text(self) -> str:
        """Return a line for people."""
        each = ", ".join(f"{name} {value:.4f}" for name, value in self.iou.items() if value is not None)
        return f"{self.precision} against fp32 on {self.images} images: {self.pixels:.3%} of pixels agree; IoU {each}"


def compare(
    masks: Sequence[np.ndarray], reference: Sequence[np.ndarray], precision: str, categories: Sequence[str]
) -> Agreement:
    """Return how far `masks` agree with `reference`, pooled over all pixels of all images."""
    overlap = Overlap(categories)
    for mask, right in zip(masks, reference, strict=True):
        overlap.add(right, mask)
    iou = overlap.iou()
    return Agreement(precision, len(masks), overlap.same(), {name: iou.get(name) for name in categories})


def measure(
    segmenter: Reducible, images: Sequence[np.ndarray], names: Sequence[str], categories: Sequence[str]
) -> Agreement:
    """Return the agreement on some images, one at a time: fp32 takes more memory than the batch size allows for."""
    full = segmenter.in_fp32()
    pairs = [
        (segmenter.segment([image], [name])[0], full.segment([image], [name])[0])
        for image, name in zip(images, names, strict=True)
    ]
    return compare([pair[0] for pair in pairs], [pair[1] for pair in pairs], segmenter.precision, categories)


def record(root: Path, agreement: Agreement) -> None:
    """Write the agreement beside the masks it is about."""
    write_json(root / AGREEMENT, asdict(agreement))


def recorded(root: Path) -> Agreement | None:
    """Return the agreement of a cache's masks with fp32; None where they are fp32, or nothing was compared."""
    try:
        values: dict[str, Any] = json.loads((root / AGREEMENT).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return Agreement(**values)
