"""A drawn data set that is not State Farm: 4 classes, 7 drivers, 3 mask categories, 2 cameras, labels in a list.

Nothing about it is State Farm's, so a room that still knows ten classes, six categories or `p002` fails on it. The
whole chain runs on it in seconds: exact label maps, a tiny EfficientNet, variants that train for two epochs.
"""

import io
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from distracted_pipeline.demo.models import build_tiny_efficientnet

CLASSES: Final = ("drive", "phone_l", "phone_r", "drink")
DRIVERS: Final = ("ann", "ben", "cleo", "dora", "emil", "finn", "gus")
CATEGORIES: Final = ("driver", "phone", "bottle")
CAMERAS: Final = ("front", "side")
SIZE: Final = (64, 48)

DATASET: Final = """\
name: Toy Drivers
classes:
  drive: driving
  phone_l: phone in the left hand
  phone_r: phone in the right hand
  drink: drinking
mirrors: [[phone_l, phone_r]]
categories:
  driver: {colour: "#336699", labels: [person], expected: true}
  phone: {colour: "#cc3311", labels: [cell phone]}
  bottle: {colour: "#ddaa33"}
splits:
  train: [ann, ben, cleo, dora]
  dev: [emil]
  test: [finn, gus]
labels:
  reader: list
  root: frames
  files: [frames.txt]
  separator: "\\t"
  header: true
  columns: {path: file, label: activity, driver: who, camera: camera, session: day}
  label_ids: {0: drive, 1: phone_l, 2: phone_r, 3: drink}
"""

VARIANTS: Final = """\
top_only: {epochs: 2}
linear_probe: {epochs: 2}
masks_fused: {epochs: 2, control: top_only}
masks_only: null
embedding_only: null
embedding_augmented: null
embedding_checkpoint: null
fine_tune: null
adapter_serial: null
adapter_parallel: null
masks_fused_checkpoint: null
lora: null
batch_norm: null
"""

SETTINGS: Final = """\
DISTRACTED_SYNTHETIC=1
DISTRACTED_SEGMENTER=folder:label_maps
DISTRACTED_BACKBONE=backbones/tiny
DISTRACTED_VARIANTS=variants.yaml
DISTRACTED_REPLICATES=2
"""


def toy_name(path: str) -> str:
    """Return what the frame at `path` (below `frames/`) is known by: `front/ann/1.jpg` is `front__ann__1.jpg`."""
    return path.replace("/", "__")


def write_toy_root(root: Path, *, frames: int = 2, backbone: bool = True) -> Path:
    """Write frames, label maps, `dataset.yaml`, the list of labels, variants and settings; return `root`.

    Args:
        root: Data root; created.
        frames: Frames of each driver in each class from each camera.
        backbone: Whether to write the tiny EfficientNet, which only rooms from features on need.
    """
    maps = root / "label_maps"
    maps.mkdir(parents=True)
    lines = ["file\tactivity\twho\tcamera\tday"]
    for d, driver in enumerate(DRIVERS):
        for c, camera in enumerate(CAMERAS):
            number = 0  # starts anew for each driver and camera: file names repeat
            for k in range(len(CLASSES)):
                for f in range(frames):
                    number += 1
                    path = f"{camera}/{driver}/{number}.jpg"
                    jpeg, png = _toy_files(d, c, k, f)
                    (root / "frames" / path).parent.mkdir(parents=True, exist_ok=True)
                    (root / "frames" / path).write_bytes(jpeg)
                    (maps / f"{toy_name(path).removesuffix('.jpg')}.png").write_bytes(png)
                    lines.append(f"{path}\t{k}\t{driver}\t{camera}\tday{1 + f % 2}")
    (root / "frames.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (root / "dataset.yaml").write_text(DATASET, encoding="utf-8")
    (root / "variants.yaml").write_text(VARIANTS, encoding="utf-8")
    if backbone:
        build_tiny_efficientnet(root / "backbones" / "tiny", seed=0)
    (root / "settings.env").write_text(
        SETTINGS if backbone else SETTINGS.replace("DISTRACTED_BACKBONE=backbones/tiny\n", ""), encoding="utf-8"
    )
    return root


def write_short_toy_root(root: Path, *, replicates: int = 2) -> Path:
    """Write the least that the whole chain runs on, two variants that train for one epoch; return `root`."""
    write_toy_root(root, frames=1)
    variants = VARIANTS.replace("linear_probe: {epochs: 2}", "linear_probe: null").replace("epochs: 2", "epochs: 1")
    (root / "variants.yaml").write_text(variants, encoding="utf-8")
    settings = SETTINGS.replace("REPLICATES=2", f"REPLICATES={replicates}")
    (root / "settings.env").write_text(settings, encoding="utf-8")
    return root


@cache
def _toy_files(driver: int, camera: int, klass: int, frame: int) -> tuple[bytes, bytes]:
    """Return a frame and its class map as files; dozens of tests begin with the same."""
    jpeg, png = io.BytesIO(), io.BytesIO()
    picture, ids = draw_toy_frame(driver, camera, klass, frame)
    Image.fromarray(picture).save(jpeg, "JPEG", quality=92)
    Image.fromarray(ids).save(png, "PNG")
    return jpeg.getvalue(), png.getvalue()


def draw_toy_frame(driver: int, camera: int, klass: int, frame: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a frame, uint8 `[48, 64, 3]`, and its class map, uint8 `[48, 64]` of ids 0 (none) to 3 (bottle)."""
    width, height = SIZE
    rng = np.random.default_rng([driver, camera, klass, frame])
    ids = np.zeros((height, width), np.uint8)
    left = 18 + 6 * camera + int(rng.integers(0, 4))
    ids[10:44, left : left + 22] = 1
    hand = {1: left - 2, 2: left + 18, 3: left + 9}.get(klass)
    if hand is not None:
        ids[20 : 28 + 4 * (klass == 3), hand : hand + 6] = 3 if klass == 3 else 2
    clothes = [90 + 18 * (driver % 4), 60 + 30 * (driver % 3), 60 + 20 * (driver % 5)]
    colours = np.array([[30 + 40 * camera] * 3, clothes, [240, 240, 240], [40, 220, 60]], np.uint8)
    noise = rng.integers(0, 12, (height, width, 1), dtype=np.uint8)
    return colours[ids] + noise, ids
