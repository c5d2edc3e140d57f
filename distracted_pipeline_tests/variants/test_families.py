"""Image classifiers of many families: each gives the embedding that its classifier reads, or is refused, and why."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.mobilevit.image_processing_pil_mobilevit import MobileViTImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from distracted_pipeline.errors import DistractedError, NoMap
from distracted_pipeline.operations.doctor import _weights
from distracted_pipeline.operations.missing import check_backbones
from distracted_pipeline.settings import Settings
from distracted_pipeline.variants.backbones import (
    backbone_fingerprint,
    fetched_folder,
    load_backbone,
    load_preprocessing,
)
from distracted_pipeline.variants.networks import build_network
from distracted_pipeline_tests.variants.tiny import SIDE, settings_for, variant

LABELS = 4
PATCHES = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 20,
    "image_size": SIDE,
    "patch_size": 8,
}
TEXT = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "vocab_size": 9,
    "bos_token_id": 0,
    "eos_token_id": 1,
}
TOWERS = {"vision_config": PATCHES, "text_config": TEXT, "num_labels": LABELS}
SIZE = {"size": {"height": SIDE, "width": SIDE}}


def resnet(**options: Any) -> Any:
    config = hf.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], num_labels=LABELS, **options)
    return hf.ResNetForImageClassification(config)


def hgnet() -> Any:
    four = [1, 1, 1, 1]
    config = hf.HGNetV2Config(
        embedding_size=8, depths=four, hidden_sizes=[8, 8, 16, 16], stem_channels=[3, 8, 8],
        stage_in_channels=[8, 8, 8, 16], stage_mid_channels=[8] * 4, stage_out_channels=[8, 8, 16, 16],
        stage_num_blocks=four, stage_numb_of_layers=four, stage_kernel_size=[3] * 4, num_labels=LABELS,
    )  # fmt: skip
    return hf.HGNetV2ForImageClassification(config)


FAMILIES: dict[str, tuple[Callable[[], Any], tuple[str, ...], bool]] = {
    "swiftformer": (
        lambda: hf.SwiftFormerForImageClassification(
            hf.SwiftFormerConfig(image_size=SIDE, depths=[1] * 4, embed_dims=[8, 8, 16, 16], num_labels=LABELS)
        ),
        ("head", "dist_head"),
        True,
    ),
    "clip": (lambda: hf.CLIPForImageClassification(hf.CLIPConfig(**TOWERS)), ("classifier",), False),
    "siglip": (lambda: hf.SiglipForImageClassification(hf.SiglipConfig(**TOWERS)), ("classifier",), False),
    "hgnet_v2": (hgnet, ("fc",), True),
    "deit": (
        lambda: hf.DeiTForImageClassificationWithTeacher(hf.DeiTConfig(**PATCHES, num_labels=LABELS)),
        ("cls_classifier", "distillation_classifier"),
        False,
    ),
    "vit": (lambda: hf.ViTForImageClassification(hf.ViTConfig(**PATCHES, num_labels=LABELS)), ("classifier",), False),
}
"""Name -> what builds it, its classifiers, whether it has a map."""


def saved(folder: Path, model: Any, processor: Any) -> Path:
    model.eval().save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_gives_the_embedding_that_its_classifier_reads(family: str, tmp_path: Path) -> None:
    build, heads, has_map = FAMILIES[family]
    torch.manual_seed(0)
    model = build()
    for head in heads:  # one linear layer twice: then the mean of two answers is the answer to the mean
        getattr(model, head).load_state_dict(getattr(model, heads[0]).state_dict())
    settings = settings_for(saved(tmp_path / family, model, ViTImageProcessorPil(**SIZE)))
    check_backbones(settings, {"probe": variant("linear_probe")})
    backbone = load_backbone(settings)
    pixels = torch.randn(2, 3, SIDE, SIDE)
    with torch.no_grad():
        last, pooled = backbone.trunk(pixels)
        assert torch.allclose(getattr(model, heads[0])(pooled), model(pixels).logits, atol=1e-5)
    assert pooled.shape == (2, backbone.trunk.width)
    net = build_network(variant("linear_probe"), backbone, settings.dataset)
    if has_map:
        assert last.ndim == 4
        assert backbone.trunk.pools_by_mean()
        assert net.forward_with_map({"pixels": pixels})[0].shape == (2, 10)
    else:
        with pytest.raises(NoMap, match="ends in tokens"):
            net.forward_with_map({"pixels": pixels})


class Patches(ViTImageProcessorPil):
    """Makes rows of patches of an image, as some models read them."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        made = super().__call__(*args, **options)
        made["pixel_values"] = [pixels.reshape(len(pixels), -1) for pixels in made["pixel_values"]]
        return made


class Gamma(ViTImageProcessorPil):
    """Brightens dark pixels."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        made = super().__call__(*args, **options)
        made["pixel_values"] = [np.sign(pixels) * np.abs(pixels) ** 0.5 for pixels in made["pixel_values"]]
        return made


@pytest.mark.parametrize(
    ("options", "processor", "reason"),
    [
        ({"num_channels": 1}, ViTImageProcessorPil(**SIZE), "reads images of 1 channel, and photographs have 3"),
        ({}, ViTImageProcessorPil(do_normalize=True, image_mean=[0.5]), r"fails on a photograph \(ValueError: mean"),
        ({}, ViTImageProcessorPil(size={"max_height": SIDE, "max_width": 0}), "says no size that frames get"),
        ({}, Patches(**SIZE), "numbers of a photograph instead of an image"),
        ({}, Gamma(**SIZE), "does more to pixels than resize"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_sentence_by_doctor_and_by_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict, processor: Any, reason: str
) -> None:
    settings = settings_for(saved(tmp_path / "backbone", resnet(**options), processor))
    monkeypatch.setattr(hf.AutoImageProcessor, "from_pretrained", lambda *args, **options: processor)
    with pytest.raises(DistractedError, match=reason) as refused:
        check_backbones(settings, {"probe": variant("linear_probe"), "masks": variant("masks_only")})
    assert "DISTRACTED_BACKBONE" in str(refused.value)
    assert "\n" not in str(refused.value)
    finding = next(finding for finding in _weights(settings) if finding.topic == "backbone")
    assert (finding.state, finding.words) == ("missing", str(refused.value))
    check_backbones(settings, {"masks": variant("masks_only")})


def test_a_network_that_fails_on_its_own_processor_s_images_is_refused(tmp_path: Path) -> None:
    build, _, _ = FAMILIES["vit"]
    other = ViTImageProcessorPil(size={"height": 40, "width": 40})
    with pytest.raises(DistractedError, match=r"vit fails on images of 40x40 \(ValueError: .*32.*distracted doctor"):
        load_backbone(settings_for(saved(tmp_path / "backbone", build(), other)))


def test_channels_come_in_the_order_that_the_processor_gives_them(tmp_path: Path) -> None:
    processor = MobileViTImageProcessorPil(size={"shortest_edge": 36}, crop_size={"height": SIDE, "width": SIDE})
    assert processor.do_flip_channel_order
    preprocessing = load_preprocessing(settings_for(saved(tmp_path / "backbone", resnet(), processor)))
    assert (preprocessing.size, preprocessing.order) == ((SIDE, SIDE), (2, 1, 0))
    image = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    as_it_is = {"do_resize": False, "do_center_crop": False}
    expected = processor(images=image, return_tensors="pt", **as_it_is)["pixel_values"]
    ours = preprocessing.normalise(torch.from_numpy(preprocessing.resize(image))[None])
    assert torch.allclose(ours, expected, atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"size": {"shortest_edge": SIDE}, "crop_size": {"height": SIDE, "width": SIDE}},
        {"size": {"shortest_edge": SIDE}, "do_center_crop": False},
        {"size": {"height": SIDE, "width": SIDE}, "do_center_crop": False, "do_resize": False},
    ],
)
def test_the_input_s_size_is_what_frames_become_or_the_edge_aimed_at(tmp_path: Path, options: dict) -> None:
    folder = saved(tmp_path / "backbone", resnet(), CLIPImageProcessorPil(**options))
    assert load_preprocessing(settings_for(folder)).size == (SIDE, SIDE)


def test_a_longest_edge_is_an_edge_too(tmp_path: Path) -> None:
    """Though the processor itself does not know what to do with it."""
    folder = saved(tmp_path / "backbone", resnet(), ViTImageProcessorPil(size={"longest_edge": SIDE}))
    assert load_backbone(settings_for(folder)).preprocessing.size == (SIDE, SIDE)


def test_weights_in_several_files_are_one_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, processor = resnet(), ViTImageProcessorPil(**SIZE)
    whole = saved(tmp_path / "whole", model, processor)
    parts = tmp_path / "parts"
    model.save_pretrained(parts, max_shard_size="2KB")
    processor.save_pretrained(parts)
    files = sorted(parts.glob("model-*.safetensors"))
    assert len(files) > 1
    expected = load_backbone(settings_for(whole)).trunk.state_dict()
    for name, values in load_backbone(settings_for(parts)).trunk.state_dict().items():
        assert torch.equal(values, expected[name])

    def snapshot_download(_name: str, allow_patterns: list[str]) -> str:
        wanted = {file.name for pattern in allow_patterns for file in parts.glob(pattern)}
        assert wanted == {file.name for file in parts.iterdir()}
        return str(parts)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    assert fetched_folder("someone/in-parts") == parts
    files[-1].unlink()
    with pytest.raises(DistractedError, match=f"holds no weights \\({files[-1].name}\\)"):
        backbone_fingerprint(settings_for(parts))


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"weight_map": 3}'])
def test_a_damaged_index_of_weights_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors.index.json").write_text(text)
    with pytest.raises(DistractedError, match=r"model\.safetensors\.index\.json is damaged.*DISTRACTED_BACKBONE"):
        backbone_fingerprint(Settings(data=tmp_path, backbone=str(tmp_path)))


def test_a_processor_config_alone_serves_and_counts(efficientnet: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(efficientnet, tmp_path / "backbone")
    facts = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").unlink()
    prints = []
    for mean in (0.5, 0.4):
        (folder / "processor_config.json").write_text(
            json.dumps({"image_processor": facts | {"image_mean": [mean] * 3}})
        )
        prints.append(backbone_fingerprint(settings_for(folder)))
    assert len(set(prints)) == 2
    assert load_preprocessing(Settings(data=tmp_path, backbone=str(folder))).size == (SIDE, SIDE)


def test_a_classifier_that_is_not_in_the_weights_is_not_missed(efficientnet: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(efficientnet, tmp_path / "backbone")
    weights = load_file(folder / "model.safetensors")
    kept = {name: values for name, values in weights.items() if not name.startswith("classifier.")}
    assert len(kept) == len(weights) - 2
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    expected = load_backbone(settings_for(efficientnet)).trunk.state_dict()
    assert load_backbone(settings_for(folder)).trunk.state_dict().keys() == expected.keys()
