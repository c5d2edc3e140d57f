"""Frames unlike those of the training are told from those of another driver."""

import numpy as np
import pytest

from distracted_pipeline.images.decode import ImageReader
from distracted_pipeline.images.manifest import labelled, read_manifest
from distracted_pipeline.serving.familiarity import unlike_training
from distracted_pipeline.settings import Settings


@pytest.fixture(scope="module")
def drivers(crowned: Settings) -> list[str]:
    return sorted(set(labelled(read_manifest(crowned))["subject"].to_pylist()))


def frames_of(settings: Settings, driver: str) -> list[np.ndarray]:
    table = labelled(read_manifest(settings))
    with ImageReader(settings.data) as reader:
        return [reader.rgb(row["path"]) for row in table.to_pylist() if row["subject"] == driver][:8]


def test_noise_is_unlike_the_training_and_a_frame_of_it_is_not(crowned: Settings, drivers: list[str]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (8, 48, 64, 3), dtype=np.uint8)
    assert unlike_training(crowned, drivers[:4], list(noise)) == 1
    assert unlike_training(crowned, drivers[:4], frames_of(crowned, drivers[0])) == 0


def test_without_cached_embeddings_or_frames_nothing_is_claimed(crowned: Settings, drivers: list[str]) -> None:
    frames = frames_of(crowned, drivers[0])
    assert unlike_training(crowned, drivers[:1], frames) is None
    assert unlike_training(crowned, drivers[:4], []) is None
