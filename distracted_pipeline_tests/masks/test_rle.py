import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.masks.rle import decode, encode

masks = hnp.arrays(
    np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=40), elements=st.integers(0, 6)
)


@given(masks)
def test_decoding_returns_what_was_encoded(mask: np.ndarray) -> None:
    runs, values, areas = encode(mask, 6)
    np.testing.assert_array_equal(decode(runs, values, *mask.shape), mask)
    assert areas.tolist() == [int((mask == i).sum()) for i in range(7)]
    assert (runs > 0).all()
    assert (values[1:] != values[:-1]).all()


def test_columns_cut_from_a_larger_mask_are_encoded_in_row_major_order() -> None:
    mask = np.arange(24, dtype=np.uint8).reshape(4, 6) % 7
    part = mask[:, 1:4]
    runs, values, _ = encode(part, 6)
    np.testing.assert_array_equal(decode(runs, values, 4, 3), part)


@pytest.mark.parametrize(
    "mask", [np.full((2, 2), 7, np.uint8), np.zeros((2, 2), bool), np.zeros((2, 2), np.int64), np.zeros(4, np.uint8)]
)
def test_what_is_no_mask_is_refused(mask: np.ndarray) -> None:
    with pytest.raises(ValueError, match="mask"):
        encode(mask, 6)


def test_runs_that_do_not_fill_the_image_name_the_remedy() -> None:
    runs, values, _ = encode(np.zeros((4, 4), np.uint8), 6)
    with pytest.raises(DistractedError, match="damaged.*--select masks"):
        decode(runs, values, 4, 5)
