"""How much reduced precision changes the masks: some images once more in fp32.

Belongs here: the comparison, which precision to choose where it shows too much, and its record beside the cache. Which
precision a device takes by itself is `devices`.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from distracted_pipeline.advice import RUN
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.files import read_json, write_json
from distracted_pipeline.masks.overlap import Overlap
from distracted_pipeline.masks.segmenter import Segmenter

IMAGES = 16
"""Enough to tell how many pixels agree, and a matter of seconds."""

GOOD = 0.9
"""IoU with fp32 below which a category's masks are another result, rather than the same one rounded."""

FINER = {"bf16": "fp16"}
"""Precisions as fast as another, with more digits and a smaller range."""

AGREEMENT = "agreement.json"


@runtime_checkable
class Reducible(Segmenter, Protocol):
    """A segmenter with a precision, and twins in others."""

    precision: str

    def in_precision(self, precision: str) -> "Reducible":
        """Return the twin in a precision."""
        ...


@dataclass(frozen=True)
class Agreement:
    """Masks in reduced precision against the same in fp32.

    Attributes:
        precision: The reduced one.
        images: How many were compared.
        pixels: Share of pixels with the same category.
        iou: Category -> intersection over union; None where neither side has the category.
        better: The precision to choose where a category falls below `GOOD`; empty where none does.
    """

    precision: str
    images: int
    pixels: float
    iou: dict[str, float | None]
    better: str = ""

    @property
    def low(self) -> list[str]:
        """Categories below `GOOD`."""
        return [name for name, value in self.iou.items() if value is not None and value < GOOD]

    def text(self) -> str:
        """Return a line for people."""
        each = ", ".join(f"{name} {value:.4f}" for name, value in self.iou.items() if value is not None)
        return f"{self.precision} against fp32 on {self.images} images: {self.pixels:.3%} of pixels agree; IoU {each}"

    def warning(self, root: Path) -> str:
        """Return what to do about masks in `root` that agree too little; empty where all agree."""
        if not self.low:
            return ""
        return (
            f"{self.precision} makes other masks of {', '.join(self.low)} than fp32 does (IoU below {GOOD}); "
            f"{self.better} is the precision to choose. Write `precision: {self.better}` for masks and subject_masks "
            f"into configs/gpu.yaml, delete {root}, then type: {RUN} --config configs/gpu.yaml"
        )


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
    """Return the agreement on some images, one at a time: fp32 takes more memory than the batch size allows for.

    Where it is low, a finer precision that is as fast is tried too: it is `better` if it agrees, else fp32 is.
    Images that the segmenter cannot take are left out; the fill says which.
    """
    full = segmenter.in_precision("fp32")
    taken, right = [], []
    for image, name in zip(images, names, strict=True):
        with suppress(DistractedError):
            right.append(full.segment([image], [name])[0])
            taken.append((image, name))

    def masks(of: Segmenter) -> list[np.ndarray]:
        return [of.segment([image], [name])[0] for image, name in taken]

    found = compare(masks(segmenter), right, segmenter.precision, categories)
    if not found.low:
        return found
    finer = FINER.get(segmenter.precision)
    good = finer and not compare(masks(segmenter.in_precision(finer)), right, finer, categories).low
    return replace(found, better=finer if finer and good else "fp32")


def record(root: Path, agreement: Agreement) -> None:
    """Write the agreement beside the masks it is about."""
    write_json(root / AGREEMENT, asdict(agreement))


def recorded(root: Path) -> Agreement | None:
    """Return the agreement of a cache's masks with fp32; None where they are fp32, or nothing was compared."""
    values = read_json(root / AGREEMENT)
    return None if values is None else Agreement(**values)
