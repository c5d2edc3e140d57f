"""Tiny backbones of real architectures, built once in a run of the tests."""

from functools import partial
from pathlib import Path

import pytest

from distracted_pipeline.settings import Settings
from distracted_pipeline.variants import kinds
from distracted_pipeline.variants.config import VariantConfig
from distracted_pipeline_tests.once import made_once

SIDE = 32


@pytest.fixture(scope="session")
def efficientnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of an EfficientNet for 32 x 32 pixels: base blocks with one repeat and with two, both strides."""
    from distracted_pipeline.demo.models import build_tiny_efficientnet

    return made_once(tmp_path_factory, "efficientnet", partial(build_tiny_efficientnet, image_size=SIDE))


@pytest.fixture(scope="session")
def other_families(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of a MobileNetV2, which pools by the mean, and a ConvNeXt, which normalises after pooling."""
    root = made_once(tmp_path_factory, "families", _save_other_families)
    return {folder.name: folder for folder in root.iterdir()}


def _save_other_families(root: Path) -> None:
    import torch
    from transformers import (
        ConvNextConfig,
        ConvNextForImageClassification,
        ConvNextImageProcessor,
        MobileNetV2Config,
        MobileNetV2ForImageClassification,
    )

    torch.manual_seed(0)
    models = {
        "mobilenet_v2": MobileNetV2ForImageClassification(
            MobileNetV2Config(image_size=SIDE, depth_multiplier=0.1, num_labels=4)
        ),
        "convnext": ConvNextForImageClassification(
            ConvNextConfig(image_size=SIDE, depths=[1, 1], hidden_sizes=[8, 16], num_stages=2, num_labels=4)
        ),
    }
    for name, model in models.items():
        model.save_pretrained(root / name)
        processor = ConvNextImageProcessor(size={"height": SIDE, "width": SIDE}, do_center_crop=False, crop_pct=1.0)
        processor.save_pretrained(root / name)


def settings_for(folder: Path) -> Settings:
    """Settings whose backbone is `folder`; there is no data."""
    return Settings(data=folder.parent, backbone=str(folder))


def variant(kind: str, **fields: object) -> VariantConfig:
    """A variant of `kind`, short, with the options its kind demands."""
    demanded: dict[str, object] = {
        "fine_tune": {"body_lr": 0.001, "optimizer": "adamw", "top_lr": 0.01},
        "lora": {"optimizer": "adamw", "top_lr": 0.01},
        "batch_norm": {"optimizer": "adamw", "top_lr": 0.01},
    }.get(kind, {})  # type: ignore[assignment]
    return VariantConfig.model_validate(
        {"name": f"my_{kind}", "kind": kind, "epochs": 2, "batch_size": 16, **demanded, **fields}
    )


KINDS = tuple(kinds.KINDS)
