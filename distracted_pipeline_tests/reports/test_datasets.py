"""A report on a data set that is not State Farm: 4 classes, 3 mask categories, no `c0` anywhere."""

import base64
import re
from dataclasses import replace

import pytest

from distracted_pipeline.images.ingest import ingest
from distracted_pipeline.masks.fill import fill_missing
from distracted_pipeline.options import RunOptions
from distracted_pipeline.reports.build import ReportResult, build_report
from distracted_pipeline.settings import load_settings
from distracted_pipeline_tests.reports.conftest import evaluate, quiet, without_controls
from distracted_pipeline_tests.reports.pages import links, pages, text, unpacked
from distracted_pipeline_tests.toy import CATEGORIES, CLASSES, write_toy_root


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> ReportResult:
    """A report on three variants of the toy data set."""
    root = write_toy_root(tmp_path_factory.mktemp("toy") / "data", backbone=False)
    settings = replace(load_settings(data=root), variants_file=without_controls(root))
    ingest(settings, log=quiet)
    fill_missing(settings, settings.subjects(), RunOptions(log=quiet))
    evaluate(settings, ["top_only", "linear_probe", "masks_fused"])
    return build_report(settings, log=quiet)


def test_every_class_of_the_data_set_has_its_page_and_no_other(toy: ReportResult) -> None:
    assert sorted(page.stem for page in toy.path.parent.glob("classes/*.html")) == sorted(CLASSES)
    page = text(toy.path.parent / "classes" / "phone_l.html")
    assert "phone_l phone in the left hand" in page
    assert "images of 7 drivers" in page


def test_masks_are_shown_in_the_categories_and_colours_of_the_data_set(toy: ReportResult) -> None:
    page = (toy.path.parent / "data.html").read_text(encoding="utf-8")
    (legend,) = re.findall(r'aria-label="Colours of the masks">\n(.*?)</ul>', page, re.DOTALL)
    assert re.findall(r"([a-z]+)</li>", legend) == list(CATEGORIES)
    assert re.findall(r'fill="(#\w+)"', legend) == ["#336699", "#cc3311", "#ddaa33"]


def test_no_page_knows_a_class_or_a_count_of_another_data_set(toy: ReportResult) -> None:
    for page in pages(toy):
        said = text(page)
        assert not re.search(r"\bc\d\b|\bten\b|\bninety\b|Kaggle|State Farm|22,424", said), page
        for link in links(page):
            place = link.partition("#")[0]
            assert link.startswith(("data:", "http://127.0.0.1:300")) or (page.parent / place).is_file() or not place
    assert "8 questions at once take 9" in text(toy.path)  # two variants on four classes
    assert "none is corrected for the 12 pairs" in text(toy.path.parent / "compare.html")


def test_the_original_split_is_counted_not_assumed(toy: ReportResult) -> None:
    assert "Drivers here: 4 to train on, 1 to choose the epoch on (dev), 2 for the test." in text(toy.path)


def test_probabilities_have_a_column_for_each_class(toy: ReportResult) -> None:
    data = unpacked(toy.path.parent / "images.html")
    assert [class_id for class_id, _ in data["classes"]] == list(CLASSES)
    assert len(base64.b64decode(data["p"])) == len(data["variants"]) * len(data["shown"]) * len(CLASSES)


def test_its_heatmap_and_confusion_matrix_have_its_classes(toy: ReportResult) -> None:
    assert text(toy.summary).count("phone_r phone in the right hand") >= 1
    page = (toy.path.parent / "variants" / "masks_fused.html").read_text(encoding="utf-8")
    (matrix,) = re.findall(r'class="confusion".*?</svg>', page, re.DOTALL)
    assert matrix.count("<g>") == len(CLASSES) ** 2
