"""Lifts beside those of permuted CAMs: what place alone explains is no evidence, and what follows the image is."""

import numpy as np
import pytest

from distracted_pipeline.explanation.maps import energy, resized
from distracted_pipeline.explanation.means import CamMeans
from distracted_pipeline.explanation.tables import EVERY_CLASS, Lift

DRIVERS = tuple(f"p{i:03d}" for i in range(10))
CLASSES, SHAPE, MASK = 4, (6, 8), (48, 64)
PERSON, PHONE = 1, 2


def scene(rng: np.random.Generator, true: int) -> np.ndarray:
    """A person near the middle of the frame, and a phone that lies where the class says."""
    mask = np.zeros(MASK, np.uint8)
    top, left = rng.integers(8, 14), rng.integers(16, 24)
    mask[top : top + 28, left : left + 26] = PERSON
    top, left = 6 + 20 * (true // 2) + rng.integers(0, 6), 6 + 40 * (true % 2) + rng.integers(0, 6)
    mask[top : top + 8, left : left + 8] = PHONE
    return mask


def centre() -> np.ndarray:
    y, x = np.meshgrid(np.linspace(-1, 1, SHAPE[0]), np.linspace(-1, 1, SHAPE[1]), indexing="ij")
    return np.exp(-2 * (y**2 + x**2))


def follows(mask: np.ndarray, category: int) -> np.ndarray:
    """A CAM on a category: the share of it in each cell, and a little everywhere."""
    return (mask == category).reshape(SHAPE[0], 8, SHAPE[1], 8).mean((1, 3)) + 0.02


def means(cam_of, images: int = 3) -> CamMeans:
    rng = np.random.default_rng(0)
    found = CamMeans(DRIVERS, SHAPE, CLASSES, ("person", "phone"))
    for driver in DRIVERS:
        for true in range(CLASSES):
            for _ in range(images):
                mask = scene(rng, true)
                found.add(driver, true, cam_of(mask, rng), mask)
    return found


def overall(found: CamMeans, category: str) -> Lift:
    (row,) = (row for row in found.lifts() if (row.class_id, row.category) == (EVERY_CLASS, category))
    return row


def test_cams_that_ignore_the_image_have_a_lift_and_no_ratio() -> None:
    person = overall(means(lambda mask, rng: centre()), "person")
    assert person.low is not None
    assert person.low > 1.2, "the person sits in the middle, and so does the CAM"
    assert person.permuted == pytest.approx(person.lift)
    assert person.ratio == pytest.approx(1)


def test_cams_that_vary_without_regard_to_the_image_have_a_ratio_around_one() -> None:
    def anywhere(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return centre() * rng.gamma(1, 1, SHAPE)

    found = means(anywhere, images=12)
    for category in ("person", "phone"):
        row = overall(found, category)
        assert row.ratio_low < 1 < row.ratio_high
        assert row.ratio == pytest.approx(1, abs=0.06)
    assert overall(found, "person").lift > 1.2


def test_cams_that_follow_a_category_have_a_ratio_above_one() -> None:
    found = means(lambda mask, rng: centre() * follows(mask, PHONE))
    phone = overall(found, "phone")
    assert phone.ratio_low > 2
    assert phone.permuted == pytest.approx(phone.lift / phone.ratio, rel=0.1)
    assert phone.permuted < phone.lift / 2
    for row in found.lifts():
        if row.category == "phone":
            assert row.ratio_low > 2, f"class {row.class_id}"


def test_permuted_cams_are_those_of_other_drivers_and_other_classes() -> None:
    """Against the definition, image by image."""
    rng = np.random.default_rng(3)
    found = CamMeans(("a", "b", "c"), SHAPE, 3, ("person", "phone"))
    seen = [
        (d, c, rng.random(SHAPE), scene(rng, c)) for d in range(3) for c in range(3) for _ in range(1 + (d + c) % 2)
    ]
    for d, c, cam, mask in seen:
        found.add("abc"[d], c, cam, mask)
    cell = {
        (d, c): np.mean([cam / cam.sum() for e, k, cam, _ in seen if (e, k) == (d, c)], 0)
        for d in range(3)
        for c in range(3)
    }
    lifts = []
    for d in range(3):
        on_category, area = np.zeros(3), np.zeros(3)
        for e, c, _, mask in seen:
            if e == d:
                other = np.mean([cam for (f, k), cam in cell.items() if f != d and k != c], 0)
                pixels = resized(other, MASK)
                on_category += np.bincount(mask.ravel(), pixels.ravel(), 3) / pixels.sum()
                area += energy(other, mask, 3)[1]
        lifts.append((on_category / area)[PHONE])
    assert overall(found, "phone").permuted == pytest.approx(np.mean(lifts), rel=1e-3)


def test_one_driver_alone_has_lifts_and_nothing_to_compare_them_with() -> None:
    found = CamMeans(("p0",), SHAPE, 2, ("person", "phone"))
    rng = np.random.default_rng(0)
    for true in range(2):
        found.add("p0", true, centre(), scene(rng, true))
    person = overall(found, "person")
    assert person.lift is not None
    assert (person.permuted, person.ratio, person.ratio_low) == (None, None, None)


def trained(luck: float, trainings: int = 3, told: bool = True) -> CamMeans:
    """CAMs of two folds in the middle and on the phone, each training more or less so; unless not told, by training."""
    rng = np.random.default_rng(0)
    found = CamMeans(DRIVERS, SHAPE, CLASSES, ("person", "phone"))
    shares = rng.uniform(0, luck, (2, trainings))
    for i, driver in enumerate(DRIVERS):
        for true in range(CLASSES):
            mask = scene(rng, true)
            each = [centre() + (0.2 + share) * follows(mask, PHONE) for share in shares[i % 2]]
            found.add(driver, true, np.mean(each, 0), mask, each if told else (), fold=str(i % 2))
    return found


def test_trainings_that_agree_have_no_luck() -> None:
    assert overall(trained(0), "phone").luck == pytest.approx(0, abs=1e-9)


def test_one_training_tells_nothing_of_another() -> None:
    assert overall(trained(1, trainings=1), "phone").luck is None


def test_trainings_that_differ_widen_the_interval_and_leave_the_ratio() -> None:
    apart, untold = overall(trained(1), "phone"), overall(trained(1, told=False), "phone")
    assert apart.luck is not None
    assert apart.luck > 0.01
    assert apart.ratio == untold.ratio
    assert (apart.ratio_low or 0) < (untold.ratio_low or 0)
    assert (apart.ratio_high or 0) > (untold.ratio_high or 0)


def test_the_luck_of_trainings_is_the_spread_of_the_ratio_over_experiments() -> None:
    """By simulation: the ratio of a whole experiment with one training a fold, again and again."""
    rng = np.random.default_rng(1)
    few = DRIVERS[:4]
    masks = {(driver, true): scene(rng, true) for driver in few for true in range(2)}

    def experiment(trainings: int) -> Lift:
        found = CamMeans(few, SHAPE, 2, ("person", "phone"))
        shares = rng.uniform(0.2, 0.6, (2, trainings))
        for (driver, true), mask in masks.items():
            fold = DRIVERS.index(driver) % 2
            each = [centre() + share * follows(mask, PHONE) for share in shares[fold]]
            found.add(driver, true, np.mean(each, 0), mask, each, fold=str(fold))
        return overall(found, "phone")

    seen = np.std([experiment(1).ratio for _ in range(60)], ddof=1)
    told = [experiment(3).luck for _ in range(20)]
    assert np.sqrt(np.mean(np.square(told))) == pytest.approx(seen, rel=0.3)
