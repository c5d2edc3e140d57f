import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from distracted_pipeline.masks.resize import resize_like_pil

sides = st.integers(1, 150)


@settings(max_examples=60, deadline=None)
@given(height=sides, width=sides, new_height=sides, new_width=sides, seed=st.integers(0, 9))
def test_one_of_the_two_orders_is_pil_s_to_the_bit(
    height: int, width: int, new_height: int, new_width: int, seed: int
) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(image).resize((new_width, new_height), Image.Resampling.BILINEAR))
    ours = [
        resize_like_pil(torch.from_numpy(image)[None], (new_height, new_width), height_first=first)[0].permute(1, 2, 0)
        for first in (False, True)
    ]
    assert any(np.array_equal(result.numpy(), expected) for result in ours)


@pytest.mark.parametrize("size", [(384, 384), (513, 513), (800, 1066)])
def test_frames_are_resized_as_pil_does_in_a_batch(size: tuple[int, int]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 480, 640, 3), dtype=np.uint8)
    images[1, :240] = 255  # saturated areas end at 255, not above
    result = resize_like_pil(torch.from_numpy(images), size)
    for image, planes in zip(images, result, strict=True):
        expected = Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(planes.permute(1, 2, 0).numpy(), np.asarray(expected))
