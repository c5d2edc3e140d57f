"""Erasing a region of a picture, and finding an equal region elsewhere to erase instead. Plain arrays.

Regions are filled by OpenCV's `inpaint` (Telea 2004: from the border inwards, each pixel from its known neighbours).
A filled region has edges and a smoothness of its own that a network may react to, whatever lay there; the control
region has the same.
"""

from typing import Final, NamedTuple

import numpy as np

METHOD: Final = "OpenCV inpaint (Telea), radius 3, region dilated by 2% of the width; blur of a twelfth of the width"
RADIUS: Final = 3
DILATION: Final = 0.02
BLUR: Final = 1 / 12


class Control(NamedTuple):
    """An equal region elsewhere.

    Attributes:
        region: bool `[h, w]`, as many pixels in the same arrangement.
        shift: Down and right, in pixels.
        on_objects: Share of it that lies on objects.
        on_region: Share of it that lies on the region that it is the control of.
    """

    region: np.ndarray
    shift: tuple[int, int]
    on_objects: float
    on_region: float


def touched(inside: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return the pixels at another resolution that a region touches, bool `[h, w]`."""
    import cv2

    share = cv2.resize(inside.astype(np.float32), (shape[1], shape[0]), interpolation=cv2.INTER_AREA)
    return np.asarray(share > 0)


def region_of(inside: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return where a category lies at another resolution, bool `[h, w]`: every pixel it touches, and a rim around.

    Args:
        inside: bool `[H, W]`, at the mask's resolution.
        shape: Height and width.
    """
    import cv2

    reach = max(1, round(DILATION * shape[1]))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    return np.asarray(cv2.dilate(touched(inside, shape).astype(np.uint8), kernel), bool)


def control_of(region: np.ndarray, objects: np.ndarray, seed: int) -> Control:
    """Return the region moved to where it covers as little of objects and of itself as it can.

    Among the places that are equally good, a seeded one.

    Args:
        region: bool `[h, w]`.
        objects: bool `[h, w]`, what it should keep away from.
        seed: Of the choice.
    """
    rows, columns = np.flatnonzero(region.any(1)), np.flatnonzero(region.any(0))
    top, left = int(rows[0]), int(columns[0])
    shape = region[top : rows[-1] + 1, left : columns[-1] + 1]
    covered = _covered(objects | region, shape)
    good = np.flatnonzero(covered <= covered.min() + 0.5)  # half a pixel: the transform rounds
    y, x = np.unravel_index(int(np.random.default_rng(seed).choice(good)), covered.shape)
    moved = np.zeros_like(region)
    moved[y : y + shape.shape[0], x : x + shape.shape[1]] = shape
    area = region.sum()
    return Control(
        moved,
        (int(y) - top, int(x) - left),
        float((moved & objects).sum() / area),
        float((moved & region).sum() / area),
    )


def filled(pixels: np.ndarray, region: np.ndarray) -> np.ndarray:
    """Return a picture, uint8 `[h, w, 3]`, with a region filled from what surrounds it."""
    import cv2

    return np.asarray(cv2.inpaint(pixels, region.astype(np.uint8), RADIUS, cv2.INPAINT_TELEA))


def blurred(pixels: np.ndarray, region: np.ndarray) -> np.ndarray:
    """Return a picture with a region blurred beyond recognition of small things."""
    import cv2

    soft = np.asarray(cv2.GaussianBlur(pixels, (0, 0), BLUR * pixels.shape[1]))
    return np.where(region[..., None], soft, pixels)


def eroded(inside: np.ndarray, reach: int) -> np.ndarray:
    """Return what of a region lies further than `reach` pixels from all that is not of it, bool `[h, w]`.

    The frame's border is no border of the region. By distances, whose cost does not grow with the reach, within the
    rectangle that holds the region.
    """
    import cv2

    core = np.zeros(inside.shape, bool)
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    if not len(rows):
        return core
    around = slice(max(rows[0] - 1, 0), rows[-1] + 2), slice(max(columns[0] - 1, 0), columns[-1] + 2)
    part = np.ascontiguousarray(inside[around], np.uint8)
    core[around] = cv2.distanceTransform(part, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) > reach
    return core


def moved_ids(mask: np.ndarray, category: int, shift: tuple[float, float]) -> np.ndarray:
    """Return where a category would lie if it were moved, bool of the mask's shape; what leaves the frame is lost.

    Args:
        mask: uint8 `[H, W]`.
        category: Its id.
        shift: Down and right, in shares of height and width.
    """
    down, right = round(shift[0] * mask.shape[0]), round(shift[1] * mask.shape[1])
    found = np.zeros(mask.shape, bool)
    (to_y, from_y), (to_x, from_x) = (_slices(by, side) for by, side in zip((down, right), mask.shape, strict=True))
    found[to_y, to_x] = mask[from_y, from_x] == category
    return found


def _slices(by: int, side: int) -> tuple[slice, slice]:
    """Return where along a side things come to lie when they move, and where they come from."""
    kept = max(side - abs(by), 0)
    return slice(max(by, 0), max(by, 0) + kept), slice(max(-by, 0), max(-by, 0) + kept)


def _covered(objects: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """Return how many pixels of objects a shape covers at each place it fits, float `[h - a + 1, w - b + 1]`."""
    from scipy.signal import fftconvolve

    return np.asarray(fftconvolve(objects.astype(float), shape[::-1, ::-1].astype(float), mode="valid"))
