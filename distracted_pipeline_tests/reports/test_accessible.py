"""What a person needs who reads the report with a keyboard, a screen reader or large type."""

import re
from itertools import pairwise
from pathlib import Path

import pytest

from distracted_pipeline.reports.build import ReportResult
from distracted_pipeline.reports.page_parts import TEMPLATES
from distracted_pipeline_tests.reports.pages import pages

Pages = dict[str, list[tuple[str, str, str]]]
"""Page -> its tags in order: `/` where it closes one, its name, its attributes."""


@pytest.fixture(scope="module")
def tags(built: ReportResult) -> Pages:
    """One page of each kind."""
    kinds = {
        path.parent.name if path.parent.name in ("classes", "variants") else path.name: path for path in pages(built)
    }
    return {kind: _tags(path) for kind, path in kinds.items()}


def _tags(page: Path) -> list[tuple[str, str, str]]:
    return re.findall(r"<(/?)([a-z][a-z0-9]*)\b([^>]*)>", page.read_text(encoding="utf-8"))


def test_headings_step_down_one_level_at_a_time_below_a_single_first_one(tags: Pages) -> None:
    for page, found in tags.items():
        levels = [int(tag[1]) for closed, tag, _ in found if not closed and re.fullmatch("h[1-6]", tag)]
        assert levels[0] == 1, page
        assert levels.count(1) == 1, page
        assert all(after <= before + 1 for before, after in pairwise(levels)), page


def test_pages_say_their_language_and_use_no_id_twice(tags: Pages) -> None:
    for page, found in tags.items():
        assert next(rest for _, tag, rest in found if tag == "html") == ' lang="en"', page
        ids = [name for _, _, rest in found for name in re.findall(r'\sid="([^"]*)"', rest)]
        assert len(ids) == len(set(ids)), page


def test_every_table_has_a_caption_and_headers_that_say_what_they_head(tags: Pages) -> None:
    for page, found in tags.items():
        names = [tag for closed, tag, _ in found if not closed]
        assert names.count("table") == names.count("caption"), page
        assert all("scope=" in rest for closed, tag, rest in found if tag == "th" and not closed), page


def test_every_field_has_a_label(tags: Pages) -> None:
    for page, found in tags.items():
        inside = 0
        for closed, tag, rest in found:
            if tag == "label":
                inside += -1 if closed else 1
            elif tag in ("input", "select", "textarea") and not closed:
                assert inside or 'aria-label="' in rest, (page, rest)


def test_focus_is_hidden_of_nothing_that_a_keyboard_reaches() -> None:
    css = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    hidden = [rule for rule, style in re.findall(r"([^{}]+)\{([^{}]*)\}", css) if "outline:none" in style]
    assert hidden == ["h2:focus,h2:focus-visible"], "a script moves there; links in figures have no other mark"


def test_nothing_moves_by_itself() -> None:
    for path in TEMPLATES.iterdir():
        assert not re.search(r"animation|transition:|behavior:\s*.?smooth|@keyframes", path.read_text("utf-8")), path
