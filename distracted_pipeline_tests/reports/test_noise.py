"""The page of noise: what another training moves, and what it takes to see a change."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from distracted_pipeline.evaluation import plan_tables
from distracted_pipeline.evaluation.table_schemas import ClassScore
from distracted_pipeline.reports.build import PAGE_BUDGET, ReportResult, build_report
from distracted_pipeline.reports.noise import moved, noise_sentence, noisiest, trainings_said
from distracted_pipeline.reports.read_report_data import read_report_data
from distracted_pipeline.settings import Settings
from distracted_pipeline_tests.reports import conftest
from distracted_pipeline_tests.reports.conftest import evaluate, quiet
from distracted_pipeline_tests.reports.pages import links, text


def alone(*values: float | None) -> list[ClassScore]:
    return [
        ClassScore(scope="oof", variant="a", class_id=k, n=9, verdict="undetermined", training_alone=value)
        for k, value in enumerate(values)
    ]


def test_the_largest_and_the_median_class_are_told_and_absent_ones_left_out() -> None:
    found = moved(alone(0.02, 0.11, None, 0.04))
    assert found is not None
    assert (found.k, found.largest, found.median) == (1, 0.11, 0.04)
    assert moved(alone(None, None)) is None


def test_every_variant_has_a_sentence_a_table_and_a_figure_of_each_class(
    built: ReportResult, evaluated: Settings
) -> None:
    page = built.path.parent / "noise.html"
    said, html = text(page), page.read_text(encoding="utf-8")
    report = read_report_data(evaluated)
    widest = noisiest(report)
    assert widest is not None
    assert f"moves a class by up to ±.{round(100 * widest[1].largest):02d}" in said
    for name in built.variants:
        assert noise_sentence(report, name) in said
        assert re.search(r"Another training alone moves c\d .* by ±\.\d\d", noise_sentence(report, name))
        section = html.partition(f'<h3 id="{name}">')[2].partition("<h")[0]
        assert section.count('<th scope="row">') == section.count('class="track"') - 1 == 10  # and a scale
        score = report.main.classes[name][4]
        numbers = re.findall(r"<td>±?(\.\d\d)</td>", section.partition("classes/c4.html")[2])[:4]
        parts = (score.sd_drivers, score.sd_training, score.sd_double, score.training_alone)
        assert numbers == [f"{part:.2f}"[1:] for part in parts]


def test_the_plan_shows_the_numbers_of_the_command(built: ReportResult, evaluated: Settings) -> None:
    page = built.path.parent / "noise.html"
    found, _ = plan_tables.read_study(evaluated, "fine_tune")
    html = page.read_text(encoding="utf-8")
    plan = html.partition("Plan for Fine-tuning")[2].partition("</table>")[0]
    for k in range(10):
        row = plan.partition(f"classes/c{k}.html")[2].partition("</tr>")[0]
        assert re.findall(r"<td>([^<]*)</td>", row) == plan_tables.cells(found, k)
    assert html.count("<details>") == len(built.variants) - 1
    assert html.count("Smallest change of c") == len(built.variants) - 1


def test_the_page_is_found_from_the_front_page_the_navigation_and_every_variant(built: ReportResult) -> None:
    site = built.path.parent
    assert {"noise.html", "noise.html#plan"} <= set(links(site / "index.html"))
    assert "../noise.html#fine_tune" in set(links(site / "variants" / "fine_tune.html"))
    assert "../noise.html" in set(links(site / "classes" / "c1.html"))
    assert (site / "noise.html").stat().st_size < PAGE_BUDGET / 10


@pytest.fixture
def once(small: Settings, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A site of two variants with one training of each fold."""
    monkeypatch.setattr(conftest, "TRAININGS", 1)
    evaluate(small, ["top_only", "fine_tune"], cams=False)
    return build_report(small, log=quiet).path.parent


def test_with_one_training_the_report_says_that_nothing_is_decided(once: Path) -> None:
    said = text(once / "noise.html")
    assert "one training tells nothing of another: what another one would move is not known" in said
    assert "Set replicates to 2 or more (or DISTRACTED_REPLICATES for all), then type distracted run" in said
    assert "±" not in said
    assert "Fine-tuning against Top only: one training only of some fold" in said
    front = text(once / "index.html")
    assert "one training only of some fold, which tells nothing of another, so nothing is decided" in front
    assert "not testable: one training only" in front
    assert "Trainings of each fold 1; of Top only, 1" in text(once / "variants" / "fine_tune.html")


def test_a_variant_trained_once_is_named_where_the_others_are_not(evaluated: Settings) -> None:
    report = read_report_data(evaluated)
    assert trainings_said(report) == "2 trainings"
    main = report.main
    scores = main.variants | {"fine_tune": replace(main.variants["fine_tune"], trainings=1)}
    classes = main.classes | {"fine_tune": [replace(one, training_alone=None) for one in main.classes["fine_tune"]]}
    mixed = replace(report, scopes={"oof": replace(main, variants=scores, classes=classes)})
    assert trainings_said(mixed) == "1 to 2 trainings"
    assert noise_sentence(mixed, "fine_tune").startswith("One training only of some fold")
    alike = {"fine_tune": [replace(one, training_alone=0.0) for one in main.classes["fine_tune"]]}
    same = replace(report, scopes={"oof": replace(main, classes=main.classes | alike)})
    assert noise_sentence(same, "fine_tune") == (
        "All 2 trainings of each fold answer alike: another training alone moves no class."
    )
