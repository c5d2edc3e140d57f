"""Numbers against hand-computed ones, and error rates against simulated drivers."""

import numpy as np
import pytest

from distracted_pipeline.evaluation import statistics as st
from distracted_pipeline.testability import needed_drivers
from distracted_pipeline_tests.evaluation.null_reports import decided

DRIVERS = tuple(f"p{i:03d}" for i in range(26))


def matrix(*cells: tuple[int, int, int]) -> np.ndarray:
    """Counts [true, predicted] from (true, predicted, n)."""
    counts = np.zeros((10, 10), np.int64)
    for true, predicted, n in cells:
        counts[true, predicted] = n
    return counts


def test_recall_precision_and_f1_of_a_table_worked_by_hand():
    # c0: 8 of 10 right, 2 called c1. c1: 6 of 6 right. c2: never right, called c0.
    counts = matrix((0, 0, 8), (0, 1, 2), (1, 1, 6), (2, 0, 2))
    assert st.recall(counts)[:3] == pytest.approx([0.8, 1.0, 0.0])
    assert st.precision(counts)[:2] == pytest.approx([0.8, 0.75])
    assert st.f1(counts)[:3] == pytest.approx([0.8, 12 / 14, 0.0])
    assert np.isnan(st.precision(counts)[2])  # c2 was never predicted
    assert st.mean_present(st.recall(counts)) == pytest.approx(0.6)  # over the three classes that are there


def test_a_class_without_images_is_undefined_even_if_it_is_predicted():
    counts = matrix((0, 5, 3))
    assert [np.isnan(f(counts)[5]) for f in (st.recall, st.precision, st.f1)] == [True] * 3


def test_log_loss_rescales_and_clips_as_kaggle_does():
    rows = np.zeros((2, 10))
    rows[0, :2] = 1, 3  # rescaled: .25 and .75
    rows[1, 4] = 1  # the true class has 0: clipped to 1e-15
    assert st.log_loss(rows, np.array([1, 2])) == pytest.approx((-np.log(0.75) - np.log(1e-15)) / 2)


def test_calibration_error_is_the_gap_between_confidence_and_accuracy():
    rows = np.full((10, 10), 0.2 / 9)
    rows[:, 0] = 0.8
    true = np.array([0] * 5 + [1] * 5)
    n, confidence, accuracy = st.reliability(rows, true)
    assert n.tolist() == [0] * 8 + [10, 0]
    assert (confidence[8], accuracy[8]) == pytest.approx((0.8, 0.5))
    assert np.isnan(accuracy[0])
    assert st.calibration_error(n, confidence, accuracy) == pytest.approx(0.3)


def test_a_mean_over_drivers_worked_by_hand():
    mean, interval = st.mean_interval(np.array([[1.0, 3.0, np.nan], [2.0, np.nan, np.nan]]))
    assert mean == pytest.approx([2, 2])
    assert interval[0] == pytest.approx([2 - 12.7062, 2 + 12.7062], abs=1e-3)  # t with one degree, error 1
    assert np.isnan(interval[1]).all()


@pytest.mark.parametrize("same_images", [True, False])
def test_the_swap_test_agrees_with_every_swap_enumerated(same_images: bool):
    rng = np.random.default_rng(3)
    n = rng.integers(3, 9, (2, 8))
    m = n if same_images else rng.integers(3, 9, (2, 8))
    a, b = rng.integers(0, n + 1), rng.integers(0, m + 1)
    swapped = np.array([[i >> bit & 1 for bit in range(8)] for i in range(256)], bool)[:, None]

    def recall(one: np.ndarray, of_one: np.ndarray, other: np.ndarray, of_other: np.ndarray) -> np.ndarray:
        return np.where(swapped, other, one).sum(-1) / np.where(swapped, of_other, of_one).sum(-1)

    delta = recall(a, n, b, m) - recall(b, m, a, n)
    exact = (np.abs(delta) >= np.abs(a.sum(1) / n.sum(1) - b.sum(1) / m.sum(1)) - 1e-9).mean(0)
    p, _ = st.swap_test(a, n, b, m, st.swap_signs(DRIVERS[:8]))
    assert p == pytest.approx(exact, abs=0.01)


def test_the_smallest_p_is_one_in_twenty_thousand():
    n = np.full((1, 26), 4)
    p, mean = st.swap_test(n, n, 0 * n, n, st.swap_signs(DRIVERS))
    assert p[0] == mean == 1 / 20_000


def test_under_six_drivers_nothing_is_testable():
    n = np.full((1, 6), 4)
    n[0, 5] = 0
    p, mean = st.swap_test(n, n, 0 * n, n, st.swap_signs(DRIVERS[:6]))
    assert np.isnan(p[0])
    assert np.isnan(mean)


def test_the_order_of_drivers_and_classes_changes_no_p():
    rng = np.random.default_rng(0)
    n = rng.integers(1, 30, (10, 26))
    a, b = rng.integers(0, n + 1), rng.integers(0, n + 1)
    p, mean = st.swap_test(a, n, b, n, st.swap_signs(DRIVERS, 999))
    drivers, classes = rng.permutation(26), rng.permutation(10)
    moved = [x[classes][:, drivers] for x in (a, n, b, n)]
    p_moved, mean_moved = st.swap_test(*moved, st.swap_signs([DRIVERS[i] for i in drivers], 999))
    assert (p_moved == p[classes]).all()
    assert mean_moved == pytest.approx(mean)


def test_holm_is_that_of_statsmodels():
    from statsmodels.stats.multitest import multipletests

    for p in np.random.default_rng(0).choice([5e-5, 0.004, 0.01, 0.2, 0.9], (2, 10)):
        assert st.holm(p) == pytest.approx(multipletests(p, method="holm")[1])
    assert np.isnan(st.holm(np.full(10, np.nan))).all()


def test_holm_worked_by_hand_leaves_untested_classes_out():
    # Three tests: .01 * 3, .02 * 2, and .04 * 1 raised to its predecessor's.
    adjusted = st.holm(np.array([0.04, np.nan, 0.01, 0.02]))
    assert adjusted[[0, 2, 3]] == pytest.approx([0.04, 0.03, 0.04])
    assert np.isnan(adjusted[1])


def test_how_many_drivers_questions_take_is_computed():
    assert [needed_drivers(questions) for questions in (1, 10, 20, 80)] == [6, 9, 10, 12]


def test_what_is_not_testable_is_not_asked():
    # Eight drivers cannot decide one of ten classes; beside them, two questions with enough drivers stay.
    assert not st.askable(np.full(10, 8)).any()
    assert st.askable(np.full(10, 9)).all()
    assert st.askable(np.array([8] * 8 + [12, 26])).tolist() == [False] * 8 + [True] * 2
    assert not st.askable(np.zeros(10, int)).any()
    assert not st.askable(np.full(80, 12)).any(), "random swaps of twelve drivers seldom reach .05 / 80"
    assert st.askable(np.full(80, 12), len(st.swap_signs(DRIVERS[:12]))).all(), "all swaps of twelve always do"
    assert not st.askable(np.full(10, 26), draws=99).any(), "p of a hundred swaps is never below .01"
    assert st.askable(np.full(1000, 26), st.draws_for(1000)).all()


def test_nine_drivers_that_all_agree_decide_one_of_ten_classes_and_eight_do_not():
    for drivers, smallest in ((9, 10 * 2 / 2**9), (8, np.nan)):
        n = np.full((10, drivers), 4)
        p, _ = st.swap_test(n, n, 0 * n, n, st.swap_signs(DRIVERS[:drivers]))
        adjusted = st.holm_of_askable(p, np.full(10, drivers))
        assert adjusted == pytest.approx([smallest] * 10, abs=0.008, nan_ok=True)


def simulate(rng: np.random.Generator, runs: int, drivers: int = 26, effect: float = 0.0) -> tuple[np.ndarray, ...]:
    """Two variants on near-duplicate images: each driver has a level, and each variant its own luck with a driver."""
    n = rng.integers(20, 60, (runs, drivers))
    level = rng.normal(0.8, 1.2, (runs, drivers))

    def right(shift: float) -> np.ndarray:
        chance = 1 / (1 + np.exp(-(level + shift + rng.normal(0, 0.9, level.shape))))
        return rng.binomial(n, chance)

    return right(effect), n, right(0), n


def test_the_swap_test_is_wrong_about_five_times_in_a_hundred():
    counts = simulate(np.random.default_rng(1), 2000)
    p, _ = st.swap_test(*counts, st.swap_signs(DRIVERS, 1999))
    assert 0.02 <= (p <= 0.05).mean() <= 0.065


def test_the_swap_test_finds_an_effect_on_every_driver():
    p, _ = st.swap_test(*simulate(np.random.default_rng(1), 200, effect=1.2), st.swap_signs(DRIVERS, 999))
    assert (p <= 0.05).mean() > 0.9


def test_rows_may_count_in_part():
    """Two trainings of one image count as one image."""
    rows, true = np.eye(10)[[3, 3, 4]] * 0.8 + 0.02, np.array([3, 3, 3])
    weight = np.array([0.5, 0.5, 1])
    n, confidence, accuracy = st.reliability(rows, true, weight)
    assert (n.sum(), accuracy[8]) == (2, pytest.approx(0.5))
    assert confidence[8] == pytest.approx(0.82)
    assert st.log_loss(rows, true, weight) == pytest.approx((-np.log(0.82) - np.log(0.02)) / 2)


def test_a_report_of_eight_variants_that_do_nothing_decides_nothing():
    found = decided(250)
    assert found.together <= 0.06
    assert found.means <= 0.09  # .05, and two standard errors of 250 reports more
    assert found.each_alone >= 0.18  # correcting each variant alone, as reports did before, was wrong this often


def test_ten_variants_are_tested_in_every_class_at_once():
    rng = np.random.default_rng(0)
    n = rng.integers(50, 120, (10, 10, 26))
    a, b = rng.binomial(n, 0.8), rng.binomial(n, 0.7)
    p, _ = st.swap_test(a, n, b, n, st.swap_signs(DRIVERS))  # what it costs: benchmarks.bench_statistics
    assert p.shape == (10, 10)
    assert ((p > 0) & (p < 0.05)).all()
