"""What an op needs is said once; device options come from a file, the launchpad, or the defaults."""

from pathlib import Path

import dagster as dg
import pytest

from distracted_pipeline.assets import compute
from distracted_pipeline.assets.compute import (
    GPU_POOL,
    Compute,
    DeviceConfig,
    ScoringConfig,
    TrainingConfig,
    read_op_config,
)
from distracted_pipeline.definitions import defs
from distracted_pipeline.errors import DistractedError

CONFIGS = Path(__file__).parents[2] / "configs"


def test_a_gpu_op_asks_kubernetes_and_ray_for_the_same() -> None:
    tags = Compute(gpus=1, cpus=8, memory_gib=16).op_tags()
    limits = tags["dagster-k8s/config"]["container_config"]["resources"]["limits"]
    assert limits == {"cpu": "8", "memory": "16Gi", "nvidia.com/gpu": "1"}
    assert tags["dagster-ray/config"] == {"num_cpus": 8, "num_gpus": 1, "memory": 16 * 2**30}


def test_an_op_without_a_gpu_does_not_mention_one() -> None:
    options = Compute(cpus=2).options()
    assert "nvidia.com/gpu" not in str(options)
    assert "num_gpus" not in options["op_tags"]["dagster-ray/config"]
    assert set(options) == {"op_tags"}


def test_every_op_with_device_options_wants_a_gpu_queues_in_the_pool_and_is_tried_twice() -> None:
    ops = {}
    for asset in defs.resolve_asset_graph().assets_defs:
        if isinstance(asset, dg.AssetsDefinition) and asset.is_executable:
            ops[asset.op.name] = asset.op
    with_device = {
        name for name, op in ops.items() if "device" in getattr(op.config_schema.as_field().config_type, "fields", {})
    }
    assert with_device == set(read_op_config(CONFIGS / "gpu.yaml"))
    for name, op in ops.items():
        wants_gpu = "nvidia.com/gpu" in str(op.tags)
        assert wants_gpu == (name in with_device), name
        assert (op.pool == GPU_POOL) == wants_gpu, name
        assert (op.retry_policy is not None) == wants_gpu, name


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_config_names_every_op_with_a_device_and_all_of_its_options(path: Path) -> None:
    offered = {
        asset.op.name: set(fields)
        for asset in defs.resolve_asset_graph().assets_defs
        if asset.is_executable
        and "device" in (fields := getattr(asset.op.config_schema.as_field().config_type, "fields", {}))
    }
    assert {name: set(entry["config"]) for name, entry in read_op_config(path).items()} == offered


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("ops: [masks]", "must hold one mapping"),
        ("masks: {}", "must hold one mapping"),
        ("ops: {masks: {config: {precision: fp8}}}", "op masks: .*fp32.*bf16"),
        ("ops: {masks: {config: {batch: 3}}}", "op masks"),
        ("ops: {masks: {}}", "op masks"),
        ("ops: {predictions: {config: {precision: fp32}}}", "op predictions: .*precision.*device: auto, batch_size: 0"),
        ("ops: {masks: {config: {device: cpu", "cannot read"),
        ("ops: {images: {config: {device: cpu}}}", "op images: .*device.*verify: False"),
    ],
)
def test_a_bad_config_is_refused_by_file_and_op(text: str, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(DistractedError, match=rf"(?s)mine.yaml.*{complaint}|{complaint}.*mine.yaml"):
        read_op_config(path)


def test_what_a_run_may_ask_of_the_images_can_stand_in_the_file_too(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("ops: {images: {config: {verify: true}}}")
    assert read_op_config(path) == {"images": {"config": {"verify": True}}}


def test_an_op_runs_as_configured_and_claims_no_gpu_before_one_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    claimed: list[str] = []
    monkeypatch.setattr(compute, "claim_gpu", lambda device, log: claimed.append(device) or "cuda")
    options = DeviceConfig(device="auto", precision="bf16", batch_size=3).options(print)
    assert (options.precision, options.batch_size, options.log, claimed) == ("bf16", 3, print, [])
    assert options.device_name() == "cuda"
    assert claimed == ["auto"]
    assert [TrainingConfig(deterministic=each).options(print).deterministic for each in (True, False)] == [True, False]
    assert ScoringConfig().options(print).precision == "auto"  # the taps that the training made are read again


def test_a_config_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DistractedError, match=r"none.yaml.*configs/"):
        read_op_config(tmp_path / "none.yaml")
