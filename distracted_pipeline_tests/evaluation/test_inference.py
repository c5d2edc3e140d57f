"""Differences of techniques over drivers and trainings: worked by hand, and error rates under both noises."""

import numpy as np
import pytest
from scipy import stats

from distracted_pipeline.evaluation import inference as inf
from distracted_pipeline.evaluation import statistics as st
from distracted_pipeline_tests.evaluation.null_reports import decided_again
from distracted_pipeline_tests.evaluation.two_noises import FOLD_OF, ROWS, Noise, error_rates, simulate

HARD = Noise(0.05, 0.08, 0.05)


def rates(hits: list, n: list) -> inf.Rates:
    return inf.Rates(np.array(hits, float), np.array(n))


def pair(seed: int = 0, replicates: int = 3, shape: tuple[int, ...] = (10,), **of) -> list[inf.Rates]:
    return simulate(np.random.default_rng(seed), HARD, shape, replicates, **of)


def root(x: np.ndarray) -> float:
    return float(np.sqrt((x**2).mean()))


def at(found: inf.Contrast, index: int) -> inf.Contrast:
    return inf.Contrast(**{name: value[index] for name, value in vars(found).items()})


def same(one: inf.Contrast, other: inf.Contrast) -> bool:
    return all(
        value == pytest.approx(getattr(other, name), nan_ok=True, abs=1e-12) for name, value in vars(one).items()
    )


@pytest.mark.parametrize("row", range(4))
def test_false_positives_stay_near_five_in_a_hundred_under_both_noises(row):
    for replicates in (2, 3):
        found = error_rates(ROWS[row], replicates, 3000, seed=row)
        assert 0.02 <= found.both <= 0.07
        assert found.coverage >= 0.92


def test_swapping_drivers_alone_is_wrong_once_trainings_differ():
    # What the test was before. Averaging three trainings does not mend it.
    assert error_rates(ROWS[1], 1, 3000, seed=1).swap == pytest.approx(0.19, abs=0.03)
    assert error_rates(ROWS[1], 3, 3000, seed=1).swap > 0.1


def test_a_report_of_eight_variants_that_were_trained_by_luck_decides_nothing():
    found = decided_again(120, ROWS[1])
    assert found.together <= 0.06
    assert found.means <= 0.09  # .05, and two standard errors of 120 reports more
    assert found.drivers_alone > 0.4


def test_error_rates_hold_where_drivers_have_few_images_or_none():
    rng = np.random.default_rng(5)
    n = rng.integers(10, 160, (3000, 26)) * (rng.random((3000, 26)) > 0.25)
    for row in ROWS:
        found = error_rates(row, 2, 3000, seed=6, n=n)
        assert found.both <= 0.06
        assert found.coverage >= 0.92


def test_a_real_effect_is_found():
    a, b = pair(shape=(300,), effect=0.15)
    found = inf.contrast(a, b, FOLD_OF)
    assert (found.p_training < 0.05).mean() > 0.9
    truth = found.delta.mean()  # less than .15: nobody is right beyond always
    assert ((found.low < truth) & (found.high > truth)).mean() > 0.92


def test_the_variances_worked_by_hand():
    # Two folds of two drivers with ten images each; two trainings of a, and a baseline that never varies.
    a = rates([[9, 7, 6, 6], [7, 7, 4, 8]], [10] * 4)
    b = rates([[5] * 4] * 2, [10] * 4)
    found = inf.contrast(a, b, np.array([0, 0, 1, 1]))
    assert found.delta == pytest.approx(54 / 80 - 20 / 40)
    # D is .3, .2 in one fold and .0, .2 in the other; w = 1/4.
    assert found.driver == pytest.approx(2 / 16 * (2 * 0.05**2 + 2 * 0.1**2))
    # The first fold's part is 16/40 and 14/40, the second's 12/40 twice.
    assert found.training == pytest.approx((2 / 40) ** 2 / 2 / 2)
    # Residuals within training and fold: +-.05 in the first, +-.1 in the second.
    assert found.double == pytest.approx(1 / 16 * 2 * 4 * (0.05**2 + 0.1**2) / 2)
    assert found.variance == pytest.approx(found.driver)  # no more spread of trainings than single drivers' luck makes
    assert found.df == pytest.approx(2)
    t = found.delta / np.sqrt(found.variance)
    assert found.p_training == pytest.approx(2 * stats.t.sf(t, 2))
    assert (found.low, found.high) == pytest.approx(
        (max(-1, found.delta - 4.302653 * np.sqrt(found.variance)), found.delta + 4.302653 * np.sqrt(found.variance))
    )


def test_the_estimated_variance_is_the_true_one():
    for noise in (HARD, ROWS[3]):
        a, b = simulate(np.random.default_rng(2), noise, (3000,), 2)
        found = inf.contrast(a, b, FOLD_OF)
        assert found.variance.mean() == pytest.approx(found.delta.var(), rel=0.08)


def test_one_training_never_gives_a_verdict():
    a, b = pair()
    alone = inf.Rates(b.hits[:1], b.n)
    found = inf.contrast(a, alone, FOLD_OF)
    assert not found.replicated.any()
    assert np.isnan(found.p_training).all()
    assert np.isnan(found.low).all()
    assert np.isnan(inf.p_value(found, np.full(10, 1e-4))).all()
    assert np.isfinite(found.delta).all()  # what was seen can still be said
    assert np.isfinite(found.driver).all()
    assert np.isnan(inf.recall_interval(alone, FOLD_OF)).all()
    macro = inf.macro_contrast(a, alone, FOLD_OF)
    assert not macro.replicated
    assert np.isnan(macro.p_training)


def test_one_fold_trained_once_is_enough_to_say_nothing():
    a, b = pair()
    a.hits[1:, :, FOLD_OF == 2] = np.nan
    assert not inf.contrast(a, b, FOLD_OF).replicated.any()
    a.hits[1, :, FOLD_OF == 2] = b.hits[1, :, FOLD_OF == 2]
    assert inf.contrast(a, b, FOLD_OF).replicated.all()


def test_a_technique_without_luck_has_no_variance_of_trainings():
    a, b = pair(shape=())
    a = inf.Rates(np.repeat(a.hits[:1], 2, 0), a.n)
    found, other = inf.contrast(a, b, FOLD_OF), inf.contrast(b, b, FOLD_OF)
    assert found.replicated
    assert found.training == pytest.approx(other.training / 2)
    both = inf.contrast(a, inf.Rates(a.hits, a.n), FOLD_OF)
    assert (both.delta, both.variance, both.p_training) == (0, 0, 1)
    assert np.isnan(both.low)


def test_where_nothing_varies_a_difference_is_not_decided():
    n = [10] * 8
    found = inf.contrast(rates([[9] * 8] * 2, n), rates([[3] * 8] * 2, n), np.arange(8) % 4)
    assert found.delta == pytest.approx(0.6)
    assert found.p_training == 1
    assert np.isnan([found.low, found.high]).all()


def test_trainings_that_are_missing_in_some_folds_are_left_out_there():
    a, b = pair(replicates=4)
    ragged = inf.Rates(a.hits.copy(), a.n)
    ragged.hits[2:, :, FOLD_OF == 1] = np.nan
    ragged.hits[3, :, FOLD_OF == 4] = np.nan
    found, whole = inf.contrast(ragged, b, FOLD_OF), inf.contrast(a, b, FOLD_OF)
    assert found.replicated.all()
    by_driver = np.nanmean(ragged.hits, 0)
    assert found.delta == pytest.approx((by_driver - b.hits.mean(0)).sum(-1) / b.n.sum(-1))
    assert (found.delta != whole.delta).all()


def test_a_training_that_predicted_half_a_fold_does_not_count_there():
    a, b = pair()
    half = inf.Rates(a.hits.copy(), a.n)
    half.hits[2, :, np.flatnonzero(FOLD_OF == 0)[0]] = np.nan
    less = inf.Rates(a.hits.copy(), a.n)
    less.hits[2, :, FOLD_OF == 0] = np.nan
    assert same(inf.contrast(half, b, FOLD_OF), inf.contrast(less, b, FOLD_OF))


def test_a_fold_without_the_class_does_not_count_for_it():
    a, b = pair()
    n = a.n.copy()
    n[3, FOLD_OF == 0] = 0
    without = [inf.Rates(np.where(n > 0, x.hits, 0), n) for x in (a, b)]
    found = inf.contrast(*without, FOLD_OF)
    alone = inf.contrast(
        *(inf.Rates(x.hits[..., FOLD_OF > 0], x.n[..., FOLD_OF > 0]) for x in (a, b)), FOLD_OF[FOLD_OF > 0]
    )
    assert same(at(found, 3), at(alone, 3))
    assert same(at(found, 2), at(inf.contrast(a, b, FOLD_OF), 2))


def test_a_class_that_nobody_has_is_undefined_and_left_out_of_the_mean():
    a, b = pair()
    n = a.n.copy()
    n[7] = 0
    a, b = (inf.Rates(np.where(n > 0, x.hits, 0), n) for x in (a, b))
    found = inf.contrast(a, b, FOLD_OF)
    assert np.isnan(found.delta[7])
    assert np.isnan(found.p_training[7])
    assert not found.replicated[7]
    assert inf.macro_contrast(a, b, FOLD_OF).delta == pytest.approx(np.nanmean(found.delta))


def test_drivers_of_no_fold_do_not_count():
    a, b = pair()
    folds = np.where(np.arange(26) < 6, -1, FOLD_OF)
    few = [inf.Rates(x.hits[..., 6:], x.n[..., 6:]) for x in (a, b)]
    assert same(at(inf.contrast(a, b, folds), 0), at(inf.contrast(*few, FOLD_OF[6:]), 0))


def test_the_driver_of_a_fold_of_one_is_taken_to_vary_as_the_others_do():
    a, b = pair(shape=())
    folds = np.where(np.arange(26) == 25, 5, FOLD_OF)
    found = inf.contrast(a, b, folds)
    others = inf.contrast(*(inf.Rates(x.hits[..., :25], x.n[..., :25]) for x in (a, b)), FOLD_OF[:25])
    assert found.driver / (26 / 26**2) == pytest.approx(others.driver / (25 / 25**2))
    single = inf.contrast(a, b, np.arange(26))
    assert single.replicated
    assert np.isnan(single.p_training)


def test_a_variant_whose_images_differ_is_refused():
    a, b = pair()
    with pytest.raises(ValueError, match="different numbers of images"):
        inf.contrast(a, inf.Rates(b.hits, b.n + 1), FOLD_OF)


def test_the_mean_over_one_class_is_that_class_with_room_for_training_sets():
    a, b = pair(shape=(1,))
    macro, one = inf.macro_contrast(a, b, FOLD_OF), at(inf.contrast(a, b, FOLD_OF), 0)
    for name in ("delta", "training", "double", "replicated"):
        assert getattr(macro, name) == pytest.approx(getattr(one, name))
    assert macro.driver == pytest.approx(inf.TRAINING_SETS * one.driver)


def test_the_mean_over_classes_is_wrong_at_most_five_times_in_a_hundred():
    # Less here, where no driver is trained on; benchmarks.bench_training_sets trains.
    a, b = simulate(np.random.default_rng(0), ROWS[1], (1000, 10), 2)
    found = inf.macro_contrast(a, b, FOLD_OF)
    assert (found.p_training < 0.05).mean() <= 0.05


def test_variances_are_told_apart():
    noise = Noise(0.1, 0.06, 0.04)
    one = simulate(np.random.default_rng(4), noise, (2000,), 3, variants=1, n=10_000)[0]
    one.hits[2, :, FOLD_OF == 3] = np.nan
    found = inf.components(one, FOLD_OF)
    # Levels of drivers add to what a variant does with each, and nobody is right beyond always.
    assert root(found.driver) == pytest.approx(np.hypot(0.1, 0.1), rel=0.15)
    assert root(found.training) == pytest.approx(0.06, rel=0.15)
    assert root(found.residual) == pytest.approx(0.04, rel=0.15)
    assert root(found.training_alone) == pytest.approx(np.sqrt(0.06**2 / 5 + 0.04**2 / 26), rel=0.15)
    assert found.driver_df == pytest.approx(21)
    assert found.residual_df == pytest.approx(42 - 4)  # a fold of five drivers was trained once less


def test_the_interval_of_a_recall_covers_it():
    one = simulate(np.random.default_rng(4), HARD, (2000,), 2, variants=1)[0]
    low, high = inf.recall_interval(one, FOLD_OF).T
    chance = np.random.default_rng(0).normal(0.8, np.sqrt(0.1**2 + 0.05**2 + 0.08**2 + 0.05**2), 10**6)
    truth = chance.clip(0, 1).mean()
    assert ((low <= truth) & (truth <= high)).mean() >= 0.92


def test_a_perfect_recall_counts_each_driver_once():
    n = np.full(8, 100)
    interval = inf.recall_interval(inf.Rates(np.stack([n, n]).astype(float), n), np.arange(8) % 4)
    assert interval == pytest.approx([0.025 ** (1 / 8), 1])


def confusions(seed: int, classes: int = 3, replicates: int = 2, noise: float = 0.4) -> list[np.ndarray]:
    """Two variants' counts [replicate, driver, true, predicted]; luck of drivers and of trainings, in logits."""
    rng = np.random.default_rng(seed)
    n = rng.integers(20, 60, (26, classes))
    level = 1.5 * np.eye(classes) + rng.normal(0, 0.5, (26, classes, classes))
    found = []
    for _ in range(2):
        chance = level + rng.normal(0, 0.3, level.shape)
        chance = chance + rng.normal(0, noise, (replicates, 5, classes, classes))[:, FOLD_OF]
        chance = np.exp(chance + rng.normal(0, 0.2, (replicates, *level.shape)))
        found.append(rng.multinomial(n, chance / chance.sum(-1, keepdims=True)).astype(float))
    return found


def test_the_jackknife_of_recall_is_the_contrast():
    a, b = confusions(0)
    found = inf.score_contrast(a, b, FOLD_OF, st.recall)
    linear = inf.contrast(*(inf.Rates(np.moveaxis(st.hits(x), -1, 1), st.support(x[0]).T) for x in (a, b)), FOLD_OF)
    assert found.delta == pytest.approx(linear.delta)
    assert found.driver == pytest.approx(linear.driver, rel=0.1)
    assert found.training == pytest.approx(linear.training, rel=0.02)
    assert found.double == pytest.approx(linear.double, rel=0.15)
    assert found.replicated.all()


@pytest.mark.parametrize("score", [st.precision, st.f1])
def test_intervals_of_precision_and_f1_cover_the_truth_under_both_noises(score):
    found = [inf.score_contrast(*confusions(seed), FOLD_OF, score) for seed in range(200)]
    covered = np.array([(x.low <= 0) & (x.high >= 0) for x in found])
    assert covered.mean() >= 0.92
    variance, true = np.mean([x.variance for x in found]), np.var([x.delta for x in found])
    assert 0.8 <= variance / true <= 1.25


def test_a_score_that_one_training_alone_defines_has_no_interval():
    a, b = confusions(0)
    b[:, :, :2, 2] = 0
    b[:, :, 2, 2] = 0
    b[0, 0, 2, 2] = 3  # said once, by one training
    found = inf.score_contrast(a, b, FOLD_OF, st.precision)
    assert np.isfinite(found.delta[2])
    assert np.isnan(found.low[2])
    assert np.isfinite(found.low[:2]).all()


def test_a_score_of_ragged_trainings_and_absent_drivers():
    a, b = confusions(0, replicates=3)
    a[2, FOLD_OF == 1] = np.nan
    a[:, 5] = np.nan
    b[:, 7] = 0
    found = inf.score_contrast(a, b, FOLD_OF, st.f1)
    counted = np.setdiff1d(np.arange(26), [5, 7])
    expected = st.f1(np.nanmean(a[:, counted], 0).sum(0)) - st.f1(b[:, counted].mean(0).sum(0))
    assert found.delta == pytest.approx(expected)
    assert np.isfinite(found.low).all()
    once = inf.score_contrast(a[:1], b, FOLD_OF, st.f1)
    assert not once.replicated.any()
    assert np.isnan(once.p_training).all()


def test_luck_that_a_training_has_with_both_looks_at_an_image_is_no_noise_of_the_change() -> None:
    rng = np.random.default_rng(0)
    folds, n = np.repeat(np.arange(5), 3), np.full((1, 15), 10)
    luck = rng.normal(0, 2, (3, 1, 5))[..., folds]  # of a training, in every driver of its fold
    before = 5 + luck + rng.normal(0, 0.1, (3, 1, 15))
    after = before - 1 + rng.normal(0, 0.1, (3, 1, 15))
    paired = inf.paired_contrast(inf.Rates(after - before, n), folds)
    apart = inf.contrast(inf.Rates(after, n), inf.Rates(before, n), folds)
    np.testing.assert_allclose(paired.delta, apart.delta)
    assert paired.delta == pytest.approx([-0.1], abs=0.01)
    assert paired.low < -0.1 < paired.high
    assert paired.variance < apart.variance / 100
    assert np.isnan(inf.paired_contrast(inf.Rates((after - before)[:1], n), folds).p_training).all()


def test_a_change_that_all_drivers_and_trainings_agree_on_is_left_to_the_swap_test() -> None:
    folds, n = np.repeat(np.arange(5), 3), np.full((2, 15), 10)
    change = np.stack([np.full((2, 15), -10.0), np.zeros((2, 15))], axis=1)
    assert inf.paired_contrast(inf.Rates(change, n), folds).p_training.tolist() == [0.0, 1.0]


@pytest.mark.parametrize("row", range(4))
def test_a_paired_contrast_decides_nothing_more_often_than_it_says(row: int) -> None:
    noise, rng, folds = ROWS[row], np.random.default_rng(row), np.arange(26) % 5
    shape, frames, replicates, signs = (600, 26), 2, 3, st.swap_signs([f"d{k}" for k in range(26)])
    change = rng.normal(0, noise.driver, shape) + rng.normal(0, noise.training, (replicates, 600, 5))[..., folds]
    change = change + rng.normal(0, noise.residual, (replicates, *shape))
    hits = change * frames + rng.normal(0, 0.05, (replicates, *shape, frames)).sum(-1)
    n, none = np.full(shape, float(frames)), np.zeros(shape)
    p_swap, _ = st.swap_test(hits.mean(0), n, none, n, signs)
    p = inf.p_value(inf.paired_contrast(inf.Rates(hits, n), folds), p_swap)
    assert 0.02 < (p < 0.05).mean() < 0.07
