"""What the first screen says: the answer in one sentence, the champion, decided columns, and what masks show."""

import re
from dataclasses import replace

import numpy as np
import pytest

from distracted_pipeline.reports.build import ReportResult
from distracted_pipeline.reports.detection import detection_rates, found_in, telling_categories
from distracted_pipeline.reports.noise import placebo
from distracted_pipeline.reports.read_report_data import read_report_data
from distracted_pipeline.reports.report_data import ReportData
from distracted_pipeline.reports.verdict import answer, champion
from distracted_pipeline.settings import Settings
from distracted_pipeline_tests.reports.pages import text
from distracted_pipeline_tests.reports.test_claims import drawn_up


@pytest.fixture(scope="module")
def report(evaluated: Settings) -> ReportData:
    return drawn_up(read_report_data(evaluated))


def test_the_answer_names_classes_points_and_where_they_started(report: ReportData) -> None:
    recall = f"{report.main.classes['top_only'][1].recall:.2f}"[1:]
    said = answer(report)
    assert said.startswith(f" improved c1 by 10 points (Top only, the baseline: {recall}); macro recall .")
    assert " → ." in said


def test_without_a_decided_class_the_answer_says_so(evaluated: Settings) -> None:
    said = answer(read_report_data(evaluated))
    assert said.startswith(": ")
    assert "improved by" not in said


def test_the_champion_is_the_best_of_all_with_every_fold(report: ReportData) -> None:
    best = champion(report)
    assert best is not None
    recalls = {name: score.macro_recall for name, score in report.main.variants.items()}
    assert recalls[best.variant] == max(recalls.values(), key=lambda value: value or 0)
    lacking = {name: replace(score, folds_missing=["1"]) for name, score in report.main.variants.items()}
    assert champion(replace(report, scopes={"oof": replace(report.main, variants=lacking)})) is None


def test_the_front_page_has_the_heatmap_in_words_too(built: ReportResult) -> None:
    said = text(built.path)
    assert "Differences of recall by class and variant, in words Class Recall of the baseline Fine-tuning" in said


def test_the_words_below_the_example_count_its_grad_cams(built: ReportResult) -> None:
    front = built.path.read_text(encoding="utf-8")
    strip = front.split('<div class="strips">')[1].split("</figure>")[0]
    assert "Grad-CAM of" in strip
    assert ("two Grad-CAMs of" in front) is ("for the true class" in strip)
    assert ("for the class it predicted, which is the true one" in front) is ("for the true class" not in strip)


def test_variants_stand_in_one_order_with_the_baseline_first(evaluated: Settings) -> None:
    report = read_report_data(replace(evaluated, baseline="fine_tune"))
    assert report.variants[0] == "fine_tune"
    assert report.variants[1:] == ["top_only", "masks_only"]


def test_how_often_masks_show_a_category_is_counted_by_class(report: ReportData) -> None:
    rates = detection_rates(report)
    assert rates is not None
    phone = report.dataset.category_names.index("cell phone")
    assert rates[:, phone].tolist() == [0, 1, 1, 1, 1, 0, 0, 0, 0, 0]
    assert np.isfinite(rates).all()
    assert found_in(report, 1) == "cell phone 1.00 (other classes .33)"
    assert telling_categories(rates) == [phone], "the person is in every frame and tells nothing"
    assert detection_rates(replace(report, found=None)) is None
    assert found_in(replace(report, found=None), 1) == ""


def test_only_the_same_recipe_with_another_seed_is_a_placebo(report: ReportData) -> None:
    baseline = report.catalogue["top_only"]
    again = replace(report, catalogue=report.catalogue | {"fine_tune": baseline.model_copy(update={"seed": 7})})
    assert placebo(again, "fine_tune")
    assert not placebo(report, "fine_tune")
    assert not placebo(report, "top_only")


def test_how_often_a_phone_is_found_stands_beside_the_differences_and_leads_to_the_images(built: ReportResult) -> None:
    html = built.path.read_text(encoding="utf-8")
    wide = html.partition('class="scroll wide"')[2].partition('class="scroll narrow"')[0]
    assert ">cell phone found</text>" in wide
    links = re.findall(r'<a href="(images.html#class=c\d&amp;has=cell%20phone)"><text[^>]*>([^<]*)', wide)
    assert [shown for _, shown in links] == [".00", *["1.00"] * 4, *[".00"] * 5]
    assert "the masks show a cell phone" in text(built.path)
