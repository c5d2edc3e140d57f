import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distracted_pipeline.masks.fractions import _part_cells, class_fractions

FLOAT16 = 2**-10


def fractions(mask: np.ndarray, grid: tuple[int, int] = (60, 80)) -> np.ndarray:
    out = np.full((7, *grid), np.nan, np.float16)
    class_fractions(mask, np.bincount(mask.reshape(-1), minlength=7), out)
    return out


def by_definition(mask: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Every pixel cut into grid-many pieces each way, every piece in exactly one cell."""
    fine = np.repeat(np.repeat(mask, grid[0], 0), grid[1], 1)
    cells = fine.reshape(grid[0], mask.shape[0], grid[1], mask.shape[1])
    return np.stack([(cells == i).mean((1, 3)) for i in range(7)])


@settings(deadline=None)
@given(
    seed=st.integers(0, 1000),
    shape=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    grid=st.tuples(st.integers(1, 12), st.integers(1, 12)),
)
def test_fractions_are_the_share_of_each_cell_for_any_size(
    seed: int, shape: tuple[int, int], grid: tuple[int, int]
) -> None:
    mask = np.random.default_rng(seed).integers(0, 7, shape, dtype=np.uint8)
    result = fractions(mask, grid)
    np.testing.assert_allclose(result, by_definition(mask, grid), atol=FLOAT16)
    np.testing.assert_allclose(result.sum(0, dtype=np.float64), 1, atol=7 * FLOAT16)


@pytest.mark.parametrize("shape", [(480, 640), (48, 64), (60, 80), (300, 401), (1, 1), (30_000, 160)])
def test_sizes_seen_in_practice_keep_every_pixel(shape: tuple[int, int]) -> None:
    mask = np.zeros(shape, np.uint8)
    mask[: shape[0] // 2] = 3
    mask[:, shape[1] // 2 :] = 5
    result = fractions(mask)
    shares = np.bincount(mask.reshape(-1), minlength=7) / mask.size
    np.testing.assert_allclose(result.mean((1, 2), dtype=np.float64), shares, atol=1e-3)


def test_whole_and_partial_cells_agree() -> None:
    mask = np.random.default_rng(0).integers(0, 2, (480, 640), dtype=np.uint8)
    np.testing.assert_allclose(fractions(mask)[1], _part_cells(mask == 1, (60, 80)), atol=1e-3)
