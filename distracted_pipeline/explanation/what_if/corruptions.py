"""What a worse camera, another seat or bad light does to a picture: each corruption at three strengths.

By torchvision's transforms, which are installed anyway and kept up (`imagecorruptions`, the collection that papers
cite, has had no release for years). Seeded by the frame, so that every variant sees the same pictures. Arrays in,
arrays out; which frames are corrupted and what follows is `robustness`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

STRENGTHS: Final = (1, 2, 3)


@dataclass(frozen=True)
class Corruption:
    """One way in which pictures get worse.

    Attributes:
        words: What the three strengths are.
        pixels: From uint8 `[h, w, 3]`, strength and seed to the picture.
        mask: What a segmenter that minds nothing would find in it, from uint8 `[H, W]`, strength and seed; None: the
            same as before.
    """

    words: str
    pixels: Callable[[np.ndarray, int, int], np.ndarray]
    mask: Callable[[np.ndarray, int, int], np.ndarray] | None = None


_DARKNESS = (0.6, 0.35, 0.15)
_NOISE = (0.04, 0.1, 0.2)
_BLUR = (0.006, 0.012, 0.025)
_QUALITY = (30, 15, 7)
_COVERED = (0.1, 0.2, 0.35)
_SHIFT = (0.05, 0.1, 0.2)


def darkness(pixels: np.ndarray, strength: int, seed: int) -> np.ndarray:
    """Return a picture with its brightness multiplied."""
    from torchvision.transforms.v2 import functional

    return _array(functional.adjust_brightness(_tensor(pixels), _DARKNESS[strength - 1]))


def noise(pixels: np.ndarray, strength: int, seed: int) -> np.ndarray:
    """Return a picture with Gaussian noise in every channel of every pixel.

    By NumPy: torchvision's draws from one generator for all threads, and would give other noise in every run.
    """
    drawn = np.random.default_rng(seed).normal(0, 255 * _NOISE[strength - 1], pixels.shape)
    return np.rint(pixels + drawn).clip(0, 255).astype(np.uint8)


def blur(pixels: np.ndarray, strength: int, seed: int) -> np.ndarray:
    """Return a picture out of focus."""
    from torchvision.transforms.v2 import functional

    sigma = _BLUR[strength - 1] * pixels.shape[1]
    size = 2 * max(1, round(3 * sigma)) + 1
    return _array(functional.gaussian_blur(_tensor(pixels), [size, size], [sigma, sigma]))


def jpeg(pixels: np.ndarray, strength: int, seed: int) -> np.ndarray:
    """Return a picture after it was saved as a small JPEG."""
    from torchvision.transforms.v2 import functional

    return _array(functional.jpeg(_tensor(pixels), _QUALITY[strength - 1]))


def occlusion(pixels: np.ndarray, strength: int, seed: int) -> np.ndarray:
    """Return a picture with a grey rectangle over a part of it."""
    from torchvision.transforms.v2 import functional

    top, left, height, width = _place(pixels.shape[:2], strength, seed)
    return _array(functional.erase(_tensor(pixels), top, left, height, width, _tensor(pixels).new_full((3, 1, 1), 128)))


def occluded_mask(mask: np.ndarray, strength: int, seed: int) -> np.ndarray:
    """Return a mask with nothing under the rectangle."""
    top, left, height, width = _place(mask.shape[:2], strength, seed)
    found = mask.copy()
    found[top : top + height, left : left + width] = 0
    return found


def shift(pixels: np.ndarray, strength: int, seed: int) -> np.ndarray:
    """Return a picture of a camera that was moved sideways and up or down; the rim repeats where nothing is known."""
    return _moved(pixels, strength, seed)


def _moved(values: np.ndarray, strength: int, seed: int) -> np.ndarray:
    height, width = values.shape[:2]
    angle = np.random.default_rng(seed).uniform(0, 2 * np.pi)
    down, right = (
        round(_SHIFT[strength - 1] * side * float(part))
        for side, part in ((height, np.sin(angle)), (width, np.cos(angle)))
    )
    rows, columns = (np.arange(height) - down).clip(0, height - 1), (np.arange(width) - right).clip(0, width - 1)
    return np.ascontiguousarray(values[rows][:, columns])


def _place(shape: tuple[int, ...], strength: int, seed: int) -> tuple[int, int, int, int]:
    """Return top, left, height and width of a rectangle of the frame's proportions; the same at any resolution."""
    side = float(np.sqrt(_COVERED[strength - 1]))
    y, x = np.random.default_rng(seed).uniform(0, 1 - side, 2)
    height, width = shape[:2]
    return round(float(y) * height), round(float(x) * width), round(side * height), round(side * width)


def _tensor(pixels: np.ndarray):  # type: ignore[no-untyped-def]
    import torch

    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))


def _array(values) -> np.ndarray:  # type: ignore[no-untyped-def]
    return np.ascontiguousarray(values.numpy().transpose(1, 2, 0))


CORRUPTIONS: Final[Mapping[str, Corruption]] = {
    "darkness": Corruption("brightness times .6, .35, .15", darkness),
    "noise": Corruption("Gaussian, 4%, 10%, 20% of full scale", noise),
    "blur": Corruption("Gaussian, .6%, 1.2%, 2.5% of the width", blur),
    "jpeg": Corruption("quality 30, 15, 7", jpeg),
    "occlusion": Corruption("a grey rectangle over 10%, 20%, 35%", occlusion, occluded_mask),
    "camera shift": Corruption("by 5%, 10%, 20% of the frame", shift, _moved),
}
"""By name, in the order in which reports show them."""
