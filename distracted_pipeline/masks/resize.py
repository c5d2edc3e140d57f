"""PIL's bilinear resize on tensors, bit for bit, on any device that has float64.

Belongs here: the arithmetic. When it stands in for a processor's own resize is `preprocess`.

PIL resizes bytes along one axis, then along the other (depending on its version: the width first, or in an order that
the sizes decide), with weights of 22 binary digits, and rounds to bytes after each. Every product and sum is an integer
far below 2^53, so a float64 matrix product gives exactly the same, in whatever order a device adds. Other
resizes (torchvision's, a GPU's samplers) do not.
"""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

_DIGITS = 22


def resize_like_pil(images: Tensor, size: tuple[int, int], height_first: bool = False) -> Tensor:
    """Return images as `PIL.Image.resize(..., Image.BILINEAR)` makes them.

    Args:
        images: uint8 `[B, H, W, C]`.
        size: Height and width to resize to.
        height_first: Which pass comes first; both round, so the results differ.

    Returns:
        uint8 `[B, C, h, w]`.
    """
    planes = images.permute(0, 3, 1, 2)
    for axis in (2, 3) if height_first else (3, 2):
        before, after = planes.shape[axis], size[axis - 2]
        if before != after:  # PIL leaves out a pass that changes nothing
            weights = _weights_on(before, after, images.device)
            planes = planes.double()
            sums = planes @ weights.T if axis == 3 else weights @ planes
            planes = sums.add_(2 ** (_DIGITS - 1)).mul_(2.0**-_DIGITS).floor_().clamp_(0, 255).byte()
    return planes


@lru_cache(maxsize=64)
def _weights_on(before: int, after: int, device: torch.device) -> Tensor:
    """Return the weights on a device; kept, for copying them would hold it up."""
    with torch.inference_mode(False):
        return torch.from_numpy(_weights(before, after)).to(device)


@lru_cache(maxsize=64)
def _weights(before: int, after: int) -> np.ndarray:
    """Return the weight of every pixel in every resized one, float64 integers `[after, before]`.

    A triangle over each new pixel's centre, as wide as the scale when shrinking, normalised, then rounded.
    """
    scale = before / after
    reach = max(scale, 1.0)
    centres = (np.arange(after) + 0.5) * scale
    first = np.maximum((centres - reach + 0.5).astype(int), 0)[:, None]
    last = np.minimum((centres + reach + 0.5).astype(int), before)[:, None]
    pixels = np.arange(before)
    triangle = np.clip(1 - np.abs((pixels - centres[:, None] + 0.5) / reach), 0, None)
    triangle[(pixels < first) | (pixels >= last)] = 0
    return np.floor(triangle / triangle.sum(1, keepdims=True) * 2**_DIGITS + 0.5)
