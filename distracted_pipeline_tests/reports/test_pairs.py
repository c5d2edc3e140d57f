"""Any two variants side by side: what the page holds is what the command line says."""

import math
from typing import Any

import pytest

from distracted_pipeline.evaluation.comparison_tables import classes, read_compared, recipe_line, verdict_lines
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
