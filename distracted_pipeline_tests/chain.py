"""A data root on which the whole chain runs in seconds: tiny frames, exact masks, a tiny EfficientNet."""

from pathlib import Path

import numpy as np
from PIL import Image

from distracted_pipeline.demo.models import build_tiny_efficientnet
from distracted_pipeline_tests.conftest import write_kaggle_tree

VARIANTS = """\
top_only: {epochs: 2}
masks_fused: {epochs: 2, control: top_only}
linear_probe: null
embedding_only: null
embedding_augmented: null
embedding_checkpoint: null
fine_tune: null
adapter_serial: null
adapter_parallel: null
masks_only: null
masks_fused_checkpoint: null
lora: null
batch_norm: null
"""
"""Two variants over all folds, trained twice: enough to compare, little enough to wait for."""


def write_chain_root(root: Path) -> Path:
    """Write raw data, label maps, a backbone and the settings that name them; return `root`."""
    write_kaggle_tree(root)
    maps = root / "label_maps"
    maps.mkdir()
    for number, path in enumerate(sorted((root / "imgs").rglob("*.jpg"))):
        ids = np.zeros((48, 64), np.uint8)
        ids[10:40, 20:50] = 1
        ids[30:44, 5 + number % 20 : 15 + number % 20] = 6
        if path.parent.name in {"c1", "c2", "c3", "c4"}:
            ids[20:26, 30:36] = 3
        Image.fromarray(ids).save(maps / f"{path.stem}.png")
    build_tiny_efficientnet(root / "backbones" / "tiny", seed=0)
    (root / "variants.yaml").write_text(VARIANTS, encoding="utf-8")
    (root / "settings.env").write_text(
        "DISTRACTED_SYNTHETIC=1\nDISTRACTED_SEGMENTER=folder:label_maps\nDISTRACTED_BACKBONE=backbones/tiny\n"
        "DISTRACTED_VARIANTS=variants.yaml\nDISTRACTED_REPLICATES=2\n",
        encoding="utf-8",
    )
    return root
