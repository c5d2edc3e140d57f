"""Whether a report still says what is on disk: told by what it records, never by times."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from distracted_pipeline.evaluation.tables import class_accuracy
from distracted_pipeline.reports.build import build_report, report_current, report_inputs
from distracted_pipeline.reports.folders import RECORD, find_latest
from distracted_pipeline.settings import Settings
from distracted_pipeline_tests.conftest import DRIVERS, write_kaggle_tree
from distracted_pipeline_tests.reports.conftest import evaluate, prepared, quiet, write_cams, write_fold, write_training

CATALOGUE = (
    "top_only: {label: Baseline}\nfine_tune: {label: All of it, description: Trains everything., control: null}\n"
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Two variants with a report, and a catalogue of the user's own."""
    root = write_kaggle_tree(tmp_path_factory.mktemp("current") / "data", DRIVERS[:6], frames=1, test_frames=0)
    (root / "variants.yaml").write_text(CATALOGUE, encoding="utf-8")
    settings = prepared(root, variants_file=root / "variants.yaml")
    evaluate(settings, ["top_only", "fine_tune"])
    build_report(settings, log=quiet)
    return settings


@pytest.fixture
def reported(made: Settings, tmp_path: Path) -> Iterator[Settings]:
    """The same, to be changed; put back afterwards."""
    kept = shutil.copytree(made.data, tmp_path / "kept", symlinks=True)
    yield made
    shutil.rmtree(made.data)
    kept.rename(made.data)


def folder(settings: Settings) -> Path:
    found = find_latest(settings.reports)
    assert found
    return found


def test_while_nothing_changes_a_report_is_current_whatever_the_times_say(reported: Settings) -> None:
    assert report_current(reported)
    for place in (reported.evaluation, reported.predictions, reported.models, reported.masks, reported.reports):
        for path in place.rglob("*"):
            os.utime(path, (2_000_000_000, 2_000_000_000))
    assert report_current(reported)
    assert json.loads((folder(reported) / RECORD).read_text())["inputs"] == report_inputs(reported)


def test_a_built_report_is_current_again(reported: Settings) -> None:
    (folder(reported) / "summary.html").unlink()
    assert not report_current(reported)
    build_report(reported, log=quiet)
    assert report_current(reported)


@pytest.mark.parametrize("page", ["index.html", "summary.html", "classes/c3.html", "variants/fine_tune.html"])
def test_without_one_of_its_pages_it_is_not(reported: Settings, page: str) -> None:
    (folder(reported) / page).unlink()
    assert not report_current(reported)


def label(settings: Settings) -> Settings:
    assert settings.variants_file
    settings.variants_file.write_text(CATALOGUE.replace("All of it", "The whole"), encoding="utf-8")
    return settings


def description(settings: Settings) -> Settings:
    assert settings.variants_file
    settings.variants_file.write_text(CATALOGUE.replace("everything", "all"), encoding="utf-8")
    return settings


def note(settings: Settings) -> Settings:
    return replace(settings, notes=("drawn on a Tuesday",))


def class_words(settings: Settings) -> Settings:
    dataset = settings.dataset
    return replace(settings, dataset=replace(dataset, class_names=("attentive", *dataset.class_names[1:])))


def problems(settings: Settings) -> Settings:
    problem = {"where": "p002", "row": 3, "what": "no file", "remedy": "mend it", "status": "no file"}
    (settings.data / "images_problems.json").write_text(json.dumps([problem]), encoding="utf-8")
    return settings


def tables(settings: Settings) -> Settings:
    write_fold(settings, "fine_tune", "0", skill=0.9)
    class_accuracy(settings, log=quiet)
    return settings


def cams(settings: Settings) -> Settings:
    write_cams(settings, "fine_tune", per_class=2)
    return settings


def training(settings: Settings) -> Settings:
    write_training(settings, "fine_tune", "0", seconds=99)
    return settings


def masks(settings: Settings) -> Settings:
    maps = Path(settings.segmenter.removeprefix("folder:"))
    next(iter(sorted(maps.glob("*.png")))).unlink()  # other class maps, another segmenter: its cache is empty
    return settings


@pytest.mark.parametrize(
    "change", [label, description, note, class_words, problems, tables, cams, training, masks], ids=lambda f: f.__name__
)
def test_after_a_change_of_what_pages_show_it_is_not(
    reported: Settings, change: Callable[[Settings], Settings]
) -> None:
    assert not report_current(change(reported))


def test_a_report_of_the_version_before_is_not_and_is_made_again(reported: Settings) -> None:
    (folder(reported) / RECORD).unlink()
    assert not report_current(reported)
    build_report(reported, log=quiet)
    assert report_current(reported)


def test_a_damaged_record_is_none(reported: Settings) -> None:
    (folder(reported) / RECORD).write_text("{", encoding="utf-8")
    assert not report_current(reported)


def test_without_any_report_there_is_none_to_be_current(small: Settings) -> None:
    assert not report_current(small)


def test_where_latest_is_a_page_that_forwards_it_is_followed(
    reported: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no links on this file system")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    (reported.reports / "latest").unlink()
    result = build_report(reported, log=quiet)
    assert not (reported.reports / "latest").is_symlink()
    assert report_current(reported)
    assert find_latest(reported.reports) == result.path.parent
