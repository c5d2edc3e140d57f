from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageFilter

from distracted_pipeline.dataset import STATE_FARM
from distracted_pipeline.demo.canvas import BOTTLE, CUP, PERSON, PHONE
from distracted_pipeline.demo.dataset import DRIVERS
from distracted_pipeline.demo.drivers import demo_drivers, driver_look
from distracted_pipeline.demo.poses import PHONE_CLASSES, PLANTED, PLANTED_PAIRS, Scene, scene_of
from distracted_pipeline.demo.scenes import paint

STEADY = {"traffic": (), "scenery": 0.0, "flicker": 1.0, "noise_seed": 7}
"""What tells two frames of one pose apart, held still."""


def drivers(count: int = 4) -> list[int]:
    return [int(name[1:]) for name in demo_drivers(DRIVERS)[:count]]


def still(number: int, classname: str, frame: int = 0) -> Scene:
    return replace(scene_of(driver_look(number), classname, frame), **STEADY)


def grown(region: np.ndarray, by: int) -> np.ndarray:
    """Return a boolean region with a margin of `by` pixels: what smoothing and blur can reach."""
    return np.asarray(Image.fromarray(region).convert("L").filter(ImageFilter.MaxFilter(2 * by + 1))) > 0


def thing_of(scene: Scene) -> np.ndarray:
    """Return where the held thing shows: its label map drawn as if it were a phone."""
    return paint(replace(scene, held="phone"))[1] == PHONE


@pytest.mark.parametrize("pair", PLANTED_PAIRS)
def test_planted_pairs_share_every_pose(pair: tuple[str, str]) -> None:
    for number in drivers():
        for frame in range(8):
            first, second = (scene_of(driver_look(number), classname, frame) for classname in pair)
            assert first.pose == second.pose
            assert first.shake == second.shake
            assert first.hand == second.hand
            assert first.noise_seed != second.noise_seed
            assert first.held != second.held


@pytest.mark.parametrize("pair", PLANTED_PAIRS)
def test_mean_pictures_of_a_planted_pair_differ_only_where_the_thing_is(pair: tuple[str, str]) -> None:
    frames = [(number, frame) for number in drivers() for frame in (0, 3)]
    means = [
        np.mean([paint(still(number, classname, frame))[0].astype(float) for number, frame in frames], axis=0)
        for classname in pair
    ]
    region = np.any([thing_of(still(number, pair[0], frame)) for number, frame in frames], axis=0)
    difference = np.abs(means[0] - means[1]).max(axis=2)
    assert difference[grown(region, 3)].max() > 1
    assert difference[~grown(region, 3)].max() == 0


@pytest.mark.parametrize("pair", PLANTED_PAIRS)
def test_masks_of_a_planted_pair_differ_by_a_phone(pair: tuple[str, str]) -> None:
    for number in drivers():
        phones = []
        for classname in pair:
            labels = paint(scene_of(driver_look(number), classname, 2))[1]
            phones.append(int((labels == PHONE).sum()))
        assert min(phones) == 0
        assert 100 < max(phones) < 1500


@pytest.mark.parametrize("pair", PLANTED_PAIRS)
def test_the_lines_of_a_planted_pair_are_plain_to_a_segmenter_and_one_grey_to_the_backbone(
    pair: tuple[str, str],
) -> None:
    def contrast(pictures: list[Image.Image], size: tuple[int, int], radius: int) -> float:
        first, second = (
            np.asarray(picture.resize(size, Image.Resampling.BILINEAR).filter(ImageFilter.BoxBlur(radius)), dtype=float)
            for picture in pictures
        )
        return float(np.abs(first - second).mean(axis=2).max())

    for number in drivers(14)[::2]:
        pictures = [Image.fromarray(paint(still(number, classname))[0]) for classname in pair]
        assert contrast(pictures, (320, 240), 0) > 45
        assert 0 < contrast(pictures, (96, 96), 1) < 10


def test_planted_names_both_classes_of_each_pair() -> None:
    assert set(PLANTED) == {classname for pair in PLANTED_PAIRS for classname in pair}
    assert len(PLANTED) == 2 * len(PLANTED_PAIRS)


def test_all_other_classes_have_silhouettes_of_their_own() -> None:
    pairs = {frozenset(pair) for pair in PLANTED_PAIRS}
    for number in drivers(2):
        people = {classname: paint(still(number, classname))[1] == PERSON for classname in STATE_FARM.class_ids}
        for a in STATE_FARM.class_ids:
            for b in STATE_FARM.class_ids:
                if a < b and frozenset((a, b)) not in pairs:
                    assert (people[a] ^ people[b]).sum() > 1500, (number, a, b)


def test_label_maps_lie_exactly_on_the_picture() -> None:
    scene = still(2, "c3")
    driver = replace(scene.driver, camera=replace(scene.driver.camera, noise=0.0, blur=0.0))
    other = replace(driver, shirt=(255, 0, 255), shirt_accent=(255, 0, 255), skin=(0, 255, 0), hair=(0, 0, 255),
                    trousers=(255, 255, 0))  # fmt: skip
    picture, labels = paint(replace(scene, driver=driver, held=None))
    recoloured, same_labels = paint(replace(scene, driver=other, held=None))
    changed = np.abs(picture.astype(int) - recoloured).max(axis=2) > 20
    person = labels == PERSON
    assert np.array_equal(labels, same_labels)
    assert not (changed & ~grown(person, 1)).any()
    assert (changed & person).sum() > 0.9 * person.sum()


def test_a_phone_shows_in_every_frame_of_its_classes_and_in_no_other() -> None:
    for number in drivers(14)[::2]:
        for classname in (*PHONE_CLASSES, "c8"):
            shown = int((paint(scene_of(driver_look(number), classname, number % 8))[1] == PHONE).sum())
            assert (shown > 90) == (classname in PHONE_CLASSES), (number, classname, shown)
            assert classname in PHONE_CLASSES or shown == 0


def test_the_cup_or_bottle_is_at_the_mouth_in_c6_and_in_the_console_otherwise() -> None:
    for number in drivers():
        vessels = {}
        for classname in ("c0", "c6"):
            labels = paint(still(number, classname))[1]
            vessels[classname] = (labels == CUP) | (labels == BOTTLE)
        areas = [int(shown.sum()) for shown in vessels.values()]
        assert 500 < min(areas) < max(areas) < 2 * min(areas)
        assert np.nonzero(vessels["c6"])[0].max() < 240 < np.nonzero(vessels["c0"])[0].min()


def test_left_and_right_are_told_by_the_side_of_the_hand() -> None:
    columns = {}
    for classname in ("c1", "c2", "c3", "c4"):
        labels = paint(still(12, classname))[1]
        columns[classname] = np.nonzero(labels == PHONE)[1].mean()
    assert columns["c2"] < columns["c4"]  # the far ear shows in front of a face that looks to the right
    assert scene_of(driver_look(12), "c3", 0).hand == scene_of(driver_look(12), "c4", 0).hand == "left"
    assert scene_of(driver_look(12), "c1", 0).hand == scene_of(driver_look(12), "c2", 0).hand == "right"


def test_drivers_differ_more_than_the_frames_of_one() -> None:
    def thumbnail(number: int, frame: int) -> np.ndarray:
        picture = paint(scene_of(driver_look(number), "c0", frame))[0]
        return np.asarray(Image.fromarray(picture).resize((64, 48), Image.Resampling.BOX), float)

    frames = {number: [thumbnail(number, frame) for frame in range(3)] for number in drivers(6)}
    within = [np.abs(f[0] - other).mean() for f in frames.values() for other in f[1:]]
    between = [np.abs(frames[a][0] - frames[b][0]).mean() for a in frames for b in frames if a < b]
    assert np.median(between) > 1.5 * np.median(within)
    assert min(between) > min(within) > 0


def test_another_seed_draws_another_driver_and_the_same_seed_the_same() -> None:
    assert driver_look(2) == driver_look(2)
    assert driver_look(2) != driver_look(2, seed=1)
    assert len({driver_look(number).shirt for number in drivers(14)}) == 14


@pytest.mark.parametrize("count", range(3, 27))
def test_any_number_of_drivers_covers_the_seeds_split(count: int) -> None:
    names = demo_drivers(count)
    assert len(set(names)) == count
    assert "p002" in names
    for part in dict(STATE_FARM.split).values():
        assert set(part) & set(names)
