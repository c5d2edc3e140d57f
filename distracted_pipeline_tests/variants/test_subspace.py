"""Driver directions: planted ones are found and removed, the class stays, and the weights that are saved know it."""

from pathlib import Path

import numpy as np
import torch

from distracted_pipeline.variants.networks import Standardise
from distracted_pipeline.variants.subspace import Embedded, directions_to_remove, driver_directions, without
from distracted_pipeline_tests.variants.test_networks import batch_for, build
from distracted_pipeline_tests.variants.tiny import variant

WIDTH, CLASSES, DRIVERS, EACH = 24, 4, 8, 6


def planted(seed: int, drivers: int = DRIVERS) -> Embedded:
    """Embeddings: the class along the first axes, the driver strongly along axes 10 to 12, noise everywhere."""
    rng = np.random.default_rng(seed)
    labels = np.tile(np.repeat(np.arange(CLASSES), EACH), drivers)
    driver = np.repeat(np.arange(drivers), CLASSES * EACH)
    x = rng.normal(0, 0.3, (len(labels), WIDTH))
    x[np.arange(len(labels)), labels] += 2
    x[:, 10:13] += rng.normal(0, 5, (drivers, 3))[driver]
    return Embedded(torch.from_numpy(x).float(), torch.from_numpy(labels), np.char.add("d", driver.astype(str)))


def test_planted_directions_are_found_and_carry_nothing_of_the_class() -> None:
    found = planted(0)
    directions = driver_directions(found.pooled, found.labels, found.drivers)
    assert torch.allclose(directions @ directions.T, torch.eye(len(directions)), atol=1e-5)
    assert (directions[:3, 10:13] ** 2).sum(1).min() > 0.95
    left = without(found.pooled, directions[:3])
    assert left[:, 10:13].std() < 0.3
    assert torch.allclose(left[:, :CLASSES], found.pooled[:, :CLASSES], atol=0.6)


def test_a_driver_without_some_class_is_no_direction_of_that_class() -> None:
    found = planted(1)
    there = ~((found.drivers == "d0") & (found.labels.numpy() < 3))
    part = Embedded(found.pooled[there], found.labels[there], found.drivers[there])
    directions = driver_directions(part.pooled, part.labels, part.drivers)[:3]
    assert (directions[:, :CLASSES] ** 2).sum(1).max() < 0.05


def test_how_many_are_removed_is_what_does_other_drivers_most_good() -> None:
    standardise = Standardise(WIDTH)
    train, validation = planted(2), planted(3, drivers=3)
    standardise.fit(train.pooled)
    assert 1 <= len(directions_to_remove(standardise, train, validation)) <= DRIVERS - 1
    two = Embedded(*(part[: 2 * CLASSES * EACH] for part in (train.pooled, train.labels, train.drivers)))
    assert len(directions_to_remove(standardise, two, validation)) == 1


def test_a_folded_classifier_answers_as_before_and_is_blind_to_what_was_removed(efficientnet: Path) -> None:
    net = build(variant("linear_probe_without_driver"), efficientnet)
    batch = batch_for(net, net.inputs)
    net.standardise.fit(batch["pooled"])
    directions = torch.linalg.qr(torch.randn(net.pooled_width, 2))[0].T
    net.standardise.remove(directions)
    std = net.standardise.std.clone()
    with torch.no_grad():
        before = net(batch)
        net.fold()
        after = net(batch)
        moved = net({"pooled": batch["pooled"] + 3 * directions[:1] * std})
    assert torch.allclose(before, after, atol=1e-4)
    assert torch.allclose(moved, after, atol=1e-4)
    assert not len(net.standardise.removed)
    assert "standardise.removed" not in net.state_dict()
