"""Trains the demo's tiny Mask2Former on drawn scenes, from random weights.

Belongs here: architecture, scenes to learn from, loss, measurement. How scenes are drawn is
`demo.scenes`; files around the weights are `demo.pretrain`.

One query is tied to one category (no Hungarian matching), so that every query only has to learn its own
thing: with few steps of few images that is what makes small objects appear at all. Inference is Mask2Former's own.
"""

import io
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset
from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, SwinConfig
from transformers.models.mask2former.image_processing_pil_mask2former import Mask2FormerImageProcessorPil

from distracted_pipeline.dataset import STATE_FARM
from distracted_pipeline.demo.dataset import DRIVERS
from distracted_pipeline.demo.drivers import demo_drivers, driver_look
from distracted_pipeline.demo.mask_quality import mean_iou
from distracted_pipeline.demo.optimise import drawn, optimise
from distracted_pipeline.demo.poses import Held, Scene, scene_of
from distracted_pipeline.demo.scenes import paint
from distracted_pipeline.masks.overlap import Overlap
from distracted_pipeline.masks.segmenter import Segmenter
from distracted_pipeline.progress import Log, Progress

STEPS = 1600
SCENES = 1600
BATCH = 8
SIZE: Final = (240, 320)
"""Height and width of the model's input."""

LABELS: Final = ("person", "car", "bottle", "cup", "chair", "cell phone", "wall-other-merged")
"""COCO's names in COCO's order; the last is COCO's stuff class for whatever is none of the six."""

_MASK_ID_OF_LABEL = [(STATE_FARM.mask_names.index(name) if name in STATE_FARM.mask_names else 0) for name in LABELS]
_CELL = 4
"""Targets are the share of each category in cells of 4 x 4 pixels of a 640 x 480 frame."""
_FEWEST_PIXELS = 24
"""A category with fewer pixels than this in a frame is treated as absent."""
_TRAINING_SEED = 7_000
"""Added to the seed: the demo draws its drivers with small seeds, 0 by default, and none of those is seen here."""
_DRIVERS = 100_000
_PEAK_RATE = 1e-3
_AVERAGING = 0.99
_JPEG_QUALITY = 88


class Scenes(Dataset[tuple[Tensor, Tensor]]):
    """Scenes of drivers that no demo shows: pixels uint8 `[3, 240, 320]`, shares uint8 `[7, 120, 160]` (0..16).

    In most of them the hand holds something at random, so that small things are frequent and no pose
    tells what is held. Number k is always the same.
    """

    def __init__(self, count: int, seed: int) -> None:
        self._count, self._seed = count, seed + _TRAINING_SEED

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        frame, ids = paint(random_scene(number, self._seed))
        height, width = SIZE
        small = Image.fromarray(as_jpeg(frame)).resize((width, height), Image.Resampling.BILINEAR)
        return torch.from_numpy(np.asarray(small).transpose(2, 0, 1).copy()), shares(torch.from_numpy(ids.copy()))


def random_scene(number: int, seed: int) -> Scene:
    """Return scene `number` of a stream: any driver, class, frame and, mostly, anything in the hand."""
    rng = np.random.default_rng([seed, number])
    driver = driver_look(int(rng.integers(_DRIVERS)), seed)
    scene = scene_of(
        driver, STATE_FARM.class_ids[int(rng.integers(len(STATE_FARM.class_ids)))], int(rng.integers(12)), seed
    )
    if rng.random() < 0.7:
        things: tuple[Held | None, ...] = ("phone", "case", "cup", "bottle", None)
        scene = replace(scene, held=things[int(rng.choice(len(things), p=(0.34, 0.26, 0.17, 0.17, 0.06)))])
    return scene


def as_jpeg(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a frame as it comes back from the file that the demo writes."""
    file = io.BytesIO()
    Image.fromarray(frame).save(file, "JPEG", quality=_JPEG_QUALITY)
    return np.asarray(Image.open(file))


def shares(ids: Tensor) -> Tensor:
    """Return how many of each cell's 16 pixels are each label's: uint8 `[7, H / 4, W / 4]` of ids `[H, W]`."""
    own = torch.stack([ids == number for number in _MASK_ID_OF_LABEL]).float()
    return functional.avg_pool2d(own, _CELL).mul(_CELL**2).round().to(torch.uint8)


def configuration() -> Mask2FormerConfig:
    """Return a Mask2Former of 1.1 million parameters, with masks of a quarter of the input's size."""
    backbone = SwinConfig(
        embed_dim=24,
        patch_size=4,
        depths=[1, 1, 2, 1],
        num_heads=[1, 2, 4, 8],
        window_size=5,
        drop_path_rate=0.0,
        out_features=[f"stage{number}" for number in range(1, 5)],  # type: ignore[call-arg]
    )
    names = dict(enumerate(LABELS))
    return Mask2FormerConfig(
        backbone_config=backbone,
        feature_strides=[4, 8, 16, 32],
        common_stride=4,
        feature_size=64,
        mask_feature_size=64,
        hidden_dim=64,
        encoder_feedforward_dim=128,
        dim_feedforward=128,
        encoder_layers=1,
        decoder_layers=4,
        num_attention_heads=4,
        num_queries=len(LABELS),
        id2label=names,
        label2id={name: number for number, name in names.items()},
    )


def train_segmenter(
    folder: Path, steps: int, seed: int, *, scenes: int = SCENES, workers: int = 2, log: Log = print
) -> Any:
    """Return a trained Mask2Former in eval mode.

    Args:
        folder: Gets configuration, processor and, every 100 steps, the weights so far.
        steps: Of 8 scenes.
        seed: Of weights, scenes and their order.
        scenes: Drawn once and used again and again, in other light.
        workers: Drawing processes; 0 draws in this one.
        log: Receives progress lines.
    """
    torch.manual_seed(seed)
    model = Mask2FormerForUniversalSegmentation(configuration())
    height, width = SIZE
    Mask2FormerImageProcessorPil(
        size={"height": height, "width": width},
        size_divisor=16,  # the usual 32 would stretch 240 rows to 256
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
        num_labels=len(LABELS),
    ).save_pretrained(folder)
    pixels, targets = drawn(Scenes(scenes, seed), workers, log)

    def loss() -> Tensor:
        rows = torch.randint(scenes, (BATCH,))
        output = model(pixel_values=_relit(pixels[rows]), output_auxiliary_logits=True)
        return _loss(output, targets[rows])

    return optimise(
        model,
        loss,
        steps,
        folder=folder,
        peak_rate=_PEAK_RATE,
        warm_up=0.1,
        averaging=_AVERAGING,
        average_statistics=False,
        log=log,
    )


def _relit(pictures: Tensor) -> Tensor:
    """Return normalised pixels under slightly other light, with slightly more noise."""
    count = len(pictures)
    gain = 1 + 0.12 * (torch.rand(count, 3, 1, 1) - 0.5) + 0.2 * (torch.rand(count, 1, 1, 1) - 0.5)
    noise = torch.randn(pictures.shape) * (3 * torch.rand(count, 1, 1, 1))
    return ((pictures.float() * gain + noise).clamp(0, 255) - 127.5) / 127.5


def _loss(output: Any, targets: Tensor) -> Tensor:
    """Return the loss summed over the decoder's layers: is the category there, and where.

    Args:
        output: Of the model, with auxiliary logits.
        targets: Shares, uint8 `[B, 7, h, w]`.
    """
    share = targets.float() / _CELL**2
    present = targets.sum((2, 3), dtype=torch.int64) >= _FEWEST_PIXELS
    layers = [(output.class_queries_logits, output.masks_queries_logits)]
    layers += [(layer["class_queries_logits"], layer["masks_queries_logits"]) for layer in output.auxiliary_logits]
    label = torch.where(present, torch.arange(len(LABELS)), len(LABELS))
    total = torch.zeros(())
    for classes, masks in layers:
        total = total + 2 * functional.cross_entropy(classes.flatten(0, 1), label.flatten())
        wide = functional.interpolate(masks, size=share.shape[2:], mode="bilinear", align_corners=False)
        # Absent ones too: told from a case of its outline cell by cell, a phone is learnt a hundred times per frame.
        total = total + 2 * _mask_loss(wide.flatten(0, 1), share.flatten(0, 1))
    return total


def _mask_loss(logits: Tensor, share: Tensor) -> Tensor:
    """Return Dice plus cross-entropy per category, relative to its size: a phone counts as much as a driver."""
    cells = share[0].numel()
    entropy = functional.binary_cross_entropy_with_logits(logits, share, reduction="none").sum((1, 2))
    relative = entropy / (share.sum((1, 2)) + 0.01 * cells)
    mine = logits.sigmoid()
    dice = 1 - (2 * (mine * share).sum((1, 2)) + 1) / ((mine + share).sum((1, 2)) + 1)
    return (relative + dice).mean()


def demo_scenes(frames: int) -> list[tuple[str, Scene]]:
    """Return class and scene of the first `frames` frames of every class of the demo's own drivers."""
    looks = [driver_look(int(name[1:])) for name in demo_drivers(DRIVERS)]
    return [
        (name, scene_of(look, name, frame))
        for look in looks
        for name in STATE_FARM.class_ids
        for frame in range(frames)
    ]


def measure(segmenter: Segmenter, scenes: Sequence[tuple[str, Scene]], log: Log = print) -> dict[str, Any]:
    """Return how well a segmenter does on scenes at 640 x 480, as JPEGs.

    Returns:
        `iou` by category, pixels pooled over all frames; `mean_iou`; `phone_found` by class, the share of frames with
        any pixel called cell phone; `frames`; `cpu_ms` a frame.
    """
    overlap = Overlap(STATE_FARM.category_names)
    found, seen = dict.fromkeys(STATE_FARM.class_ids, 0), dict.fromkeys(STATE_FARM.class_ids, 0)
    phone = STATE_FARM.mask_names.index("cell phone")
    progress = Progress(len(scenes), "frames measured", log)
    seconds = 0.0
    for number, (classname, scene) in enumerate(scenes):
        frame, ids = paint(scene)
        image, before = as_jpeg(frame), time.process_time()
        (mine,) = segmenter.segment([image], [str(number)])
        seconds += time.process_time() - before
        overlap.add(ids, mine)
        found[classname] += bool((mine == phone).any())
        seen[classname] += 1
        progress.advance()
    iou = overlap.iou()
    return {
        "iou": {name: round(value, 4) for name, value in iou.items()},
        "mean_iou": round(mean_iou(iou), 4),
        "phone_found": {name: round(found[name] / seen[name], 4) for name in STATE_FARM.class_ids if seen[name]},
        "frames": len(scenes),
        "cpu_ms": round(1000 * seconds / len(scenes), 1),
    }
