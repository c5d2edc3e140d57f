"""Power against simulation, and what more drivers, frames and trainings can do."""

import numpy as np
import pytest
from scipy import special
from scipy.stats import qmc

from distracted_pipeline.evaluation import inference as inf
from distracted_pipeline.evaluation import planning as pl
from distracted_pipeline.testability import needed_drivers
from distracted_pipeline_tests.evaluation.two_noises import ROWS, Noise, simulate, swap_p


def sources(noise: Noise, drivers: int = 26, frames: int = 86, replicates: int = 3, **of) -> pl.Sources:
    """What is true of pairs that `simulate` draws around a recall of one half."""
    one = np.ones(1)
    binomial = (0.25 - 0.1**2 - 2 * noise.driver**2 - noise.training**2) / frames
    residual = one * np.sqrt(noise.residual**2 + binomial)
    values = {
        "driver": one * noise.driver * np.sqrt(2),
        "training": one * noise.training,
        "reference_training": one * noise.training,
        "residual": residual,
        "reference_residual": residual,
        "frame_share": one * 2 * binomial / (2 * noise.driver**2 + 2 * residual**2),
        "drivers": one * drivers,
        "frames": one * frames,
        "replicates": one * replicates,
        "folds": one * 5,
        "unevenness": one,
    }
    return pl.Sources(**{**values, **of})


@pytest.mark.parametrize("noise", ROWS)
@pytest.mark.parametrize(("drivers", "replicates", "delta", "questions"), [(26, 2, 0.1, 10), (50, 3, 0.05, 1)])
def test_power_is_what_simulated_studies_find(noise, drivers, replicates, delta, questions):
    folds = np.arange(drivers) % 5
    a, b = simulate(np.random.default_rng(0), noise, (1500,), replicates, folds=folds, effect=delta, recall=0.5)
    p = inf.p_value(inf.contrast(a, b, folds), swap_p(a, b, 4999))
    expected = pl.power(sources(noise, drivers, replicates=replicates), delta, questions)
    assert (p < 0.05 / questions).mean() == pytest.approx(expected[0], abs=0.05)


def test_what_is_measured_is_what_was_simulated():
    noise = Noise(0.08, 0.06, 0.05)
    a, b = simulate(np.random.default_rng(0), noise, (3000,), 3, recall=0.5)
    found, true = pl.measure(a, b, np.arange(26) % 5), sources(noise)
    for name in ("driver", "training", "reference_training", "residual", "reference_residual"):
        assert np.sqrt((getattr(found, name) ** 2).mean()) == pytest.approx(getattr(true, name)[0], rel=0.07)
    assert found.frame_share.mean() == pytest.approx(true.frame_share[0], rel=0.3)
    assert [set(x) for x in (found.drivers, found.frames, found.replicates, found.folds)] == [{26}, {86}, {3}, {5}]
    assert found.unevenness == pytest.approx(1)


@pytest.mark.parametrize("delta", [0.02, 0.05, 0.1])
def test_the_points_stand_for_many_draws(delta: float, monkeypatch: pytest.MonkeyPatch) -> None:
    few = [pl.power(sources(noise), delta, 10)[0] for noise in ROWS]
    many = qmc.Sobol(5, seed=1).random(2**13).T
    monkeypatch.setattr(pl, "_quantiles", lambda: many)
    monkeypatch.setattr(pl, "_chi_square", pl._chi_square.__wrapped__)  # it has kept those of the few
    assert few == pytest.approx([pl.power(sources(noise), delta, 10)[0] for noise in ROWS], abs=0.003)


def test_critical_values_are_those_of_t() -> None:
    df = np.geomspace(0.2, 1e6, 1000)
    for level in (0.05, 0.05 / 200):
        assert pl._critical(df, level) == pytest.approx(special.stdtrit(df, 1 - level / 2), rel=2e-4)


def test_more_of_anything_never_sees_less():
    base = sources(ROWS[1])
    for knob, values in (("drivers", (15, 30, 90)), ("frames", (20, 90, 900)), ("replicates", (2, 4, 30))):
        found = [pl.power(base, 0.05, 10, **{knob: value})[0] for value in values]
        assert found == sorted(found)
        assert found[0] < found[-1]


def test_trainings_do_not_replace_drivers():
    noisy = Noise(0.15, 0.03, 0.03)
    assert pl.needed(sources(noisy), "replicates", 0.05, 10) == [None]
    (drivers,) = pl.needed(sources(noisy), "drivers", 0.05, 10)
    assert pl.power(sources(noisy), 0.05, 10, drivers=drivers) >= 0.8
    assert pl.power(sources(noisy), 0.05, 10, drivers=drivers - 1) < 0.8


def test_drivers_do_not_replace_trainings():
    lucky = Noise(0.02, 0.1, 0.02)
    assert pl.needed(sources(lucky), "drivers", 0.05, 10) == [None]
    assert pl.needed(sources(lucky), "replicates", 0.05, 10) != [None]


def test_more_frames_help_only_with_the_luck_of_frames():
    assert pl.needed(sources(ROWS[0], frames=4), "frames", 0.1) != [None]
    same = sources(ROWS[0], frame_share=np.zeros(1))
    assert pl.power(same, 0.02, frames=10_000) == pl.power(same, 0.02)


@pytest.mark.parametrize("questions", [1, 10, 80])
def test_nothing_is_seen_with_fewer_drivers_than_the_questions_take(questions):
    fewest = needed_drivers(questions)
    assert pl.power(sources(ROWS[0], fewest - 1), 0.9, questions) == 0
    assert pl.power(sources(ROWS[0], fewest), 0.9, questions) > 0.5


def test_one_training_sees_nothing():
    assert pl.power(sources(ROWS[0], replicates=1), 0.5) == 0
    a, b = simulate(np.random.default_rng(0), ROWS[1], (10,), 1)
    (row, *_) = pl.plan(pl.measure(a, b, np.arange(26) % 5), 10)
    assert np.isnan([row.driver, row.training, row.power]).all()
    assert (row.drivers, row.frames, row.replicates, row.smallest) == (None,) * 4


def test_a_plan_has_a_row_for_each_class():
    a, b = simulate(np.random.default_rng(0), ROWS[1], (10,), 3)
    measured = pl.measure(a, b, np.arange(26) % 5)
    rows = pl.plan(measured, questions=10)
    assert len(rows) == 10
    for index, row in enumerate(rows):
        one = measured.of(index)
        assert row.power == pytest.approx(pl.power(one, 0.05, 10)[0])
        assert row.smallest is not None
        assert pl.power(one, row.smallest, 10) >= 0.8 > pl.power(one, row.smallest - 0.001, 10)
        assert row.drivers is None or row.drivers > 26 or row.power >= 0.8
