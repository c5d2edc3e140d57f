"""From the counts of trainings to verdicts: what is called different, what is not, and what cannot be told."""

from functools import cache

import numpy as np
import pytest

from distracted_pipeline.evaluation import statistics as st
from distracted_pipeline.evaluation.comparison import Difference, difference, sentence, together

DRIVERS = tuple(f"p{i:03d}" for i in range(26))
FOLDS = np.arange(26) % 5


@cache
def signs() -> np.ndarray:
    return st.swap_signs(DRIVERS, 4999)


def simulated(seed: int, effect: float = 0.0, luck: float = 0.4, trainings: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Two variants' counts [replicate, driver, true, predicted]: `effect`, in logits, on c1 to c4 of the first one.

    Each driver has a level, each of their films another, each variant its luck with a film, each training of a fold
    its `luck` with a class; what is not right goes to neighbouring classes.
    """
    rng = np.random.default_rng(seed)
    n = rng.integers(15, 50, (26, 10))
    level = rng.normal(0.8, 1, (26, 1)) + rng.normal(0, 0.6, (26, 10))

    def counts(shift: np.ndarray) -> np.ndarray:
        own = level + shift + rng.normal(0, 0.4, level.shape)
        chance = 1 / (1 + np.exp(-(own + rng.normal(0, luck, (trainings, 5, 10))[:, FOLDS])))
        right = rng.binomial(n, chance)
        near = rng.binomial(n - right, 0.7)
        found = np.zeros((trainings, 26, 10, 10))
        for c in range(10):
            found[:, :, c, c] = right[..., c]
            found[:, :, c, (c + 1) % 10] = near[..., c]
            found[:, :, c, (c + 4) % 10] = (n - right - near)[..., c]
        return found

    return counts(effect * np.isin(np.arange(10), range(1, 5))), counts(np.zeros(10))


def compared(a: np.ndarray, b: np.ndarray) -> Difference:
    return difference(a, b, FOLDS, signs())


def test_a_planted_effect_is_found_in_exactly_its_classes() -> None:
    verdicts = np.array([compared(*simulated(seed, 1.8)).verdicts for seed in range(10)])
    assert (verdicts[:, 1:5] == "improved").mean() >= 0.95
    assert (verdicts[:, 5:] == "undetermined").mean() >= 0.95


def test_the_same_recipe_trained_by_luck_is_not_called_different() -> None:
    runs = [compared(*simulated(seed, luck=0.8)) for seed in range(100)]
    called = np.mean([set(found.verdicts) != {"undetermined"} for found in runs])
    assert called <= 0.1  # Holm: any of the ten classes, at most 5 in 100 but for luck
    covered = np.mean([(found.recall.low <= 0) & (found.recall.high >= 0) for found in runs])
    assert covered >= 0.92
    pairs = [simulated(seed, luck=0.8) for seed in range(60)]
    once = [st.swap_test(*(f(x[0]).T for x in pair for f in (st.hits, st.support)), signs())[0].min() for pair in pairs]
    assert (np.array(once) * 10 < 0.05).mean() > 0.2, "one training and drivers alone would call it different"


def test_p_is_never_smaller_than_that_of_either_test() -> None:
    a, b = simulated(0, 0.8)
    found = compared(a, b)
    swap, _ = st.swap_test(*(f(x.mean(0)).T for x in (a, b) for f in (st.hits, st.support)), signs())
    assert found.p == pytest.approx(np.maximum(swap, found.recall.p_training))
    assert found.p_holm == pytest.approx(st.holm(found.p))


def test_one_training_of_either_side_or_fold_gives_no_verdict() -> None:
    a, b = simulated(0, 1.8)
    ragged = b.copy()
    ragged[1:, FOLDS == 2] = np.nan
    for pair in ((a[:1], b), (a, b[:1]), (a, ragged)):
        found = compared(*pair)
        assert set(found.verdicts) == {"not testable"}
        assert set(found.obstacles) == {"one training only"}
        assert np.isnan(found.p).all()
        assert np.isnan(found.macro_p)
        assert found.asked.tolist() == [0] * 10
        assert "one training only" in sentence(found.verdicts, found.obstacles)
    ragged[1, FOLDS == 2] = b[1, FOLDS == 2]
    assert compared(a, ragged).verdicts[1:5] == ("improved",) * 4


def test_each_reason_for_no_test_has_its_own_words() -> None:
    a, b = simulated(0)
    few = np.where(np.arange(26)[:, None, None] < 7, b, np.nan)
    found = compared(a, few)
    assert set(found.obstacles) == {"too few drivers"}
    assert sentence(found.verdicts, found.obstacles).startswith("not testable: fewer than 9 drivers in common")
    lone = difference(a, b, np.arange(26), signs())
    assert set(lone.obstacles) == {"one driver a fold"}
    assert "no fold holds out two drivers in common" in sentence(lone.verdicts, lone.obstacles)
    assert sentence(["control"] * 10) == "a control that others are compared with"


def test_comparisons_with_different_references_are_corrected_together() -> None:
    (a, b), (c, d), (e, f) = simulated(0, 1.8), simulated(1), simulated(2)
    alone = {"a": compared(a, b), "c": compared(c, d), "once": compared(e[:1], f)}
    found = together(alone, len(signs()))
    assert np.concatenate([found["a"].p_holm, found["c"].p_holm]) == pytest.approx(
        st.holm(np.concatenate([alone["a"].p, alone["c"].p]))
    )
    assert (found["a"].p_own == alone["a"].p_own).all()
    assert found["once"].obstacles == ("one training only",) * 10
    assert found["a"].macro_p_holm == pytest.approx(min(1, 2 * alone["a"].macro_p))
    assert together({}, 99) == {}


def test_drivers_of_whom_one_side_lacks_images_are_left_out() -> None:
    a, b = simulated(0)
    less = b.copy()
    less[:, 3, 7, 7] -= 1
    found, without = compared(a, less), compared(a, np.where(np.arange(26)[:, None, None] == 3, np.nan, b))
    assert found.drivers.tolist() == [25] * 10
    assert found.recall.delta == pytest.approx(without.recall.delta)
    assert found.macro_drivers == 25
