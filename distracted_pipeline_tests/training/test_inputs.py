"""Inputs: taps that are missing are computed as the caller says, on a device that is claimed once."""

import shutil

import pytest

from distracted_pipeline.features.taps import TapStore
from distracted_pipeline.options import RunOptions
from distracted_pipeline.settings import Settings
from distracted_pipeline.training.inputs import load_taps
from distracted_pipeline.training.train import train_variant
from distracted_pipeline.variants.config import variant_named
from distracted_pipeline_tests.training.rooted import images


def test_missing_taps_are_computed_with_the_callers_precision_and_batch_size_on_a_device_claimed_once(
    own_root: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(own_root.features, ignore_errors=True)
    config = variant_named(own_root, "linear_probe")
    claimed: list[str] = []
    seen: list[RunOptions] = []
    real = TapStore.ensure

    def device() -> str:
        claimed.append("cpu")
        return "cpu"

    def ensure(self: TapStore, subject: str, taps: tuple[str, ...], options: RunOptions) -> object:
        seen.append(options)
        return real(self, subject, taps, options)

    monkeypatch.setattr(TapStore, "ensure", ensure)
    table = images(own_root)
    options = RunOptions(device, "bf16", 7, lambda line: None)
    taps = load_taps(own_root, config, ("pooled",), table["img"].to_pylist(), options)
    assert len(taps["pooled"]) == table.num_rows
    assert len(seen) == 8
    assert {(each.precision, each.batch_size) for each in seen} == {("bf16", 7)}
    assert claimed == ["cpu"]
    seen.clear()
    load_taps(own_root, config, ("pooled",), table["img"].to_pylist(), options)
    assert seen == []


def test_a_training_claims_its_device_once_and_none_where_nothing_is_trained(own_root: Settings) -> None:
    claimed: list[str] = []

    def device() -> str:
        claimed.append("cpu")
        return "cpu"

    options = RunOptions(device, log=lambda line: None)
    assert train_variant(own_root, "masks_fused_checkpoint", "1", options).metas[0]["device"] == "cpu"
    assert claimed == ["cpu"]
    assert train_variant(own_root, "masks_fused_checkpoint", "1", options).reused
    assert claimed == ["cpu"]
