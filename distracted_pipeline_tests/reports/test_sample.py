"""The sample report: small, of the demo alone, and without links that lead nowhere."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.reports import sample
from distracted_pipeline.reports.sample import write_sample
from distracted_pipeline.settings import Settings
from distracted_pipeline_tests.reports.pages import unpacked

SHIPPED = Path(__file__).parents[2] / "docs" / "sample-report"


def quiet(line: str) -> None:
    """Log nothing."""


@pytest.fixture(autouse=True)
def _above(evaluated: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(evaluated.data.parent)


def test_a_sample_shows_some_variants_and_links_to_no_server(
    evaluated: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sample, "VARIANTS", ("top_only", "fine_tune"))
    monkeypatch.setattr(sample, "FLIPS_OF", "fine_tune")
    folder = tmp_path / "docs" / "sample"
    for _ in range(2):  # the second one replaces the first
        size, flip = write_sample(evaluated, folder, quiet)
    assert size == sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert {path.stem for path in folder.glob("variants/*.html")} == {"top_only", "fine_tune"}
    assert len(unpacked(folder / "images.html")["shown"]) == sample.IMAGES
    assert re.fullmatch(r"images\.html#variant=fine_tune&flip=gained&img=.+", flip)
    assert (folder / "pictures" / f"{flip.partition('img=')[2]}.jpg").is_file()
    pages = "".join(path.read_text() for path in folder.rglob("*.html"))
    assert "127.0.0.1" not in pages
    assert "localhost" not in pages
    assert str(evaluated.data.parent) not in pages
    assert [path.name for path in folder.parent.iterdir()] == ["sample"]


def test_a_sample_that_is_too_large_leaves_the_last_one_alone(
    evaluated: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "sample"
    folder.mkdir()
    (folder / "index.html").write_text("the last one")
    monkeypatch.setattr(sample, "BUDGET", 1000)
    with pytest.raises(DistractedError, match="the sample has .*the limit is 1 kB"):
        write_sample(evaluated, folder, quiet)
    assert (folder / "index.html").read_text() == "the last one"
    assert [path.name for path in tmp_path.iterdir()] == ["sample"]


def test_photographs_are_refused(evaluated: Settings, tmp_path: Path) -> None:
    with pytest.raises(DistractedError, match="photographs stay out"):
        write_sample(replace(evaluated, synthetic=False), tmp_path / "sample", quiet)
    assert not (tmp_path / "sample").exists()


def test_no_path_of_a_machine_gets_into_a_sample(
    evaluated: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DistractedError, match="by its full path: cd to a folder above it"):
        write_sample(evaluated, tmp_path / "sample", quiet)


def test_the_shipped_sample_is_whole_and_within_its_budget() -> None:
    assert sum(path.stat().st_size for path in SHIPPED.rglob("*") if path.is_file()) <= sample.BUDGET
    assert {path.stem for path in SHIPPED.glob("variants/*.html")} == set(sample.VARIANTS)
    assert "SYNTHETIC" in (SHIPPED / "index.html").read_text()
