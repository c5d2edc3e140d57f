"""Any two variants side by side: what the page holds is what the command line says."""

import math
from typing import Any

import numpy as np
import pytest

from distracted_pipeline.evaluation.comparison import difference
from distracted_pipeline.evaluation.comparison_tables import classes, read_compared, recipe_line, verdict_lines
from distracted_pipeline.evaluation.statistics import swap_signs
from distracted_pipeline.reports import pairs as module
from distracted_pipeline.reports.build import ReportResult
from distracted_pipeline.reports.pairs import pairs
from distracted_pipeline.reports.read_report_data import read_report_data
from distracted_pipeline.settings import Settings
from distracted_pipeline_tests.reports.pages import unpacked


@pytest.fixture(scope="module")
def data(built: ReportResult) -> dict[str, Any]:
    return unpacked(built.path.parent / "pairs.html")


def test_every_pair_has_the_numbers_of_the_command_line(data: dict[str, Any], evaluated: Settings) -> None:
    names = [name for name, _ in data["variants"]]
    assert len(data["pairs"]) == len(names) * (len(names) - 1) / 2
    for places, pair in data["pairs"].items():
        a, b = (names[int(place)] for place in places.split())
        compared = read_compared(evaluated, a, b)
        table = classes(compared)
        for column, told in (("recall_a", "before"), ("delta", "delta"), ("delta_low", "low"), ("delta_high", "high")):
            found = [math.nan if value is None else value for value in pair[told]]
            assert found == pytest.approx(table[column].tolist(), nan_ok=True, abs=1e-4), column
        assert [data["verdicts"][word][0] for word in pair["verdict"]] == table["verdict"].tolist()
        assert pair["n"] == table["n"].tolist()
        assert verdict_lines(compared)[0] == f"{b} against {a}: {pair['said'][0]}"
        assert pair["recipes"][0] == recipe_line(compared)


def test_every_pair_has_the_band_of_what_training_both_once_more_moves(
    data: dict[str, Any], evaluated: Settings
) -> None:
    rows = read_report_data(evaluated).main.classes
    names = [name for name, _ in data["variants"]]
    for places, pair in data["pairs"].items():
        a, b = ([score.training_alone or 0 for score in rows[names[int(place)]]] for place in places.split())
        assert pair["luck"] == pytest.approx([math.hypot(*both) for both in zip(a, b, strict=True)], abs=1e-4)


def test_the_interval_of_a_pair_leaves_out_zero_exactly_where_a_class_is_decided() -> None:
    rng, images, drivers = np.random.default_rng(0), 20, [f"p{d:03}" for d in range(15)]

    def trained(first: float) -> np.ndarray:
        right = rng.binomial(images, np.array([first, 0.7, 0.7]), size=(3, len(drivers), 3))
        wrong = np.roll(np.eye(3), 1, axis=1)
        return right[..., None] * np.eye(3) + (images - right)[..., None] * wrong

    change = difference(trained(0.9), trained(0.5), np.arange(len(drivers)) % 5, swap_signs(drivers))
    assert change.verdicts == ("improved", "undetermined", "undetermined")
    for ends, delta, verdict in zip(module._corrected(change), change.recall.delta, change.verdicts, strict=True):
        assert ends is not None
        low, high = ends
        assert low <= delta <= high
        assert (low <= 0 <= high) == (verdict == "undetermined")


def test_a_pair_the_other_way_round_says_what_the_command_line_says(data: dict[str, Any], evaluated: Settings) -> None:
    names = [name for name, _ in data["variants"]]
    turned = read_compared(evaluated, names[1], names[0])
    pair = data["pairs"]["0 1"]
    table = classes(turned)
    assert [-value for value in pair["delta"]] == pytest.approx(table["delta"].tolist(), abs=2e-4)
    told = [math.nan if p is None else p for p in pair["p"]]
    assert told == pytest.approx(table["p_holm"].tolist(), nan_ok=True, abs=1e-4)
    assert verdict_lines(turned)[0].endswith(pair["said"][1])


def test_pairs_that_the_report_compares_are_computed_first(
    evaluated: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_PAIRS", 2)
    found = pairs(read_report_data(evaluated))
    assert list(found["pairs"]) == ["0 1", "0 2"]  # the baseline against either
    assert found["left_out"] == 1
