"""A tiny untrained EfficientNet: the real architecture in a small configuration.

Tests run on it, and the demo's shipped backbone (`demo.backbone_training`) has the same configuration. Its weights
are random but variance preserving, and its batch norms are calibrated on procedurally drawn pictures.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

IMAGE_SIZE = 96

CONFIGURATION: dict[str, Any] = {
    "image_size": IMAGE_SIZE,
    # Hugging Face multiplies every width by this, the 1,280 of the top convolution and the stem's 32 included.
    "width_coefficient": 0.2,
    "depth_coefficient": 1.0,
    "in_channels": [40, 80, 80, 120, 200],
    "out_channels": [80, 80, 120, 200, 320],
    "kernel_sizes": [3, 3, 5, 3, 3],
    "strides": [1, 2, 2, 2, 1],
    "num_block_repeats": [1, 1, 1, 2, 1],
    "expand_ratios": [1, 3, 3, 3, 3],
    "hidden_dim": 256,
    "dropout_rate": 0.0,
    "drop_connect_rate": 0.0,
    "num_labels": 10,
}
"""16, 16, 24, 40 and 64 channels at 48, 24, 12, 6 and 6 cells; about 130,000 parameters."""


def build_tiny_efficientnet(folder: Path, seed: int = 0, **overrides: Any) -> Path:
    """Write a tiny `build_efficientnet`; `overrides` differ from `CONFIGURATION`, e.g. `image_size`."""
    return build_efficientnet(folder, CONFIGURATION | overrides, seed)


def build_efficientnet(
    folder: Path, configuration: dict[str, Any], seed: int = 0, pictures: Sequence[np.ndarray] = ()
) -> Path:
    """Write a Hugging Face folder with an untrained, calibrated EfficientNet and its processor.

    Args:
        folder: Where to; replaced as a whole if it exists, so that it is never half written.
        configuration: Of `EfficientNetConfig`, in what differs from its defaults.
        seed: Of weights and calibration pictures; the same seed gives the same files.
        pictures: What it is calibrated on, uint8 `[side, side, 3]` each; 64 drawn ones unless given.

    Returns:
        The folder.
    """
    import torch
    from transformers import EfficientNetConfig, EfficientNetForImageClassification, EfficientNetImageProcessor

    from distracted_pipeline.huggingface import quiet_transformers

    config = EfficientNetConfig(**configuration)
    side = int(config.image_size)  # type: ignore[arg-type]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = EfficientNetForImageClassification(config)
        _spread_weights(model)
        seen = np.stack(pictures or [picture(side, [seed, number]) for number in range(64)])
        _calibrate(model, torch.from_numpy(seen).permute(0, 3, 1, 2).float() / 127.5 - 1)
    processor = EfficientNetImageProcessor(
        size={"height": side, "width": side},
        resample=Image.Resampling.BILINEAR,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
        include_top=False,
    )
    building = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(building, ignore_errors=True)
    with quiet_transformers():
        model.save_pretrained(building)
        processor.save_pretrained(building)
    shutil.rmtree(folder, ignore_errors=True)
    building.rename(folder)
    return folder


def picture(side: int, seed: Any) -> np.ndarray:
    """Return a drawn picture, uint8 `[side, side, 3]`: a gradient, shapes, lines and grain, nothing of the demo's."""
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, 256, (2, 2, 3), dtype=np.uint8)
    image = Image.fromarray(corners).resize((side, side), Image.Resampling.BILINEAR)
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(4, 12))):
        x, y = rng.uniform(-0.2, 1.0, 2) * side
        width, height = rng.uniform(0.03, 0.5, 2) * side
        colour = tuple(int(value) for value in rng.integers(0, 256, 3))
        shape = rng.integers(3)
        if shape == 0:
            draw.rectangle((x, y, x + width, y + height), fill=colour)
        elif shape == 1:
            draw.ellipse((x, y, x + width, y + height), fill=colour)
        else:
            draw.line((x, y, x + width, y + height), fill=colour, width=int(rng.integers(1, 4)))
    image = image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0, 0.8))))
    grain = rng.normal(0, rng.uniform(1, 8), (side, side, 3))
    return np.clip(np.asarray(image) + grain, 0, 255).astype(np.uint8)


def _spread_weights(model: Any) -> None:
    """Keep variance from layer to layer: Hugging Face's 0.02 everywhere would leave nothing to see."""
    from torch import nn

    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.normal_(module.bias, std=0.3)  # spreads where each channel bends


def _calibrate(model: Any, pixels: Any) -> None:
    """Set every batch norm's statistics to those of `pixels`, layer by layer in one pass."""
    import torch
    from torch import nn

    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    usual = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # cumulative: one batch gives exactly its statistics
    model.eval()
    for norm in norms:
        norm.train()  # and nothing else: no block is dropped
    with torch.no_grad():
        model(pixels)
    for norm, momentum in zip(norms, usual, strict=True):
        norm.momentum = momentum
    model.eval()
