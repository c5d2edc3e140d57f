"""How good the demo's masks have to be, and are: intersection over union with what was drawn.

Belongs here: the bars, and the masks of a demo's cache against its label maps. The measure itself is
`masks.overlap`, measuring a model on scenes of one's own `demo.segmenter_training`.
"""

from collections.abc import Mapping

import numpy as np
from PIL import Image

from distracted_pipeline.demo.dataset import LABEL_MAPS
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.masks.overlap import Overlap
from distracted_pipeline.settings import Settings

BARS = {"person": 0.9, "chair": 0.9, "cell phone": 0.6, "bottle": 0.6, "cup": 0.6}
"""What a category has to reach for the demo's segmenter to be of use."""

MEAN_BAR = 0.75


def mean_iou(iou: Mapping[str, float]) -> float:
    """Return the mean over the categories that are there."""
    return float(np.mean(list(iou.values())))


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
    cache, overlap, frames = open_cache(settings), Overlap(settings.dataset.category_names), 0
    for subject in cache.subjects_done():
        for img, found in cache.masks(subject):
            with Image.open(folder / img.replace(".jpg", ".png")) as drawn:
                overlap.add(np.asarray(drawn), found)
            frames += 1
    if not frames:
        raise DistractedError(f"no masks of {settings.data} yet. Type: distracted demo")
    return overlap.iou()
