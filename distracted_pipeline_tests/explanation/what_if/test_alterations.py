"""Corruptions, ablations of masks, and which frames are altered."""

from dataclasses import replace

import numpy as np
import pytest

from distracted_pipeline.dataset import STATE_FARM
from distracted_pipeline.evaluation.predictions import Part
from distracted_pipeline.explanation.what_if.corruptions import CORRUPTIONS, STRENGTHS
from distracted_pipeline.explanation.what_if.frames import Frame
from distracted_pipeline.explanation.what_if.mask_ablation import ablations
from distracted_pipeline.explanation.what_if.robustness import mirrored_positions
from distracted_pipeline.explanation.what_if.sampling import few_frames, shown_categories
from distracted_pipeline.settings import Settings


def picture() -> np.ndarray:
    """A smooth picture with an edge."""
    y, x = np.mgrid[:48, :64]
    pixels = np.stack([x * 3, y * 4, (x + y) * 2], -1).astype(np.uint8)
    pixels[10:20, 20:40] = 250
    return pixels


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_is_the_same_each_time_and_worse_with_strength(name: str) -> None:
    made = [CORRUPTIONS[name].pixels(picture(), strength, 7) for strength in STRENGTHS]
    for strength, pixels in zip(STRENGTHS, made, strict=True):
        np.testing.assert_array_equal(pixels, CORRUPTIONS[name].pixels(picture(), strength, 7))
        assert pixels.shape == picture().shape
        assert pixels.dtype == np.uint8
    lost = [np.abs(pixels.astype(int) - picture()).mean() for pixels in made]
    assert 0 < lost[0] < lost[1] < lost[2]


def test_masks_move_with_the_camera_and_are_blank_where_the_frame_is_covered() -> None:
    mask = np.zeros((96, 128), np.uint8)
    mask[20:40, 40:80] = 3  # as the bright patch of the picture, at twice the resolution
    shift, cover = CORRUPTIONS["camera shift"], CORRUPTIONS["occlusion"]
    assert shift.mask is not None
    moved = shift.mask(mask, 2, 7)[::2, ::2] == 3
    bright = shift.pixels(picture(), 2, 7).min(-1) == 250
    assert (moved ^ bright).sum() <= bright.sum() * 0.2  # a pixel of rounding at the rim
    assert cover.mask is not None
    full = np.ones((48, 64), np.uint8)
    covered = (cover.pixels(np.zeros_like(picture()), 2, 7) == 128).all(-1)
    np.testing.assert_array_equal(cover.mask(full, 2, 7) == 0, covered)


def test_a_category_is_dropped_eroded_shifted_and_swapped_and_others_stay() -> None:
    mask = np.ones((60, 80), np.uint8)
    mask[20:40, 30:50] = 3
    mask[:10, :10] = 2
    other = np.zeros_like(mask)
    other[50:58, 60:70] = 3
    found = dict(ablations(Frame(0, "img_1.jpg", "p002", 1, picture(), mask), 3, other))
    area = {name: int((altered == 3).sum()) for name, altered in found.items()}
    assert area["dropped"] == 0
    assert 0.2 < area["eroded"] / 400 < 0.7
    assert not (found["shifted"] == mask).all()
    assert 0 < area["shifted"] <= 400
    np.testing.assert_array_equal(found["swapped"] == 3, other == 3)
    for altered in found.values():
        elsewhere = (altered != 3) & (mask != 3)
        np.testing.assert_array_equal(altered[elsewhere], mask[elsewhere])
    assert "swapped" not in dict(ablations(Frame(0, "img_1.jpg", "p002", 1, picture(), mask), 3, None))


def test_right_and_left_classes_change_places_in_a_mirror() -> None:
    assert mirrored_positions(Settings(data=None)).tolist() == [0, 3, 4, 1, 2, 5, 6, 7, 8, 9]  # type: ignore[arg-type]
    without = replace(STATE_FARM, mirrors=())
    assert mirrored_positions(Settings(data=None, dataset=without)).tolist() == list(range(10))  # type: ignore[arg-type]


def test_few_frames_of_each_driver_and_class_are_taken_whatever_the_order() -> None:
    img = np.array([f"img_{i}.jpg" for i in range(40)])
    subject, true = np.array([f"p{i % 2}" for i in range(40)]), np.arange(40) // 20
    part = Part("v", "0", img, subject, subject, true.astype(np.int8), np.zeros((1, 40, 2)))
    rows, _ = few_frames(part, 3)
    assert len(rows) == 2 * 2 * 3
    turned = Part("v", "0", img[::-1], subject[::-1], subject, true[::-1].astype(np.int8), np.zeros((1, 40, 2)))
    again, _ = few_frames(turned, 3)
    assert set(img[rows]) == set(img[::-1][again])
    shows = np.zeros((40, 2), bool)
    shows[::5, 1] = True
    rows, chosen = few_frames(part, 3, shows)
    assert set(rows) <= set(range(0, 40, 5))
    assert chosen[:, 0].sum() == 0


def test_specks_are_no_objects() -> None:
    areas = np.array([[9_990, 10, 0], [9_995, 5, 0], [5_000, 0, 5_000]])
    np.testing.assert_array_equal(shown_categories(areas, 0.001), [[True, False], [False, False], [False, True]])
