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
    grid = out.shape[1:]
    whole_cells = mask.shape[0] % grid[0] == 0 and mask.shape[1] % grid[1] == 0
    share = _whole_cells if whole_cells else _part_cells
    out[1:] = 0
    rest = np.ones(grid, np.float32)
    for category in np.flatnonzero(areas[1:]) + 1:
        cells = share(mask == category, grid)
        out[category] = cells
        rest -= cells
    out[0] = np.clip(rest, 0, 1)


def _whole_cells(inside: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Return the share per cell where cells are whole pixels: adding bytes, no multiplication."""
    height, width = inside.shape[0] // grid[0], inside.shape[1] // grid[1]
    counter = np.uint8 if height < 256 else np.uint32
    columns = inside.view(np.uint8).reshape(grid[0], height, -1).sum(1, dtype=counter)
    cells = np.zeros(grid, np.uint32)
    for offset in range(width):
        cells += columns[:, offset::width]
    return cells.astype(np.float32) / np.float32(height * width)


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
