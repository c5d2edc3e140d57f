"""What choosing the best of several variants flatters, against variants whose truth is known."""

import numpy as np
import pytest

from distracted_pipeline.evaluation.ranking import flattery, rank


def variants(rng: np.random.Generator, levels: list[float], drivers: int = 26, luck: float = 0.1) -> np.ndarray:
    """Counts [variant, driver, 2, 2] of 50 images per driver and class; each variant has its luck with a driver."""
    chance = np.array(levels)[:, None, None] + rng.normal(0, luck, (len(levels), drivers, 2))
    right = rng.binomial(50, chance.clip(0, 1))
    counts = np.zeros((len(levels), drivers, 2, 2), np.int64)
    counts[:, :, [0, 1], [0, 1]], counts[:, :, [0, 1], [1, 0]] = right, 50 - right
    return counts


def test_the_best_of_equal_variants_is_flattered_about_as_much_as_its_recall_lies_above_the_truth() -> None:
    rng = np.random.default_rng(0)
    told, true = [], []
    for _ in range(40):
        counts = variants(rng, [0.7] * 8)
        told.append(flattery(counts, draws=200))
        true.append(counts[:, :, [0, 1], [0, 1]].mean((1, 2)).max() / 50 - 0.7)
    assert np.mean(true) > 0.015
    assert 0.6 < np.mean(told) / np.mean(true) < 2


def test_a_variant_that_is_far_better_is_flattered_little_and_one_alone_not_at_all() -> None:
    rng = np.random.default_rng(1)
    assert abs(flattery(variants(rng, [0.4, 0.8]))) < 0.005
    assert flattery(variants(rng, [0.7])) == 0
    assert np.isnan(flattery(variants(rng, [0.7, 0.7], drivers=1)))


def test_the_same_counts_give_the_same_flattery() -> None:
    counts = variants(np.random.default_rng(2), [0.7, 0.7])
    assert flattery(counts) == flattery(counts)


def test_variants_without_a_driver_in_common_are_not_ranked() -> None:
    counts = variants(np.random.default_rng(3), [0.7, 0.7], drivers=4)
    counts[0, :2] = counts[1, 2:] = 0
    found = rank({"a": counts[0], "b": counts[1]}, {"a": ["0"], "b": ["1"]})
    assert found.recall == {}
    assert np.isnan(found.flattery)


def test_a_variant_that_lacks_folds_is_not_ranked_beside_one_that_has_all() -> None:
    counts = variants(np.random.default_rng(4), [0.5, 0.9], drivers=4)
    counts[1, 1:] = 0
    found = rank({"whole": counts[0], "easy": counts[1]}, {"whole": [], "easy": ["1", "2"]})
    assert list(found.recall) == ["whole"]
    assert found.shared.all()
    assert found.recall["whole"] == pytest.approx(0.5, abs=0.1)
