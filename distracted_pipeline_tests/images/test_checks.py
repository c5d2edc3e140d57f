"""What is expected of a manifest, in the words of its own data set."""

from pathlib import Path

import pyarrow as pa
import pytest

from distracted_pipeline.dataset import STATE_FARM
from distracted_pipeline.images.checks import check_bad_files, check_counts, check_folds, counts_markdown
from distracted_pipeline.images.ingest import IngestResult, ingest
from distracted_pipeline.images.manifest import SCHEMA
from distracted_pipeline.settings import Settings, load_settings
from distracted_pipeline_tests.toy import CLASSES, write_toy_root


@pytest.fixture
def toy(tmp_path: Path) -> tuple[Settings, IngestResult]:
    """The ingested toy data set."""
    settings = load_settings({}, data=write_toy_root(tmp_path / "toy", backbone=False))
    return settings, ingest(settings, log=lambda line: None)


def without(table: pa.Table, subject: str = "", classname: str = "") -> pa.Table:
    """Return the rows that are not of a driver, of a class, or of both where both are given."""
    rows = table.to_pylist()
    kept = [
        row
        for row in rows
        if not ((not subject or row["subject"] == subject) and (not classname or row["classname"] == classname))
    ]
    return pa.Table.from_pylist(kept, schema=SCHEMA)


def driver_rows(table: pa.Table, subject: str) -> list[dict]:
    return [row for row in table.to_pylist() if row["subject"] == subject]


def test_a_whole_data_set_passes_every_check(toy: tuple[Settings, IngestResult]) -> None:
    settings, result = toy
    hana = [row | {"subject": "hana", "sha256": f"hana {i}"} for i, row in enumerate(driver_rows(result.table, "gus"))]
    table = pa.concat_tables([result.table, pa.Table.from_pylist(hana, schema=SCHEMA)])
    checks = [check_counts(table, settings.dataset), check_bad_files(result), check_folds(table)]
    assert [check.name for check in checks] == ["counts", "bad_files", "driver_disjoint_folds"]
    assert all(check.passed for check in checks)
    assert checks[0].description == "128 labelled images of 8 drivers."


def test_absent_classes_and_gaps_are_named_by_the_data_sets_ids(toy: tuple[Settings, IngestResult]) -> None:
    settings, result = toy
    absent = check_counts(without(result.table, classname="drink"), settings.dataset)
    assert (absent.passed, absent.severity) == (False, "WARN")
    assert "no image of drink" in absent.description
    gap = check_counts(without(result.table, "ann", "phone_l"), settings.dataset)
    assert "drivers without some class: ann (phone_l)" in gap.description


def test_few_drivers_are_said(toy: tuple[Settings, IngestResult]) -> None:
    settings, result = toy
    found = check_counts(result.table, settings.dataset).description
    assert (
        "7 drivers: differences between variants are not testable under 8, what 4 classes of one variant take" in found
    )
    table = without(without(result.table, "ann"), "ben")
    assert (
        "5 drivers: differences between variants are not testable" in check_counts(table, settings.dataset).description
    )


def test_a_part_of_a_data_set_whose_size_is_known_is_said() -> None:
    rows = [
        {"img": f"{d}{c}.jpg", "subject": d, "classname": c, "status": "ok"}
        for d in STATE_FARM.drivers
        for c in STATE_FARM.class_ids
    ]
    found = check_counts(pa.Table.from_pylist(rows, schema=SCHEMA), STATE_FARM)
    assert "a part of the 22,424 frames of State Farm" in found.description


def test_a_driver_on_both_sides_is_an_error_and_too_few_drivers_a_warning(toy: tuple[Settings, IngestResult]) -> None:
    _, result = toy
    rows = result.table.to_pylist()
    rows[0]["split"] = "test"
    leak = check_folds(pa.Table.from_pylist(rows, schema=SCHEMA))
    assert (leak.passed, leak.severity) == (False, "ERROR")
    few = check_folds(pa.Table.from_pylist([row for row in rows if row["subject"] in ("ben", "gus")], schema=SCHEMA))
    assert (few.passed, few.severity) == (False, "WARN")


def test_the_table_of_counts_has_the_data_sets_classes(toy: tuple[Settings, IngestResult]) -> None:
    settings, result = toy
    lines = counts_markdown(result.table, settings.dataset).splitlines()
    assert lines[0] == f"| driver | split | fold | {' | '.join(CLASSES)} | all |"
    assert lines[-1] == "| all | | | 28 | 28 | 28 | 28 | 112 |"
