"""The page "Why": sections that are made, out of date, or not made yet; and the link from a class to its evidence."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import pytest

from distracted_pipeline.reports import page_parts
from distracted_pipeline.reports.build import ReportResult, report_inputs, write_site
from distracted_pipeline.reports.read_report_data import read_report_data
from distracted_pipeline.reports.why import sections
from distracted_pipeline.reports.why.section import Section
from distracted_pipeline.settings import Settings
from distracted_pipeline_tests.reports.conftest import quiet
from distracted_pipeline_tests.reports.pages import links, text

TEMPLATE = "why_drawn.html.jinja"


def section(results: Mapping[str, str], **more: Any) -> Section:
    return Section(
        name="drawn",
        title="Drawn evidence",
        question="Is it drawn?",
        results=lambda _: results,
        say=lambda site, names: {"names": list(names)},
        of_class=lambda site, names, k: [f"Drawn for {', '.join(names)}."] if k == 1 else [],
        **more,
    )


def test_without_evidence_the_page_says_how_to_get_it(built: ReportResult) -> None:
    page = built.path.parent / "why.html"
    assert "type distracted why" in text(page)
    assert "why.html" in set(links(built.path))


def test_what_is_current_is_shown_and_what_is_not_is_called_out_of_date(
    evaluated: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = section({"masks_only": "f00", "fine_tune": "", "no_variant": "f01"})
    monkeypatch.setattr(
        sections, "SECTIONS", (found, section({}).__class__(**{**vars(found), "results": lambda _: {}}))
    )
    drawn = jinja2.DictLoader({TEMPLATE: "<p>For {{ it.names | listing }}.</p>"})
    usual = jinja2.FileSystemLoader(page_parts.TEMPLATES)
    monkeypatch.setattr(jinja2, "FileSystemLoader", lambda _: jinja2.ChoiceLoader([usual, drawn]))
    site = tmp_path
    write_site(read_report_data(evaluated), site, "why", most=3, width=80, log=quiet)
    said = text(site / "why.html")
    assert "For masks_only." in said
    assert "Out of date for Fine-tuning: run distracted why" in said
    assert said.count("Not made yet") == 1
    assert "no_variant" not in said
    assert "Drawn for masks_only." in text(site / "classes" / "c1.html")
    assert "../why.html#drawn" in set(links(site / "classes" / "c1.html"))
    assert "../why.html#drawn" not in set(links(site / "classes" / "c2.html"))


def test_evidence_that_changes_makes_another_report(evaluated: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = set()
    for results in ({}, {"top_only": ""}, {"top_only": "f00"}):
        monkeypatch.setattr(sections, "SECTIONS", (section(results),))
        seen.add(report_inputs(evaluated))
    assert len(seen) == 3
