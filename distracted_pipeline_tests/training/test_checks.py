"""Every check of a training can fail, and fails for what it is called after."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from distracted_pipeline.images.folds import fold_rows
from distracted_pipeline.options import RunOptions
from distracted_pipeline.settings import Settings
from distracted_pipeline.training import checks
from distracted_pipeline.training.checkpoint import WEIGHTS
from distracted_pipeline.training.checks import check_trained
from distracted_pipeline.training.train import TrainResult, train_variant


@pytest.fixture
def result(prepared: Settings, tmp_path: Path) -> TrainResult:
    """A training whose files and facts a test may spoil."""
    trained = train_variant(prepared, "masks_only", "3", RunOptions(log=lambda line: None))
    shutil.copytree(trained.folder, tmp_path / "copy")
    return dataclasses.replace(trained, folder=tmp_path / "copy", metas=tuple(dict(meta) for meta in trained.metas))


def outcomes(settings: Settings, result: TrainResult) -> dict[str, bool]:
    return {check.name: check.passed for check in check_trained(settings, result)}


def _spoil_weights(result: TrainResult) -> None:
    weights = load_file(result.folder / "1" / WEIGHTS)
    weights["classifier.bias"][3] = float("nan")
    save_file(weights, result.folder / "1" / WEIGHTS)


def _spoil_loss(result: TrainResult) -> None:
    history = result.metas[1]["history"]
    result.metas[1]["history"] = [*history, {**history[-1], "train_loss": float("inf")}]


def _guess(result: TrainResult) -> None:
    result.metas[1]["validation_macro_recall"] = 0.1


@pytest.mark.parametrize(
    ("spoil", "failing"), [(_spoil_weights, "finite"), (_spoil_loss, "finite"), (_guess, "better_than_chance")]
)
def test_what_is_spoilt_fails_its_own_check(
    prepared: Settings, result: TrainResult, spoil: Callable[[TrainResult], None], failing: str
) -> None:
    sound = outcomes(prepared, result)
    spoil(result)
    spoilt = outcomes(prepared, result)
    assert sound[failing]
    assert [name for name in sound if sound[name] != spoilt[name]] == [failing]


def test_a_driver_on_both_sides_fails_drivers_disjoint(
    prepared: Settings, result: TrainResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    def leaky(table: object, fold: str) -> object:
        rows = fold_rows(table, fold)
        return dataclasses.replace(rows, train=np.concatenate([rows.train, rows.predict[:1]]))

    assert outcomes(prepared, result)["drivers_disjoint"]
    monkeypatch.setattr(checks, "fold_rows", leaky)
    leaking = next(check for check in check_trained(prepared, result) if check.name == "drivers_disjoint")
    assert not leaking.passed
    assert leaking.severity == "ERROR"
    assert "is in train and in predict" in leaking.facts["leak"]


def test_the_weights_that_were_spoilt_are_named(prepared: Settings, result: TrainResult) -> None:
    _spoil_weights(result)
    assert torch.isnan(load_file(result.folder / "1" / WEIGHTS)["classifier.bias"]).any()
    finite = next(check for check in check_trained(prepared, result) if check.name == "finite")
    assert finite.facts["not_finite"] == "classifier.bias of training 2"
    assert finite.description == "not finite: classifier.bias of training 2"
