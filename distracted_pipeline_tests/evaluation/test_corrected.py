"""Corrected intervals agree with the verdicts, and the fewer questions are open the shorter they are."""

from dataclasses import replace

import pytest

from distracted_pipeline.evaluation.comparison import IMPROVED, NOT_TESTABLE, UNDETERMINED, WORSENED
from distracted_pipeline.evaluation.corrected import corrected_interval
from distracted_pipeline.evaluation.table_schemas import ClassScore

SCORE = ClassScore(
    scope="oof", variant="v", class_id=0, n=100, verdict=UNDETERMINED, delta_recall=0.1, delta_sd_drivers=0.03,
    delta_sd_training=0.05, delta_sd_double=0.01, df=12.0,
)  # fmt: skip


def test_with_one_question_it_is_the_plain_t_interval() -> None:
    found = corrected_interval(SCORE, 1)
    assert found is not None
    half = 2.178813 * (0.03**2 + 0.05**2 - 0.01**2) ** 0.5
    assert found == pytest.approx((0.1 - half, 0.1 + half), abs=1e-5)


def test_more_open_questions_make_it_longer() -> None:
    lengths = [high - low for low, high in (corrected_interval(SCORE, n) or (0, 0) for n in (1, 10, 80))]
    assert lengths == sorted(lengths)
    assert lengths[0] < lengths[1]


@pytest.mark.parametrize(
    ("verdict", "delta"), [(IMPROVED, 0.12), (WORSENED, -0.12), (UNDETERMINED, 0.3), (UNDETERMINED, -0.3)]
)
def test_it_crosses_zero_exactly_where_nothing_is_decided(verdict: str, delta: float) -> None:
    found = corrected_interval(replace(SCORE, verdict=verdict, delta_recall=delta), 80)
    assert found is not None
    low, high = found
    assert low <= delta <= high
    if verdict == UNDETERMINED:
        assert low <= 0 <= high, "also where the t interval alone would leave it out: the swap test has its say"
    else:
        assert (low >= 0) if delta > 0 else (high <= 0)


@pytest.mark.parametrize("change", [{"verdict": NOT_TESTABLE}, {"df": None}, {"delta_sd_training": None}])
def test_what_is_not_tested_has_none(change: dict[str, object]) -> None:
    assert corrected_interval(replace(SCORE, **change), 10) is None  # type: ignore[arg-type]


def test_where_nothing_varies_there_is_none() -> None:
    still = replace(SCORE, delta_sd_drivers=0.0, delta_sd_training=0.0, delta_sd_double=0.0)
    assert corrected_interval(still, 10) is None
