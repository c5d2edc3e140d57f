"""Decoded images at the size that a backbone reads, in whatever thread or process they were decoded.

Belongs here: the one way in which backbones' images are resized. Segmenters resize as their own processors do
(`masks.resize`).
"""

import numpy as np
from PIL import Image


def resized(image: np.ndarray | Image.Image, size: tuple[int, int]) -> np.ndarray:
    """Return uint8 `[3, h, w]` of an RGB image, bilinear with antialiasing."""
    height, width = size
    source = image if isinstance(image, Image.Image) else Image.fromarray(image)
    small = source.resize((width, height), Image.Resampling.BILINEAR)
    return np.ascontiguousarray(np.asarray(small).transpose(2, 0, 1))
