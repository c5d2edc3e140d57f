"""Class maps as shares per grid cell: what the mask head reads instead of full-size masks.

Belongs here: the arithmetic. Reading masks is `cache`.
"""

from functools import lru_cache

import numpy as np

GRID = (60, 80)
"""Rows and columns of what mask networks read: cells of eight pixels on a frame of 640 x 480."""


def class_fractions(mask: np.ndarray, areas: np.ndarray, out: np.ndarray) -> None:
    """Fill `out` with the share of each category in each cell of a grid laid over the mask.

    Every pixel counts by the part of it that lies in the cell, so any size of mask fits any grid.

    Args:
        mask: uint8 `[H, W]`, ids 0..C-1.
        areas: Pixels of each id `[C]`; ids without any are skipped.
        out: float `[C, rows, columns]`, overwritten; each cell sums to 1.
    """
    rows, columns = out.shape[1:]
    out[1:] = 0
    found = np.flatnonzero(areas[1:]) + 1
    if mask.shape[0] % rows == 0 and mask.shape[1] % columns == 0:
        _whole_cells(mask, found, out)
        return
    rest = np.ones((rows, columns), np.float32)
    for category in found:
        cells = _part_cells(mask == category, (rows, columns))
        out[category] = cells
        rest -= cells
    out[0] = np.clip(rest, 0, 1)


def _whole_cells(mask: np.ndarray, found: np.ndarray, out: np.ndarray) -> None:
    """Fill `out` where cells are whole pixels: counts, and their shares looked up, as numpy makes halves slowly."""
    rows, columns = out.shape[1:]
    height, width = mask.shape[0] // rows, mask.shape[1] // columns
    shares = (np.arange(height * width + 1, dtype=np.float32) / np.float32(height * width)).astype(out.dtype)
    rest = np.full((rows, columns), height * width, np.int64)
    for category in found:
        inside = (mask == category).view(np.uint8).reshape(rows, height, -1)
        cells = (
            _by_words(inside)
            if (height, width) == (8, 8)
            else inside.reshape(rows, height, columns, width).sum((1, 3), dtype=np.int64)
        )
        np.take(shares, cells, out=out[category])
        rest -= cells
    np.take(shares, rest, out=out[0])


def _by_words(inside: np.ndarray) -> np.ndarray:
    """Return the ones in each cell of 8 x 8: eight bytes are added as one word, then a product adds a word's bytes."""
    words = inside.view(np.uint64).sum(1)
    return ((words * np.uint64(0x0101010101010101)) >> np.uint64(56)).astype(np.int64)


def _part_cells(inside: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    rows, columns = _overlaps(inside.shape[0], grid[0]), _overlaps(inside.shape[1], grid[1])
    return rows @ inside.astype(np.float32) @ columns.T


@lru_cache(maxsize=32)
def _overlaps(pixels: int, cells: int) -> np.ndarray:
    """Return the share of each cell that each pixel covers, float32 `[cells, pixels]`; rows sum to 1."""
    pixel_edges = np.arange(pixels + 1) / pixels
    cell_edges = np.arange(cells + 1) / cells
    last = np.minimum(cell_edges[1:, None], pixel_edges[None, 1:])
    first = np.maximum(cell_edges[:-1, None], pixel_edges[None, :-1])
    return (np.clip(last - first, 0, None) * cells).astype(np.float32)
