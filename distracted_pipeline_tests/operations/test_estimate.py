"""The hours that are left: measured on a few images, counted over what is missing, nothing written."""

from pathlib import Path

import pytest

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.images.folds import fold_rows
from distracted_pipeline.images.ingest import ingest
from distracted_pipeline.images.manifest import labelled, read_manifest
from distracted_pipeline.masks.identity import segmenter_fingerprint
from distracted_pipeline.operations.estimate import Estimate, estimate, in_words
from distracted_pipeline.scopes import FOLDS
from distracted_pipeline.settings import Settings, load_settings
from distracted_pipeline_tests.chain import write_chain_root


def test_every_missing_stage_is_measured_and_counted_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DISTRACTED_DATA")
    settings = load_settings(data=write_chain_root(tmp_path / "data"))
    ingest(settings, log=lambda line: None)
    segmenter_fingerprint(settings)  # notes what the given maps hold; whoever asks anything does that
    before = sorted(path for path in settings.data.rglob("*") if path.is_file())
    found = {each.stage: each for each in estimate(settings, "cpu")}
    assert list(found) == ["masks", "features", "top_only", "masks_fused"]
    assert found["masks"].count == 163
    assert found["masks"].seconds_each == 0  # they are given
    assert found["features"].count == 160
    images = labelled(read_manifest(settings))
    epochs, trainings = 2, 2
    assert found["top_only"].count == epochs * trainings * sum(len(fold_rows(images, fold).train) for fold in FOLDS)
    assert all(each.seconds_each > 0 for stage, each in found.items() if stage != "masks")
    assert sorted(path for path in settings.data.rglob("*") if path.is_file()) == before


def test_without_a_manifest_the_next_command_is_named(tmp_path: Path) -> None:
    with pytest.raises(DistractedError, match="distracted run"):
        estimate(Settings(data=tmp_path))


def test_hours_are_pace_times_count_and_summed() -> None:
    lines = list(in_words([Estimate("masks", 0.5, 7200), Estimate("features", 0.25, 14400)]))
    assert "1.00 h" in lines[0]
    assert "500.0 ms an image x 7,200" in lines[0]
    assert lines[-1].split() == ["together", "2.00", "h"]
