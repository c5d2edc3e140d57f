"""The sections on altered frames: what is decided stands there in words, what is not claims nothing."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from distracted_pipeline.explanation.what_if.tables import Effect
from distracted_pipeline.reports.build import write_site
from distracted_pipeline.reports.read_report_data import read_report_data
from distracted_pipeline.reports.why import counterfactuals, mask_ablation, robustness, sections
from distracted_pipeline.reports.why.effects import decided
from distracted_pipeline.settings import Settings
from distracted_pipeline_tests.reports.conftest import quiet
from distracted_pipeline_tests.reports.pages import links, text

NAMES = ("top_only", "masks_only")


def effect(k: int, about: str, version: str, p: float | None, delta: float = -0.3, **more: Any) -> Effect:
    known = {"variant": "masks_only", "frames": 20, "drivers": 18, "trainings": 2, "low": -0.4, "high": -0.2}
    return Effect(class_id=k, about=about, version=version, p=p, delta=delta, **(known | more))


ALTERED = [
    effect(1, "cell phone", "erased", 0.0001, before=0.9, after=0.59, control=0.88, on_objects=0.0),
    effect(2, "cell phone", "erased", 0.5, before=0.9, after=0.59, control=0.88, on_objects=0.0),
    effect(3, "person", "erased", None, before=0.9, after=0.1, control=0.2, on_objects=0.6),
    effect(1, "cell phone", "dropped", 0.0001, before=0.8, after=0.5),
    effect(1, "cell phone", "found", None, after=0.8, low=0.7, high=0.9),
    effect(1, "cell phone", "missed", None, after=0.4, low=0.2, high=0.6),
    effect(1, "darkness", "2", None, before=0.8, after=0.5),
    effect(1, "mirror", "mirror", None, before=0.8, after=0.1),
]


@pytest.fixture
def page(evaluated: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The site on these effects."""
    rooms = (counterfactuals, mask_ablation, robustness)
    for room in rooms:
        monkeypatch.setattr(room, "effects_of", lambda site, stage, names: list(ALTERED))
    monkeypatch.setattr(counterfactuals, "read_rows", lambda *_: [])

    def sturdier(settings: Settings, variant: str, reference: str) -> Sequence[Effect]:
        return [effect(4, "all", reference, 0.0001, 0.12, variant=variant, before=-0.4, after=-0.28)]

    monkeypatch.setattr(robustness, "sturdier", sturdier)
    shown = tuple(replace(room.SECTION, results=lambda _: dict.fromkeys(NAMES, "f00")) for room in rooms)
    monkeypatch.setattr(sections, "SECTIONS", shown)
    write_site(read_report_data(evaluated), tmp_path, "why", most=3, width=80, log=quiet)
    return tmp_path


def test_decided_effects_stand_in_words_on_the_page_and_on_that_of_their_class(page: Path) -> None:
    said = text(page / "why.html")
    line = "Without the cell phone, c1 falls by 31 points (control: 2)"
    assert line in said
    assert "1 of 2 cells are decided" in said
    assert "Without the person" not in said
    assert "c2 falls" not in said
    assert "With the cell phone dropped in the masks, recall of c1 falls by 30 points" in said
    assert ".80 [.70, .90]" in said
    assert "loses 12 points less of c4 than" in said
    assert "In a mirror, c1 is c3, c2 is c4" in said
    assert line in text(page / "classes" / "c1.html")
    assert "what a technique is compared with" not in (page / "why.html").read_text()  # of another kind of control
    assert "Why did c2 change?" not in text(page / "classes" / "c2.html")


def test_a_row_of_the_first_page_leads_to_the_reasons_that_were_found_of_its_class(page: Path) -> None:
    reasons = {link for link in links(page / "index.html") if link.endswith("#why")}
    assert reasons == {"classes/c1.html#why", "classes/c4.html#why"}
    assert "why?" not in text(page / "summary.html")


def test_what_has_no_clean_control_is_never_decided() -> None:
    assert decided(ALTERED) == {row for row in ALTERED if row.p == 0.0001}
