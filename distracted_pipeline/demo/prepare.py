"""The demo's data root, complete: drawn frames, exact masks, a tiny backbone, and the settings that name them.

Drawing is `demo.dataset`, the backbone `demo.models`; running the chain on it is `orchestration.pipeline`.
"""

from collections.abc import Callable
from pathlib import Path

from distracted_pipeline.demo.dataset import generate
from distracted_pipeline.demo.models import build_tiny_efficientnet

BACKBONE = Path("backbones") / "tiny-efficientnet"


def prepare_demo(root: Path, *, drivers: int, frames: int, seed: int, log: Callable[[str], object]) -> None:
    """Make `root` a data root that `distracted run` can work on; what is there already is kept.

    Args:
        root: The demo's data root.
        drivers: Drawn drivers.
        frames: Frames per driver and class.
        seed: Seed of drawing and of the backbone's weights.
        log: Receives progress lines.
    """
    generate(root, drivers=drivers, frames=frames, seed=seed, log=log)
    if not (root / BACKBONE / "config.json").exists():
        log("building the tiny EfficientNet (untrained; its batch norms are calibrated on drawn shapes)")
        build_tiny_efficientnet(root / BACKBONE, seed=seed)
