"""Frames unlike those of the training are told from those of another driver."""

import numpy as np
import pytest

from distracted_pipeline.images.decode import ImageReader
from distracted_pipeline.images.manifest import labelled, read_manifest
from distracted_pipeline.serving import familiarity
from distracted_pipeline.serving.familiarity import unlike_training
from distracted_pipeline.settings import Settings


@pytest.fixture(scope="module")
def drivers(crowned: Settings) -> list[str]:
    return sorted(set(labelled(read_manifest(crowned))["subject"].to_pylist()))


def frames_of(settings: Settings, driver: str) -> list[np.ndarray]:
    table = labelled(read_manifest(settings))
    with ImageReader(settings.data) as reader:
        return [reader.rgb(row["path"]) for row in table.to_pylist() if row["subject"] == driver][:8]


def test_frames_of_the_training_are_like_it(crowned: Settings, drivers: list[str]) -> None:
    assert unlike_training(crowned, drivers[:4], frames_of(crowned, drivers[0])) == 0


def test_frames_whose_embeddings_lie_elsewhere_are_unlike_it(
    crowned: Settings, drivers: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    embed = familiarity._embeddings

    def half_elsewhere(settings: Settings, frames: list[np.ndarray]) -> np.ndarray:
        found = embed(settings, frames)
        found[::2] += 100 * found.std()
        return found

    monkeypatch.setattr(familiarity, "_embeddings", half_elsewhere)
    assert unlike_training(crowned, drivers[:4], frames_of(crowned, drivers[0])) == 0.5


def test_without_cached_embeddings_or_frames_nothing_is_claimed(crowned: Settings, drivers: list[str]) -> None:
    frames = frames_of(crowned, drivers[0])
    assert unlike_training(crowned, drivers[:1], frames) is None
    assert unlike_training(crowned, drivers[:4], []) is None
