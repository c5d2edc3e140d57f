"""Backbones: what their taps are, what happens to pixels, and what they say when they are not there."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from distracted_pipeline.demo.models import build_tiny_efficientnet
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.settings import Settings
from distracted_pipeline.variants.backbones import (
    backbone_fingerprint,
    load_backbone,
    load_preprocessing,
    why_unsupported,
)
from distracted_pipeline.variants.trunks import EfficientNetTrunk
from distracted_pipeline_tests.damage import damage
from distracted_pipeline_tests.variants.tiny import SIDE, settings_for, variant


@pytest.fixture
def pixels() -> torch.Tensor:
    return torch.randn(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


def test_the_trunk_and_its_classifier_are_the_whole_model(efficientnet: Path, pixels: torch.Tensor) -> None:
    from transformers import AutoModelForImageClassification

    whole = AutoModelForImageClassification.from_pretrained(efficientnet).eval()
    with torch.no_grad():
        _, pooled = load_backbone(settings_for(efficientnet)).trunk(pixels)
        assert torch.allclose(whole.classifier(pooled), whole(pixels).logits, atol=1e-5)


def test_going_on_from_any_tap_gives_what_going_from_pixels_gives(efficientnet: Path, pixels: torch.Tensor) -> None:
    trunk = load_backbone(settings_for(efficientnet)).trunk
    assert isinstance(trunk, EfficientNetTrunk)
    names = ["last_block", *(f"block{i}_input" for i in range(len(trunk.first_repeats())))]
    with torch.no_grad():
        taps = trunk.taps(pixels, [*names, "pooled"])
        last, pooled = trunk(pixels)
        assert torch.equal(taps["pooled"], pooled)
        for name in names:
            assert all(torch.equal(a, b) for a, b in zip(trunk(taps[name], name), (last, pooled), strict=True)), name


def test_every_efficientnet_counts_its_blocks_as_hugging_face_builds_them() -> None:
    from transformers import EfficientNetConfig, EfficientNetForImageClassification

    for width, depth in ((1.0, 1.0), (1.2, 1.4), (2.0, 3.1)):  # b0, b3, b7
        config = EfficientNetConfig(width_coefficient=width, depth_coefficient=depth, hidden_dim=8)
        with torch.device("meta"):
            config.hidden_dim = int(max(8, int(1280 * width + 4) // 8 * 8))
            model = EfficientNetForImageClassification(config)
        trunk = EfficientNetTrunk(model)
        starts = trunk.first_repeats()
        # Only the first repeat of a base block has no residual connection.
        firsts = [i for i, block in enumerate(trunk.encoder.blocks) if not block.projection.apply_dropout]
        assert firsts == starts
        assert len(starts) == 7


def test_a_base_block_that_does_not_exist_is_named_with_the_range(efficientnet: Path) -> None:
    trunk = load_backbone(settings_for(efficientnet)).trunk
    assert isinstance(trunk, EfficientNetTrunk)
    with pytest.raises(DistractedError, match="base block 5, this EfficientNet has 0 to 4"):
        trunk.block_index(5)


@pytest.mark.parametrize("family", ["mobilenet_v2", "convnext"])
def test_other_families_give_the_embedding_that_their_classifier_reads(
    other_families: dict[str, Path], family: str, pixels: torch.Tensor
) -> None:
    from transformers import AutoModelForImageClassification

    whole = AutoModelForImageClassification.from_pretrained(other_families[family]).eval()
    trunk = load_backbone(settings_for(other_families[family])).trunk
    with torch.no_grad():
        last, pooled = trunk(pixels)
        assert torch.allclose(whole.classifier(pooled), whole(pixels).logits, atol=1e-5)
    assert last.shape[1] == pooled.shape[1] == trunk.width
    assert trunk.pools_by_mean() is (family == "mobilenet_v2")
    with pytest.raises(DistractedError, match=r"no tap 'last_block'.*EfficientNet"):
        trunk.taps(pixels, ["last_block"])


@pytest.mark.parametrize("include_top", [False, True])
def test_pixels_are_scaled_exactly_as_the_processor_does(efficientnet: Path, tmp_path: Path, include_top: bool) -> None:
    from transformers import AutoImageProcessor

    folder = tmp_path / "backbone"
    shutil.copytree(efficientnet, folder)
    facts = json.loads((folder / "preprocessor_config.json").read_text())
    facts |= {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.4], "include_top": include_top}
    (folder / "preprocessor_config.json").write_text(json.dumps(facts))
    image = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    expected = AutoImageProcessor.from_pretrained(folder)(images=image, return_tensors="pt")["pixel_values"]
    preprocessing = load_preprocessing(settings_for(folder))
    ours = preprocessing.normalise(torch.from_numpy(preprocessing.resize(image))[None])
    assert torch.allclose(ours, expected, atol=1e-5)


def test_resizing_keeps_a_thin_object(efficientnet: Path) -> None:
    image = np.zeros((480, 640, 3), np.uint8)
    image[:, 301:305] = 255  # lies between the samples that nearest would take
    resized = load_preprocessing(settings_for(efficientnet)).resize(image)
    assert resized.shape == (3, SIDE, SIDE)
    assert resized.dtype == np.uint8
    assert resized.max() > 20


def test_the_fingerprint_follows_weights_and_processor_but_not_the_folder(efficientnet: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(efficientnet, copy)
    original = backbone_fingerprint(settings_for(efficientnet))
    assert backbone_fingerprint(settings_for(copy)) == original
    facts = json.loads((copy / "preprocessor_config.json").read_text())
    (copy / "preprocessor_config.json").write_text(json.dumps(facts | {"image_mean": [0.1, 0.1, 0.1]}))
    changed = backbone_fingerprint(settings_for(copy))
    other = build_tiny_efficientnet(tmp_path / "other", seed=1, image_size=SIDE)
    assert len({original, changed, backbone_fingerprint(settings_for(other))}) == 3


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "preprocessor_config.json"])
@pytest.mark.parametrize("how", ["emptied", "truncated"])
def test_a_backbone_whose_files_are_damaged_is_refused_in_a_sentence(
    name: str, how: str, efficientnet: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(efficientnet, tmp_path / "backbone")
    damage(folder / name, how)
    with pytest.raises(DistractedError, match=rf"backbone '{folder}' .*DISTRACTED_BACKBONE.* cannot be loaded"):
        load_backbone(settings_for(folder))
    if name == "config.json":
        reason = why_unsupported(settings_for(folder), variant("linear_probe"))
        assert reason is not None
        assert "config.json is damaged" in reason


def test_a_variants_own_backbone_may_lie_in_the_data_root(efficientnet: Path) -> None:
    settings = Settings(data=efficientnet.parent, backbone="nowhere")
    assert backbone_fingerprint(settings, efficientnet.name) == backbone_fingerprint(settings_for(efficientnet))


def test_a_missing_backbone_names_model_setting_and_remedy(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("google/efficientnet-b99", str(tmp_path / "empty")):
        with pytest.raises(DistractedError) as raised:
            backbone_fingerprint(Settings(data=tmp_path, backbone=name))
        assert all(part in str(raised.value) for part in (name, "DISTRACTED_BACKBONE", "model.safetensors"))


def test_weights_that_do_not_fit_are_refused_not_replaced_by_random_ones(efficientnet: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "backbone"
    shutil.copytree(efficientnet, folder)
    weights = load_file(folder / "model.safetensors")
    removed = next(name for name in weights if not name.startswith("classifier."))
    save_file({k: v for k, v in weights.items() if k != removed}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(DistractedError, match=r"1 weights of the configuration are not in the file"):
        load_backbone(settings_for(folder))


def test_kinds_that_cut_into_efficientnet_say_so_before_anything_is_loaded(
    efficientnet: Path, other_families: dict[str, Path]
) -> None:
    mobile = settings_for(other_families["mobilenet_v2"])
    assert "mobilenet_v2" in (why_unsupported(mobile, variant("top_only")) or "")
    assert why_unsupported(mobile, variant("linear_probe")) is None
    assert why_unsupported(settings_for(efficientnet), variant("adapters")) is None


def test_the_tiny_efficientnet_is_the_same_for_the_same_seed_and_small(tmp_path: Path) -> None:
    one = load_backbone(settings_for(build_tiny_efficientnet(tmp_path / "a", seed=5)))
    two = load_backbone(settings_for(build_tiny_efficientnet(tmp_path / "b", seed=5)))
    assert one.fingerprint == two.fingerprint
    assert sum(p.numel() for p in one.trunk.parameters()) < 500_000
    noise = torch.randn(8, 3, 96, 96, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
    with torch.no_grad():
        pooled = one.trunk(noise)[1]
    assert torch.isfinite(pooled).all()
    assert pooled.std(0).mean() > 1e-3


def test_a_hub_model_is_fetched_once_and_without_pickles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, list[str]]] = []

    def snapshot_download(name: str, allow_patterns: list[str]) -> str:
        asked.append((name, allow_patterns))
        return str(build_tiny_efficientnet(tmp_path / "snapshot", image_size=32))

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    backbone = load_backbone(Settings(data=tmp_path, backbone="someone/efficientnet-never-cached"))
    assert backbone.name == "someone/efficientnet-never-cached"
    assert {name for name, _ in asked} == {"someone/efficientnet-never-cached"}
    assert not any("bin" in pattern for pattern in asked[0][1])
