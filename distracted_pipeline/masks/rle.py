"""Run-length encoding of class maps: what a mask is on disk and in memory.

Belongs here: the encoding and its inverse. Where encoded masks are stored is `cache`.
"""

import numpy as np

from distracted_pipeline.advice import materialize
from distracted_pipeline.errors import DistractedError


def encode(mask: np.ndarray, categories: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a mask as runs of equal ids in row-major order.

    Args:
        mask: uint8 `[H, W]` of ids 0 (none) to `categories`.
        categories: How many the data set has.

    Returns:
        Lengths int32 `[R]`, ids uint8 `[R]` (neighbours differ), and areas int32 `[categories + 1]` in pixels.

    Raises:
        ValueError: Not a uint8 matrix, or an id above `categories`.
    """
    if mask.ndim != 2 or mask.dtype != np.uint8:
        raise ValueError(f"a mask is a uint8 matrix, not {mask.dtype} of shape {mask.shape}")
    flat = np.ascontiguousarray(mask).reshape(-1)
    if not flat.size:
        return np.zeros(0, np.int32), np.zeros(0, np.uint8), np.zeros(categories + 1, np.int32)
    starts = np.concatenate(([0], np.flatnonzero(flat[1:] != flat[:-1]) + 1))
    values = flat[starts]
    if values.max() > categories:
        raise ValueError(f"a mask holds ids 0..{categories}, not {values.max()}")
    runs = np.diff(starts, append=flat.size).astype(np.int32)
    areas = np.bincount(values, weights=runs, minlength=categories + 1).astype(np.int32)
    return runs, values, areas


def decode(runs: np.ndarray, values: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return the mask of `encode` as uint8 `[height, width]`.

    Raises:
        DistractedError: The runs do not add up to the size.
    """
    pixels = int(runs.sum(dtype=np.int64))
    if pixels != height * width or (runs < 0).any():
        raise DistractedError(
            f"a cached mask has {pixels:,} pixels instead of {height}x{width}: the mask cache is damaged. "
            f"Delete its subject's folder under masks/, then type: {materialize('masks')}"
        )
    return np.repeat(values, runs).reshape(height, width)
