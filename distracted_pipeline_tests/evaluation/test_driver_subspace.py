"""How much of an embedding is the driver: chance where there is nothing, all where it is planted, less once removed."""

import numpy as np
import pytest
import torch

from distracted_pipeline.evaluation.driver_subspace import (
    driver_subspace,
    named,
    subspace_current,
    subspace_file,
)
from distracted_pipeline.options import RunOptions
from distracted_pipeline.settings import Settings
from distracted_pipeline.variants.networks import Standardise
from distracted_pipeline.variants.subspace import Embedded, driver_directions
from distracted_pipeline_tests.training.rooted import ingested, own_root, prepared
from distracted_pipeline_tests.variants.test_subspace import DRIVERS, WIDTH, planted
from distracted_pipeline_tests.variants.tiny import efficientnet

__all__ = ["efficientnet", "ingested", "own_root", "prepared"]


def test_planted_drivers_are_named_and_no_longer_without_their_directions() -> None:
    found = planted(0, drivers=4)
    standardise = Standardise(WIDTH)
    assert named(found, standardise) > 0.9
    standardise.fit(found.pooled)
    directions = driver_directions(standardise(found.pooled), found.labels, found.drivers)
    assert named(found, standardise, directions[:0]) > 0.9
    assert named(found, standardise, directions[:3]) < 0.5


def test_where_nothing_is_the_drivers_naming_them_is_chance() -> None:
    rng = np.random.default_rng(0)
    found = planted(0)
    noise = Embedded(torch.from_numpy(rng.normal(size=found.pooled.shape)).float(), found.labels, found.drivers)
    assert named(noise, Standardise(WIDTH)) == pytest.approx(1 / DRIVERS, abs=0.12)


def test_near_duplicates_within_a_class_are_no_help() -> None:
    found = planted(0)
    rng = np.random.default_rng(1)
    own = {key: rng.normal(size=WIDTH) for key in zip(found.drivers, found.labels.tolist(), strict=True)}
    film = np.stack([own[key] for key in zip(found.drivers, found.labels.tolist(), strict=True)])
    same_minute = Embedded(torch.from_numpy(film).float(), found.labels, found.drivers)
    assert named(same_minute, Standardise(WIDTH)) < 0.5


def test_the_result_is_written_once_and_made_again_where_it_is_damaged(own_root: Settings) -> None:
    options = RunOptions(log=lambda line: None)
    found = driver_subspace(own_root, options)
    assert (found["drivers"], found["chance"]) == (8, 1 / 8)
    assert found["accuracy"] > found["chance"]
    assert len(found["held_out"]["chosen"]) == len(found["folds"])
    assert subspace_current(own_root)
    assert driver_subspace(own_root, options) == found
    subspace_file(own_root).write_text("{}")
    assert not subspace_current(own_root)
    assert driver_subspace(own_root, options)["accuracy"] == found["accuracy"]
