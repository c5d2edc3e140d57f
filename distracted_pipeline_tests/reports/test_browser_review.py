"""The page of labels in doubt, used as a person does: buttons, keys, the csv that it saves, and what that changes."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distracted_pipeline.evaluation.predictions import predictions_path, read_predictions, write_predictions
from distracted_pipeline.images.decisions import accept, read_decisions
from distracted_pipeline.reports.review import REVIEW_NAME, write_review
from distracted_pipeline.settings import Settings
from distracted_pipeline_tests.reports import browser
from distracted_pipeline_tests.reports.browser import Browser

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(browser.find() is None, reason=f"no Chromium on the PATH: none of {', '.join(browser.NAMES)}"),
]

IN_DOUBT = [f"img_{10 * driver + 1}.jpg" for driver in range(6)]
SURE = {f"p_c{k}": float(k == 5) for k in range(10)}
"""What every network says of them: the sixth class."""

CASES = "[...document.querySelectorAll('#cases > li')]"
PROGRESS = "document.querySelector('#progress').textContent"
DECISIONS = f"{CASES}.map(one => one.dataset.decision)"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser.running(tmp_path_factory.mktemp("profile")) as running:
        yield running


@pytest.fixture
def reviewed(evaluated: Settings, tmp_path: Path) -> Settings:
    """A data root with a page of six labels in doubt; free to be changed."""
    settings = replace(evaluated, data=Path(shutil.copytree(evaluated.data, tmp_path / "reviewed")))
    for variant, fold in read_predictions(settings).parts:
        table = pq.read_table(predictions_path(settings, variant, fold))
        doubted = [row | SURE if row["img"] in IN_DOUBT else row for row in table.to_pylist()]
        write_predictions(settings, variant, fold, pa.Table.from_pylist(doubted, schema=table.schema))
    assert write_review(settings, most=6).shown == 6
    return settings


def test_what_is_decided_on_the_page_is_what_the_data_root_takes_over(
    chromium: Browser, reviewed: Settings, tmp_path: Path
) -> None:
    page = (reviewed.reports / REVIEW_NAME).as_uri()
    visit = chromium.open(page, 1280)
    names = chromium.evaluate(f"{CASES}.map(one => one.dataset.img)")
    suggested = chromium.evaluate(f"{CASES}.map(one => one.dataset.suggested)")

    for case, button in ((0, "relabel"), (1, "keep"), (2, "drop"), (3, "drop"), (3, "drop")):  # again: undone
        chromium.click(f"#cases > li:nth-child({case + 1}) [data-decide={button}]")
    chromium.evaluate(f"{CASES}[4].querySelector('select').focus()")
    chromium.press("ArrowDown", 40)  # the next class of the list, which decides by itself
    chromium.click("h1")
    assert chromium.evaluate(DECISIONS) == ["relabel", "keep", "drop", "", "relabel", ""]
    assert chromium.evaluate(f"{CASES}[1].querySelector('[data-decide=keep]').getAttribute('aria-pressed')") == "true"
    chosen = chromium.evaluate(f"{CASES}[4].querySelector('select').value")
    assert chosen != suggested[4]

    chromium.open(page, 390)  # the browser remembers, and the phone shows it
    assert chromium.evaluate(PROGRESS) == "4 of 6 decided"
    assert chromium.evaluate("document.documentElement.scrollWidth") <= 390

    chromium.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    chromium.click("#save")
    saved = tmp_path / "label_decisions.csv"
    browser.until(saved.is_file)
    assert accept(reviewed, saved) == (4, 4)
    found = {one.img: (one.decision, one.classname) for one in read_decisions(saved, reviewed.dataset)}
    assert found == {
        names[0]: ("relabel", suggested[0]),
        names[1]: ("keep", ""),
        names[2]: ("drop", ""),
        names[4]: ("relabel", chosen),
    }
    assert not visit.complaints
    again = write_review(reviewed, most=100)
    assert again.decided == 4
    chromium.open(page, 1280)
    assert not set(chromium.evaluate(f"{CASES}.map(one => one.dataset.img)")) & set(found)


def test_the_keyboard_decides_and_goes_on(chromium: Browser, reviewed: Settings) -> None:
    chromium.open((reviewed.reports / REVIEW_NAME).as_uri(), 1280)
    for key in "jrxyu":
        chromium.press(key, ord(key.upper()))
    chromium.press("ArrowLeft", 37)
    assert chromium.evaluate(DECISIONS)[:4] == ["relabel", "drop", "keep", ""]
    assert chromium.evaluate(f"{CASES}.map(one => one.getAttribute('aria-current'))")[2] == "true"
    assert chromium.evaluate("document.activeElement.dataset.img") == chromium.evaluate(f"{CASES}[2].dataset.img")
    assert chromium.evaluate(PROGRESS) == "3 of 6 decided"


def test_what_was_decided_about_another_picture_of_the_same_name_is_not_remembered(
    chromium: Browser, reviewed: Settings
) -> None:
    page = reviewed.reports / REVIEW_NAME
    chromium.open(page.as_uri(), 1280)
    chromium.click("#cases > li:first-child [data-decide=drop]")
    digest = chromium.evaluate(f"{CASES}[0].dataset.sha256")
    page.write_text(page.read_text(encoding="utf-8").replace(digest, "0" * len(digest)), encoding="utf-8")
    chromium.open(page.as_uri(), 1280)
    assert chromium.evaluate(PROGRESS) == "0 of 6 decided"
