"""The demo's data root, complete: drawn frames, the two shipped models, and settings that name them.

Drawing is `demo.dataset`, the shipped models `demo.shipped`; running the chain on it is `operations.run`.
"""

import shutil
from pathlib import Path

from distracted_pipeline.demo.dataset import BACKBONE_FOLDER, SEGMENTER_FOLDER, generate
from distracted_pipeline.demo.shipped import CARD, FILES, shipped
from distracted_pipeline.files import atomic_path
from distracted_pipeline.progress import Log


def prepare_demo(root: Path, *, drivers: int, frames: int, seed: int, log: Log) -> None:
    """Make `root` a data root that `distracted run` can work on; what is there already is kept.

    Args:
        root: The demo's data root.
        drivers: Drawn drivers.
        frames: Frames per driver and class.
        seed: Seed of the drawing.
        log: Receives progress lines.

    Raises:
        DistractedError: `root` holds other data, or a shipped model is damaged.
    """
    generate(root, drivers=drivers, frames=frames, seed=seed, log=log, equip=_copy_models)
    _copy_models(root)  # a finished demo may have lost one, or have one of an earlier version


def _copy_models(root: Path) -> None:
    _copy_model(shipped("segmenter"), root / SEGMENTER_FOLDER)
    _copy_model(shipped("backbone"), root / BACKBONE_FOLDER)


def _copy_model(source: Path, target: Path) -> None:
    """Copy a model's files; unchanged ones are left alone, so that nothing downstream looks stale."""
    for name in (*FILES, CARD):
        if not (target / name).is_file() or (target / name).read_bytes() != (source / name).read_bytes():
            with atomic_path(target / name) as temporary:
                shutil.copyfile(source / name, temporary)
