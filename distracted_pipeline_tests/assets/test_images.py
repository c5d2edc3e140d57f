"""The asset: counts and checks as Dagster shows them, and user errors without a traceback."""

import os
import shutil
import subprocess
import sys

import dagster as dg
import pytest

from distracted_pipeline.assets.images import images
from distracted_pipeline.images.ingest import ingest
from distracted_pipeline.images.manifest import labelled, read_manifest
from distracted_pipeline.settings import Settings


@pytest.fixture(autouse=True)
def _here(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTRACTED_DATA", str(settings.data))


def materialize(**config: object) -> dg.ExecuteInProcessResult:
    run_config = {"ops": {"images": {"config": config}}}
    instance = dg.DagsterInstance.ephemeral()
    return dg.materialize([images], instance=instance, run_config=run_config, raise_on_error=False)


def checks(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    return {event.check_name: event for event in result.get_asset_check_evaluations()}


def test_good_data_passes_the_checks_with_counts_in_the_metadata_and_a_warning_of_few_drivers(
    settings: Settings,
) -> None:
    result = materialize()
    assert result.success
    assert {name: check.passed for name, check in checks(result).items()} == {
        "counts": False, "bad_files": True, "driver_disjoint_folds": True, "near_duplicates": True,
    }  # fmt: skip
    counts = checks(result)["counts"]
    assert counts.severity == dg.AssetCheckSeverity.WARN
    assert "8 drivers" in (counts.description or ""), "eight cannot decide one of ten classes"
    metadata = result.asset_materializations_for_node("images")[0].metadata
    assert metadata["labelled"].value == 160
    assert "| p002 | train |" in metadata["by_driver_and_class"].value
    assert read_manifest(settings).num_rows == 163


def test_too_many_bad_files_fail_the_check_as_an_error_and_keep_the_rows(settings: Settings) -> None:
    for number in (1, 2):
        (settings.data / f"imgs/train/c0/img_{number}.jpg").write_bytes(b"<html>")
    result = materialize()
    check = checks(result)["bad_files"]
    assert not check.passed
    assert check.severity == dg.AssetCheckSeverity.ERROR
    assert "2 not a JPEG" in (check.description or "")
    assert "imgs/train/c0/img_1.jpg" in (check.description or "")
    assert "Replace it by the JPEG that belongs there" in (check.description or "")
    assert not result.success, "what reads the manifest must not run on a shrunken data set"
    assert read_manifest(settings).num_rows == 163


def test_one_bad_file_in_160_is_a_warning_with_a_table_of_files_and_remedies(settings: Settings) -> None:
    (settings.data / "imgs/train/c0/img_1.jpg").write_bytes(b"<html>")
    result = materialize()
    assert result.success
    check = checks(result)["bad_files"]
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "1 bad images (0.62%, limit 1%)" in (check.description or "")
    assert check.metadata["bad_files"].value == 1, "a number, which the UI plots over time"
    (row,) = check.metadata["files"].records  # type: ignore[union-attr]
    assert row.data["file"] == "imgs/train/c0/img_1.jpg"
    assert "Replace it by the JPEG" in row.data["remedy"]
    assert "img_1.jpg" in str(result.asset_materializations_for_node("images")[0].metadata["problems"].value)


def test_an_image_of_two_drivers_fails_the_fold_check(settings: Settings) -> None:
    table = labelled(ingest(settings, log=lambda line: None).table).to_pylist()
    one = table[0]
    other = next(row for row in table if row["fold"] != one["fold"] and row["classname"] == one["classname"])
    shutil.copy(settings.data / one["path"], settings.data / other["path"])
    result = materialize()
    check = checks(result)["driver_disjoint_folds"]
    assert not check.passed
    assert check.severity == dg.AssetCheckSeverity.ERROR
    assert not result.success


def test_only_verify_finds_an_image_that_changed_behind_its_size_and_times(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As on a file system that keeps no time of change of a file's status.
    monkeypatch.setattr("distracted_pipeline.images.kaggle.stamp", lambda stat: f"{stat.st_size}:{stat.st_mtime_ns}")

    def version(**config: object) -> str:
        (event,) = materialize(**config).asset_materializations_for_node("images")
        return str((event.tags or {})["dagster/data_version"])

    before = version()
    photo = settings.data / "imgs/train/c0/img_1.jpg"
    times, data = photo.stat(), bytearray(photo.read_bytes())
    data[15] ^= 1  # the density in its JFIF header: the same size, the same pixels, another file
    photo.write_bytes(data)
    os.utime(photo, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert version() == before
    assert version(verify=True) != before


def test_missing_classes_and_drivers_are_a_warning(settings: Settings) -> None:
    lines = settings.csv.read_text().splitlines()
    settings.csv.write_text("\n".join(line for line in lines if ",c9," not in line) + "\n")
    shutil.rmtree(settings.data / "imgs/train/c9")
    result = materialize()
    check = checks(result)["counts"]
    assert result.success
    assert not check.passed
    assert check.severity == dg.AssetCheckSeverity.WARN
    assert "no image of c9" in (check.description or "")


def test_a_missing_csv_is_a_failure_with_the_remedy(settings: Settings) -> None:
    settings.csv.unlink()
    result = materialize()
    assert not result.success
    event = next(event for event in result.all_events if event.is_step_failure)
    assert "driver_imgs_list.csv is missing" in str(event.step_failure_data.user_failure_data)


def test_importing_the_asset_is_light() -> None:
    code = (
        "import sys, distracted_pipeline.assets.images; "
        "print([m for m in ('torch', 'pandas', 'pyarrow', 'PIL', 'numpy', 'mlflow') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
