import numpy as np

from distracted_pipeline.masks.overlap import Overlap


def test_pixels_are_pooled_over_frames_and_absent_categories_left_out() -> None:
    overlap = Overlap(("person", "bottle", "cell phone", "cup", "car", "chair"))
    drawn, found = np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.uint8)
    drawn[0], found[:2] = 1, 1
    overlap.add(drawn, found)
    assert overlap.iou() == {"person": 0.5}
    assert overlap.same() == 0.75
    overlap.add(np.full((2, 2), 6, np.uint8), np.full((2, 2), 1, np.uint8))
    assert overlap.iou() == {"person": 4 / 12, "chair": 0.0}


def test_nothing_counted_is_no_agreement() -> None:
    assert Overlap(("person", "bottle", "cell phone", "cup", "car", "chair")).iou() == {}
    assert Overlap(("person", "bottle", "cell phone", "cup", "car", "chair")).same() == 0.0
