"""When a variant's CAMs have to be made again: by what they record of predictions, networks and masks."""

import dataclasses
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from distracted_pipeline.evaluation.tables_io import read_rows
from distracted_pipeline.explanation.explain import gradcam_current, gradcam_folder, gradcam_inputs, gradcam_variant
from distracted_pipeline.explanation.tables import EVERY_CLASS, CamRow, Lift
from distracted_pipeline.images.manifest import read_manifest
from distracted_pipeline.masks.fill import fill_missing
from distracted_pipeline.options import RunOptions
from distracted_pipeline.settings import Settings
from distracted_pipeline_tests.evaluation.fakes import predict, write_model
from distracted_pipeline_tests.explanation.fakes import replace_networks

VARIANT = "linear_probe"
"""A variant that reads no masks: they matter for its lifts alone."""


def silent(_line: str) -> None:
    pass


QUIET = RunOptions("cpu", log=silent)


@pytest.fixture(scope="module")
def made(prepared: Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A data root with masks, and CAMs of one variant."""
    settings = dataclasses.replace(prepared, data=tmp_path_factory.mktemp("made") / "data")
    shutil.copytree(prepared.data, settings.data, ignore=shutil.ignore_patterns("models", "predictions", "mlartifacts"))
    with pytest.MonkeyPatch.context() as patch:
        replace_networks(patch)
        predict(settings, VARIANT, wrong={3: 1})
        gradcam_variant(settings, VARIANT, QUIET)
    return settings


@pytest.fixture
def explained(made: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A copy of `made` that a test may change, with CAMs that are current."""
    replace_networks(monkeypatch)
    root = shutil.copytree(made.data, tmp_path / "data")
    settings = dataclasses.replace(made, data=root, variants_file=root / "variants.yaml")
    assert gradcam_current(settings, VARIANT)
    return settings


def of_another_segmenter(settings: Settings) -> Settings:
    """Return the data root with label maps from elsewhere: a person in the upper half of each frame."""
    folder = settings.data / "other_maps"
    folder.mkdir()
    for img in read_manifest(settings)["img"].to_pylist():
        ids = np.zeros((48, 64), np.uint8)
        ids[:24] = 1
        Image.fromarray(ids).save(folder / f"{Path(img).stem}.png")
    return dataclasses.replace(settings, segmenter=f"folder:{folder}")


def person(settings: Settings) -> float:
    (found,) = (
        row.lift
        for row in read_rows(gradcam_folder(settings, VARIANT) / "lift.parquet", Lift)
        if (row.class_id, row.category) == (EVERY_CLASS, "person")
    )
    assert found is not None
    return found


def test_lifts_never_outlive_the_masks_that_they_were_measured_on(explained: Settings) -> None:
    assert person(explained) == pytest.approx(1, abs=0.2), "a person nearly everywhere: no lift"
    other = of_another_segmenter(explained)
    assert not gradcam_current(other, VARIANT), "of the segmenter in force there are no masks yet"
    gradcam_variant(other, VARIANT, QUIET)
    assert gradcam_current(other, VARIANT), "what has no masks has no lifts"
    fill_missing(other, other.subjects(), QUIET)
    assert not gradcam_current(other, VARIANT)
    gradcam_variant(other, VARIANT, QUIET)
    assert gradcam_current(other, VARIANT)
    assert abs(person(other) - 1) > 0.01
    assert not gradcam_current(explained, VARIANT), "and back to the first segmenter"


def test_touched_files_are_as_current_as_before(explained: Settings) -> None:
    for path in explained.data.rglob("*"):
        if path.is_file() and "label_maps" not in path.parts:
            os.utime(path, (path.stat().st_atime, path.stat().st_mtime + 1_000_000))
    assert gradcam_current(explained, VARIANT)


def other_predictions(settings: Settings) -> Settings:
    predict(settings, VARIANT, ["2"], wrong={4: 1})
    return settings


def another_network(settings: Settings) -> Settings:
    write_model(settings, VARIANT, "2", "another")
    return settings


def one_training_made_again(settings: Settings) -> Settings:
    write_model(settings, VARIANT, "2")
    gradcam_variant(settings, VARIANT, QUIET)
    assert gradcam_current(settings, VARIANT)
    path = settings.models / VARIANT / "2" / "1" / "config.json"
    path.write_text(path.read_text().replace("made1", "another"))
    return settings


def other_images(settings: Settings) -> Settings:
    pq.write_table(read_manifest(settings).slice(1), settings.manifest)
    return settings


def no_manifest(settings: Settings) -> Settings:
    settings.manifest.unlink()
    return settings


@pytest.mark.parametrize(
    "change", [other_predictions, another_network, one_training_made_again, other_images, no_manifest]
)
def test_cams_follow_everything_that_they_are_made_from(
    explained: Settings, change: Callable[[Settings], Settings]
) -> None:
    assert not gradcam_current(change(explained), VARIANT)


def test_more_or_fewer_images_by_hand_are_not_what_the_stage_keeps(explained: Settings) -> None:
    gradcam_variant(explained, VARIANT, QUIET, images_per_class=1)
    assert not gradcam_current(explained, VARIANT)


@pytest.mark.parametrize("name", ["rows.parquet", "cams.npz", "driver_means.npz", "lift.parquet"])
def test_files_that_are_damaged_or_gone_are_made_again(explained: Settings, name: str) -> None:
    path = gradcam_folder(explained, VARIANT) / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert not gradcam_current(explained, VARIANT)
    path.unlink()
    assert not gradcam_current(explained, VARIANT)


def test_cams_of_the_version_before_can_be_read_and_are_made_again(explained: Settings) -> None:
    path = gradcam_folder(explained, VARIANT) / "rows.parquet"
    before = read_rows(path, CamRow)
    pq.write_table(pq.read_table(path).replace_schema_metadata(None), path)
    assert not gradcam_current(explained, VARIANT)
    assert read_rows(path, CamRow) == before


def test_another_variant_has_other_inputs(explained: Settings) -> None:
    predict(explained, "masks_only", wrong={3: 1})
    assert gradcam_inputs(explained, VARIANT) != gradcam_inputs(explained, "masks_only")
