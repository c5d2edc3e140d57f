"""The manifest: read from every version, and read in the data set's own order."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distracted_pipeline.dataset import STATE_FARM
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.images.ingest import ingest
from distracted_pipeline.images.manifest import SCHEMA, class_positions, data_fingerprint, labelled, read_manifest
from distracted_pipeline.settings import Settings, load_settings
from distracted_pipeline_tests.toy import CLASSES, write_toy_root


def test_a_manifest_without_cameras_and_sessions_is_read_and_its_fingerprint_is_the_same(settings: Settings) -> None:
    table = ingest(settings, log=lambda line: None).table
    pq.write_table(table.drop_columns(["camera", "session"]), settings.manifest)
    earlier = read_manifest(settings)
    assert earlier.equals(table)
    assert set(earlier["camera"].to_pylist()) == {""}


def test_the_fingerprint_of_drawn_frames_is_what_it_always_was() -> None:
    """The fingerprint of models and masks that exist already: no new column may change it."""
    rows = [
        {"img": f"img_{n}.jpg", "subject": f"p{n:03d}", "classname": f"c{n}", "sha256": f"{n:064x}", "status": "ok"}
        for n in range(3)
    ]
    table = pa.Table.from_pylist([{**row, "camera": "x", "session": "y"} for row in rows], schema=SCHEMA)
    assert data_fingerprint(table) == "d60d6857b9ab"


def test_a_manifest_with_other_columns_is_refused(settings: Settings) -> None:
    table = ingest(settings, log=lambda line: None).table
    pq.write_table(table.drop_columns(["fold"]), settings.manifest)
    with pytest.raises(DistractedError, match=r"images\.parquet has other columns.*distracted run"):
        read_manifest(settings)


def test_class_positions_follow_the_data_set_and_not_the_alphabet(tmp_path: Path) -> None:
    settings = load_settings({}, data=write_toy_root(tmp_path / "toy", backbone=False))
    table = labelled(ingest(settings, log=lambda line: None).table)
    positions = class_positions(table, settings.dataset)
    assert positions.dtype == "int64"
    assert [CLASSES[k] for k in positions] == table["classname"].to_pylist()


def test_a_class_that_the_data_set_does_not_have_is_named(tmp_path: Path) -> None:
    settings = load_settings({}, data=write_toy_root(tmp_path / "toy", backbone=False))
    table = labelled(ingest(settings, log=lambda line: None).table)
    with pytest.raises(DistractedError, match=r"'dr\w+'.*State Farm.*dataset\.yaml.*distracted run"):
        class_positions(table, STATE_FARM)
