"""Filling a region, and finding an equal one elsewhere."""

import numpy as np

from distracted_pipeline.explanation.what_if.erasing import blurred, control_of, eroded, filled, moved_ids, region_of

SHAPE = (40, 60)


def phone() -> np.ndarray:
    """An object of an uneven shape, at the mask's resolution."""
    inside = np.zeros((80, 120), bool)
    inside[20:40, 20:30] = True
    inside[36:40, 30:36] = True
    return inside


def test_the_region_holds_the_object_and_a_rim() -> None:
    region = region_of(phone(), SHAPE)
    touched = phone().reshape(40, 2, 60, 2).any((1, 3))
    assert region[touched].all()
    assert touched.sum() < region.sum() < 2 * touched.sum()


def test_the_control_is_the_same_shape_where_nothing_lies_if_there_is_such_a_place() -> None:
    region = region_of(phone(), SHAPE)
    objects = np.zeros(SHAPE, bool)
    objects[:, :40] = True
    control = control_of(region, objects, seed=3)
    down, right = control.shift
    assert control.region.sum() == region.sum()
    np.testing.assert_array_equal(np.roll(region, (down, right), (0, 1)), control.region)
    assert not (control.region & (objects | region)).any()
    assert control.on_objects == control.on_region == 0


def test_without_room_the_control_covers_as_little_as_it_can_and_says_how_much() -> None:
    region = region_of(phone(), SHAPE)
    crowded = np.ones(SHAPE, bool)
    crowded[:, -3:] = False
    control = control_of(region, crowded, seed=3)
    assert 0 < control.on_objects < 1
    assert control.on_region == 0


def test_the_place_of_the_control_follows_from_its_seed_alone() -> None:
    region, nothing = region_of(phone(), SHAPE), np.zeros(SHAPE, bool)
    shifts = {control_of(region, nothing, seed).shift for seed in (1, 1, 2, 3)}
    assert 1 < len(shifts) <= 3
    assert control_of(region, nothing, 1).shift == control_of(region, nothing, 1).shift


def test_filling_and_blurring_touch_nothing_outside_the_region() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*SHAPE, 3), dtype=np.uint8)
    region = region_of(phone(), SHAPE)
    for made in (filled(pixels, region), blurred(pixels, region)):
        np.testing.assert_array_equal(made[~region], pixels[~region])
        assert (made[region] != pixels[region]).any()


def test_a_bright_object_on_a_dark_wall_is_gone() -> None:
    pixels = np.full((*SHAPE, 3), 20, np.uint8)
    pixels[phone().reshape(40, 2, 60, 2).any((1, 3))] = 250
    assert filled(pixels, region_of(phone(), SHAPE)).max() < 30


def test_a_category_moves_by_shares_of_the_frame_and_what_leaves_it_is_lost() -> None:
    mask = np.zeros((80, 120), np.uint8)
    mask[phone()] = 3
    moved = moved_ids(mask, 3, (0.25, 0.5))
    np.testing.assert_array_equal(moved, np.roll(phone(), (20, 60), (0, 1)))
    assert not moved_ids(mask, 3, (0.9, 0)).any()


def test_a_region_loses_what_a_disc_reaches_from_outside_it_and_nothing_at_the_frame_s_border() -> None:
    inside = np.zeros(SHAPE, bool)
    inside[:24, 8:50] = True
    inside[10:14, 20:24] = False
    outside = np.argwhere(~inside)
    distance = np.array([np.hypot(*(outside - place).T).min() for place in np.argwhere(inside)])
    wanted = np.zeros(SHAPE, bool)
    wanted[inside] = distance > 5
    np.testing.assert_array_equal(eroded(inside, 5), wanted)
    assert eroded(inside, 5)[0].any()
    assert not eroded(np.zeros(SHAPE, bool), 5).any()
    assert eroded(np.ones(SHAPE, bool), 5).all()
