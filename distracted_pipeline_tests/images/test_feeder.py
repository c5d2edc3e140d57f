"""Batches ahead of the network: in order, each image in its place, errors where they belong, never too far ahead."""

import threading

import numpy as np
import pytest

from distracted_pipeline.images.feeder import BATCHES_AHEAD, batches


@pytest.mark.parametrize("workers", [1, 3])
def test_every_image_is_in_its_place_and_the_last_batch_is_smaller(workers: int) -> None:
    def fill(i: int, slot: np.ndarray) -> None:
        slot[:] = i

    found = list(batches(10, 4, (3, 2, 2), fill, workers=workers))
    assert [tuple(batch.shape) for batch in found] == [(4, 3, 2, 2), (4, 3, 2, 2), (2, 3, 2, 2)]
    assert [int(image.unique()) for batch in found for image in batch] == list(range(10))


def test_no_more_than_a_few_batches_are_begun_before_they_are_taken() -> None:
    begun: list[int] = []
    feed = batches(100, 5, (1,), lambda i, slot: begun.append(i), workers=1)
    next(feed)
    feed.close()  # ends the thread
    assert len(begun) <= 5 * (1 + BATCHES_AHEAD)


def test_an_image_that_cannot_be_read_is_the_caller_s_error_and_ends_the_threads() -> None:
    def fill(i: int, slot: np.ndarray) -> None:
        if i == 7:
            raise ValueError("image 7")

    with pytest.raises(ValueError, match="image 7"):
        list(batches(50, 5, (1,), fill))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("feed")]
