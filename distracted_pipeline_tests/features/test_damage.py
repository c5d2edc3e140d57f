"""Taps on a damaged disk: what is not as it was written is computed again, and nothing else."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from distracted_pipeline.cache_folders import ABOUT, precision_of
from distracted_pipeline.features import row_lists
from distracted_pipeline.features.plan import is_filled
from distracted_pipeline.features.row_lists import CHECKED, ROWS, forget_checks
from distracted_pipeline.features.taps import TapStore
from distracted_pipeline.options import RunOptions
from distracted_pipeline.settings import Settings
from distracted_pipeline_tests.damage import DAMAGES, damage, write_unsealed

QUIET = RunOptions(device="cpu", log=lambda line: None)
TAPS = ("pooled", "pixels")
SUBJECT = "p002"


@pytest.fixture
def store(own_root: Settings) -> TapStore:
    """The taps of one driver."""
    store = TapStore(own_root)
    store.ensure(SUBJECT, TAPS, QUIET)
    return store


def test_a_damaged_tap_is_computed_again_alone(store: TapStore) -> None:
    path = store.folder(SUBJECT) / "pooled.npy"
    before = path.read_bytes()
    for how in DAMAGES:
        damage(path, how)
        assert TapStore(store.settings).missing(SUBJECT, TAPS) == ["pooled"], how
        assert TapStore(store.settings).ensure(SUBJECT, TAPS, QUIET).computed == ("pooled",)
        assert path.read_bytes() == before
        assert TapStore(store.settings).missing(SUBJECT, TAPS) == []


def test_taps_with_a_damaged_row_list_are_computed_again(store: TapStore) -> None:
    for how in DAMAGES:
        damage(store.folder(SUBJECT) / ROWS, how)
        assert TapStore(store.settings).missing(SUBJECT, TAPS) == list(TAPS), how
        assert TapStore(store.settings).ensure(SUBJECT, TAPS, QUIET).computed == TAPS


def test_a_tap_is_hashed_once_after_each_change_and_when_told_to(
    store: TapStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert store.missing(SUBJECT, TAPS) == []
    monkeypatch.setattr(row_lists, "file_digest", lambda path: "another")
    assert store.missing(SUBJECT, TAPS) == [], "known from before"
    for how in DAMAGES[1:]:
        damage(store.folder(SUBJECT) / CHECKED, how)
        assert store.missing(SUBJECT, TAPS) == list(TAPS), "hashed, because nothing is known"
        monkeypatch.undo()
        assert store.missing(SUBJECT, TAPS) == []
        monkeypatch.setattr(row_lists, "file_digest", lambda path: "another")
    forget_checks(store.settings)
    assert store.missing(SUBJECT, TAPS) == list(TAPS)


def test_taps_of_an_earlier_version_count_while_they_can_be_read(store: TapStore) -> None:
    rows = store.folder(SUBJECT) / ROWS
    table = pq.read_table(rows, partitioning=None)
    write_unsealed(rows, table.replace_schema_metadata({"precision": table.schema.metadata[b"precision"]}))
    assert store.missing(SUBJECT, TAPS) == []
    path = store.folder(SUBJECT) / "pooled.npy"
    before = path.read_bytes()
    for how in DAMAGES[:4]:
        damage(path, how)
        assert store.missing(SUBJECT, TAPS) == ["pooled"], how
        path.write_bytes(before)
    np.save(path, np.load(path)[:-1])
    assert store.missing(SUBJECT, TAPS) == ["pooled"], "too few rows"


@pytest.mark.parametrize("how", DAMAGES)
def test_a_folder_that_lost_its_description_keeps_taps_and_precision(how: str, own_root: Settings) -> None:
    store = TapStore(own_root)
    store.ensure(SUBJECT, ("pooled",), RunOptions(device="cpu", precision="bf16", log=lambda line: None))
    before = (store.root / ABOUT).read_bytes()
    damage(store.root / ABOUT, how)
    assert precision_of(store.root) == "bf16"
    assert not is_filled(own_root, SUBJECT)
    assert TapStore(own_root).ensure(SUBJECT, ("pooled",), QUIET).computed == ()
    assert (store.root / ABOUT).read_bytes() == before
