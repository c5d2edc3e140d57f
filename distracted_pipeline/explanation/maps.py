"""What can be said of finished class activation maps: where their energy lies, and how two of them differ.

Arrays in, numbers out; no network and no torch, so that reports and notebooks read it at no cost. Making maps is
`gradcam`, averaging them `means`.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np


def normalised(cam: np.ndarray) -> np.ndarray:
    """Return a map scaled to sum 1, float64; a map of zeros stays as it is."""
    total = cam.sum(dtype=float)
    return cam / total if total > 0 else np.zeros(cam.shape)


def as_bytes(cam: np.ndarray) -> np.ndarray:
    """Return a map scaled to its own maximum, uint8; a map of zeros stays as it is."""
    peak = cam.max()
    return np.rint(cam * (255 / peak)).astype(np.uint8) if peak > 0 else np.zeros(cam.shape, np.uint8)


def resized(cam: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Return a map at another resolution, bilinear, float64 [height, width]."""
    height, width = shape
    return _bilinear(height, cam.shape[0]) @ cam @ _bilinear(width, cam.shape[1]).T


def delta_cam(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return where one network looks more (positive) and less (negative) than another, on the same image.

    Args:
        a: Not negative, any scale and type, [h, w].
        b: Likewise; may have another resolution, and then the finer one is taken.

    Returns:
        float64 [h, w]: both scaled to sum 1, `a` minus `b`. Adds up to 0 unless one of them is zero everywhere.
    """
    shape = [max(sides) for sides in zip(a.shape, b.shape, strict=True)]
    return normalised(resized(a, shape)) - normalised(resized(b, shape))


def weights(mask: np.ndarray, shape: Sequence[int], ids: int) -> tuple[np.ndarray, np.ndarray]:
    """Return by mask id, background first, what each cell of a CAM gives to it, [ids, h, w], and its area, [ids].

    The energy of any CAM on a category is the sum of cells times weights (the adjoint of resizing the CAM to the
    mask). Weights are counted in shares of the image, and so is the area.

    Args:
        mask: uint8 [H, W].
        shape: Height and width of the CAMs.
        ids: How many mask ids there are, 0 for none among them.
    """
    height, width = mask.shape
    changes = np.empty(mask.shape, bool)
    changes[:, 0] = True
    changes[:, 1:] = mask[:, 1:] != mask[:, :-1]
    starts = np.flatnonzero(changes)
    rows, first = starts // width, starts % width
    last = np.append(starts[1:], mask.size) - rows * width
    # The sum over a run of pixels without the pixels: columns come in only as their running sums.
    wide = _running(width, shape[1])
    of_column, of_row, of_run = wide[last] - wide[first], _bilinear(height, shape[0])[rows], mask[rows, first]
    found = np.zeros((ids, *shape))
    for i in np.unique(of_run):
        chosen = of_run == i
        found[i] = of_row[chosen].T @ of_column[chosen]
    return found / mask.size, np.bincount(of_run, last - first, ids) / mask.size


def energy(cam: np.ndarray, mask: np.ndarray, ids: int) -> tuple[np.ndarray, np.ndarray]:
    """Return by mask id, background first, the shares of a CAM's energy and of the image's area, each [ids].

    Args:
        cam: Not negative, float [h, w]; resized to the mask.
        mask: uint8 [H, W].
        ids: How many mask ids there are, 0 for none among them.
    """
    of_cell, area = weights(mask, cam.shape, ids)
    return share_of(of_cell, cam), area


def share_of(of_cell: np.ndarray, cam: np.ndarray) -> np.ndarray:
    """Return by mask id the shares of a CAM's energy from what `weights` returns; zeros for a CAM of zeros."""
    return normalised((of_cell * cam).sum((-2, -1)))


def lift(cam: np.ndarray, mask: np.ndarray, categories: Sequence[str]) -> dict[str, float | None]:
    """Return how much more CAM energy falls on each mask category than its area explains.

    No evidence by itself: CAMs lie near the middle of the frame, and so do drivers, whatever a CAM speaks for. What
    place alone explains is the lift of permuted CAMs, in `CamMeans.lifts`.

    Args:
        cam: Not negative, float [h, w]; resized to the mask.
        mask: uint8 [H, W].
        categories: Names of the mask ids from 1.

    Returns:
        By category; None where it is absent from the mask or the CAM is zero everywhere.
    """
    share, area = energy(cam, mask, 1 + len(categories))
    return {
        name: float(share[i] / area[i]) if area[i] and share.any() else None
        for i, name in enumerate(categories, start=1)
    }


@lru_cache(maxsize=32)
def _bilinear(pixels: int, cells: int) -> np.ndarray:
    """Return what each cell gives to each pixel when `cells` are resized to `pixels`, [pixels, cells]; rows sum to 1.

    Centres align and edges repeat: `align_corners=False` of torch's interpolate.
    """
    position = ((np.arange(pixels) + 0.5) * cells / pixels - 0.5).clip(0, cells - 1)
    below = position.astype(int)
    weights = np.zeros((pixels, cells))
    weights[np.arange(pixels), below] = 1 - (position - below)
    weights[np.arange(pixels), np.minimum(below + 1, cells - 1)] += position - below
    return weights


@lru_cache(maxsize=32)
def _running(pixels: int, cells: int) -> np.ndarray:
    """Return the running sums of `_bilinear` over pixels, [pixels + 1, cells]."""
    return np.concatenate([np.zeros((1, cells)), _bilinear(pixels, cells).cumsum(0)])
