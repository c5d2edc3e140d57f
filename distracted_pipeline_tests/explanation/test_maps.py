"""Where a map's energy lies and how two maps differ, by hand and against the pixels one by one."""

import numpy as np
import pytest
import torch

from distracted_pipeline.dataset import STATE_FARM
from distracted_pipeline.explanation.maps import as_bytes, delta_cam, energy, lift, resized

CATEGORIES = STATE_FARM.category_names


def test_lift_is_energy_over_area() -> None:
    mask = np.zeros((4, 4), np.uint8)
    mask[:, :2] = 1  # person: half of the image
    mask[0, 2] = 3  # cell phone: one of sixteen pixels
    cam = np.zeros((4, 4))
    cam[0] = 1  # the top row: two pixels of the person, the phone, one of neither
    found = lift(cam, mask, CATEGORIES)
    assert found["person"] == pytest.approx(0.5 / 0.5)
    assert found["cell phone"] == pytest.approx(0.25 / (1 / 16))
    assert found["cup"] is None


def test_a_uniform_cam_lifts_nothing_at_any_resolution() -> None:
    mask = np.random.default_rng(0).integers(0, 7, (48, 64), dtype=np.uint8)
    assert list(lift(np.full((7, 10), 0.3), mask, CATEGORIES).values()) == pytest.approx([1.0] * 6, rel=1e-5)


def test_a_cam_of_zeros_has_no_lift() -> None:
    assert set(lift(np.zeros((3, 4)), np.ones((6, 8), np.uint8), CATEGORIES).values()) == {None}


def test_resizing_is_that_of_torch() -> None:
    cam = np.random.default_rng(0).random((7, 10))
    theirs = torch.nn.functional.interpolate(torch.from_numpy(cam)[None, None], (48, 65), mode="bilinear")[0, 0]
    assert resized(cam, (48, 65)) == pytest.approx(theirs.numpy(), abs=1e-12)


@pytest.mark.parametrize("shape", [(48, 64), (45, 61), (7, 10), (4, 5)])
def test_energy_by_runs_is_energy_pixel_by_pixel(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    mask = rng.integers(0, 7, shape, dtype=np.uint8)
    mask[0] = 3  # a run that ends with its row although the next one goes on
    mask[1, :2] = 3
    cam = rng.random((7, 10))
    every_pixel = np.bincount(mask.ravel(), resized(cam, shape).ravel(), 7)
    share, area = energy(cam, mask, 7)
    assert share == pytest.approx(every_pixel / every_pixel.sum())
    assert area == pytest.approx(np.bincount(mask.ravel(), minlength=7) / mask.size)


def test_the_delta_of_two_maps_ignores_their_scale_and_adds_up_to_nothing() -> None:
    a, b = np.array([[3, 1], [0, 0]], np.uint8), np.array([[0.2, 0.2], [0, 0]])
    assert delta_cam(a, b) == pytest.approx(np.array([[0.25, -0.25], [0, 0]]))
    assert delta_cam(b, a) == pytest.approx(-delta_cam(a, b))
    assert delta_cam(a, 7 * a) == pytest.approx(np.zeros((2, 2)))


def test_the_delta_of_maps_of_two_sizes_has_the_finer_one_s() -> None:
    delta = delta_cam(np.ones((2, 3)), np.eye(6, 4))
    assert delta.shape == (6, 4)
    assert delta.sum() == pytest.approx(0)


def test_an_empty_map_takes_nothing_away() -> None:
    assert delta_cam(np.zeros((2, 2), np.uint8), np.ones((2, 2))) == pytest.approx(np.full((2, 2), -0.25))
    assert not as_bytes(np.zeros((2, 2))).any()
