"""How well masks agree with what was drawn: intersection over union by category.

Belongs here: the measure, its bars, and the masks of a demo's cache against its label maps. Measuring a
model on scenes of one's own is `demo.segmenter_training`.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from distracted_pipeline.demo.dataset import LABEL_MAPS
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.settings import Settings
from distracted_pipeline.vocabulary import MASK_CATEGORIES, MASK_NAMES

BARS = {"person": 0.9, "chair": 0.9, "cell phone": 0.6, "bottle": 0.6, "cup": 0.6}
"""What a category has to reach for the demo's segmenter to be of use."""

MEAN_BAR = 0.75


class Overlap:
    """Counts pixels of pairs of class maps; those of all frames are pooled."""

    def __init__(self) -> None:
        self._pairs = np.zeros((len(MASK_NAMES), len(MASK_NAMES)), np.int64)

    def add(self, drawn: NDArray[np.uint8], found: NDArray[np.uint8]) -> None:
        """Count one frame: two maps of ids 0..6 of one shape."""
        count = len(MASK_NAMES)
        pairs = drawn.astype(np.int64) * count + found
        self._pairs += np.bincount(pairs.ravel(), minlength=count**2).reshape(count, count)

    def iou(self) -> dict[str, float]:
        """Return intersection over union of every category that was drawn or found."""
        both = self._pairs.diagonal()
        either = self._pairs.sum(0) + self._pairs.sum(1) - both
        return {
            name: round(float(both[k] / either[k]), 4)
            for k, name in enumerate(MASK_NAMES)
            if name in MASK_CATEGORIES and either[k]
        }


def mean_iou(iou: Mapping[str, float]) -> float:
    """Return the mean over the categories that are there."""
    return round(float(np.mean(list(iou.values()))), 4)


def reaches_bars(iou: Mapping[str, float]) -> bool:
    """Tell whether every category of `BARS` that is there, and the mean, are good enough."""
    return mean_iou(iou) >= MEAN_BAR and all(iou[name] >= bar for name, bar in BARS.items() if name in iou)


def cached_iou(settings: Settings) -> dict[str, float]:
    """Return intersection over union of all masks in a demo's cache with the label maps beside its frames.

    Raises:
        DistractedError: There are no label maps, or no masks yet.
    """
    from distracted_pipeline.masks.cache import open_cache

    folder = settings.data / LABEL_MAPS
    if not folder.is_dir():
        raise DistractedError(f"no {folder}: {settings.data} is not the demo's data root. Type: distracted demo")
    cache, overlap, frames = open_cache(settings), Overlap(), 0
    for subject in cache.subjects_done():
        for img, found in cache.masks(subject):
            with Image.open(folder / img.replace(".jpg", ".png")) as drawn:
                overlap.add(np.asarray(drawn), found)
            frames += 1
    if not frames:
        raise DistractedError(f"no masks of {settings.data} yet. Type: distracted demo")
    return overlap.iou()
