"""Totals and checks over what the cache holds, for State Farm's categories and for others."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from distracted_pipeline.dataset import STATE_FARM, Category
from distracted_pipeline.images.ingest import ingest
from distracted_pipeline.images.manifest import read_manifest
from distracted_pipeline.masks.cache import open_cache
from distracted_pipeline.masks.fill import fill_missing
from distracted_pipeline.masks.overlays import as_markdown, previews, show
from distracted_pipeline.masks.summary import Summary, checks, summarise
from distracted_pipeline.settings import Settings, load_settings
from distracted_pipeline_tests.masks.conftest import QUIET, Bright, bright_cache, first_path, quiet
from distracted_pipeline_tests.toy import CATEGORIES, DRIVERS, write_toy_root

PLACES = (Category("window", (0, 0, 0)), Category("wheel", (1, 1, 1), expected=True), Category("hand", (2, 2, 2)))


@pytest.fixture
def toy(tmp_path: Path) -> Settings:
    """The toy data set with the masks that were drawn with it."""
    settings = load_settings({}, write_toy_root(tmp_path / "toy", backbone=False))
    ingest(settings, log=quiet)
    fill_missing(settings, options=QUIET)
    return settings


def test_what_is_expected_comes_from_the_data_set(toy: Settings) -> None:
    summary = summarise(open_cache(toy), read_manifest(toy), toy.subjects(), toy.dataset.categories)
    found = {check.name: check for check in checks(summary)}
    assert list(found) == ["complete", "not_empty", "expected_in_most_frames", "every_category_seen"]
    assert all(check.passed for check in found.values())
    assert found["complete"].description == "112 of 112 images have a mask"
    assert found["every_category_seen"].description == "all of driver, phone, bottle occur"
    assert "0 of 7 subjects show a driver in fewer than 50%" in found["expected_in_most_frames"].description
    assert [record["category"] for record in summary.coverage()] == list(CATEGORIES)
    assert [record["subject"] for record in summary.coverage_by_subject()] == sorted(DRIVERS)
    assert [round(record["share_of_images"], 2) for record in summary.coverage()] == [1.0, 0.5, 0.25]


def test_overlays_are_in_the_data_sets_colours(toy: Settings) -> None:
    img = read_manifest(toy)["img"][0].as_py()
    grey = tuple(replace(category, colour=(90, 90, 90)) for category in toy.dataset.categories)
    other = replace(toy, dataset=replace(toy.dataset, categories=grey))
    assert not np.array_equal(np.asarray(show(toy, img)), np.asarray(show(other, img)))
    cache, rows = open_cache(toy), read_manifest(toy)
    assert previews(toy, cache, rows) != previews(other, cache, rows)  # what was drawn before is not shown
    assert as_markdown({}, toy.dataset.categories).endswith("driver #336699, phone #cc3311, bottle #ddaa33")


def test_subjects_that_lack_what_most_frames_should_show_are_named() -> None:
    seen = {"ann": np.array([1, 1, 0.9, 0]), "ben": np.array([1, 1, 0.2, 0])}
    found = checks(Summary(PLACES, 20, 20, 0, np.array([20, 20, 11, 0]), np.ones(4, int), by_subject={}, seen=seen))
    _, _, expected, every = found
    assert not expected.passed
    assert expected.severity == "WARN"
    assert "1 of 2 subjects show a wheel in fewer than 50%" in expected.description
    assert expected.facts == {"subjects": [{"category": "wheel", "subject": "ben", "share_of_frames": 0.2}]}
    assert not every.passed
    assert every.facts == {"never_seen": ["hand"]}


def test_an_image_without_a_mask_is_an_error_and_a_category_that_nobody_expects_no_warning(frames: Settings) -> None:
    img, path = first_path(frames, "p002")
    path.write_bytes(b"")
    fill_missing(frames, ["p002"], QUIET, segmenter=Bright())
    nobody = tuple(replace(category, expected=False) for category in STATE_FARM.categories)
    complete, _, expected, _ = checks(summarise(bright_cache(frames), read_manifest(frames), ["p002", "p012"], nobody))
    assert not complete.passed
    assert complete.severity == "ERROR"
    assert [one["image"] for one in complete.facts["without_mask"]] == [img]
    assert complete.facts["images_without_mask"] == 1
    assert "19 of 40 images have a mask; 1 could not be read" in complete.description
    assert complete.description.endswith("unfinished: p012")
    assert expected.passed
