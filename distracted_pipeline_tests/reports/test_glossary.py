"""Words of the glossary, explained at first use."""

import re
from pathlib import Path

from distracted_pipeline.reports.build import ReportResult
from distracted_pipeline.reports.glossary import TERMS, explain_words
from distracted_pipeline_tests.reports.pages import Tags, pages

GLOSSARY = Path(__file__).parents[2] / "docs" / "glossary.md"


def test_the_report_explains_its_words_as_the_glossary_does() -> None:
    known = dict(re.findall(r"^\| ([^|]+?) \| ([^|]+?) \|$", GLOSSARY.read_text(encoding="utf-8"), re.MULTILINE))
    assert {word: known.get(word) for word in TERMS} == TERMS


def test_a_word_is_explained_once_in_prose_and_nowhere_else() -> None:
    page = (
        "<h1>verdict</h1><main><h2>verdict</h2><table><tr><td>verdict</td></tr></table><p>a <a href='x'>verdict</a>, "
    )
    page += "<code>verdict</code>, Verdicts and verdict &amp; verdictless</p></main>"
    said = explain_words(page)
    assert said.count("<dfn") == 1
    assert ">Verdicts</dfn> and verdict &amp; verdictless" in said
    assert re.sub(r"</?dfn[^>]*>", "", said) == page


def test_a_camera_is_no_cam_and_an_explanation_is_not_explained() -> None:
    said = explain_words("<main><p>cam and CAM, a control</p></main>")
    assert "<p>cam and <dfn" in said
    assert said.count("<dfn") == 2


def test_a_title_that_has_a_word_of_the_glossary_in_it_explains_nothing() -> None:
    said = explain_words("<main><p>Masks + embedding gains, for a mask tells.</p></main>", names=("Masks + embedding",))
    assert "<p>Masks + embedding gains, for a <dfn" in said


def test_pages_explain_each_word_at_most_once(built: ReportResult) -> None:
    explained = 0
    for page in pages(built):
        tips = [attributes["data-tip"] for tag, attributes in Tags(page).tags if tag == "dfn"]
        assert len(tips) == len(set(tips)), page
        explained += len(tips)
    assert explained > 20
