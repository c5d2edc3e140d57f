"""A real Mask2Former with a small configuration, a segmenter that needs no model, and data roots that are ingested."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from distracted_pipeline.images.ingest import ingest
from distracted_pipeline.images.manifest import of_subject, read_manifest
from distracted_pipeline.masks.cache import MaskCache, cache_of
from distracted_pipeline.options import RunOptions
from distracted_pipeline.settings import Settings
from distracted_pipeline_tests.conftest import write_kaggle_tree
from distracted_pipeline_tests.once import made_once

LABELS = ("person", "bicycle", "car", "bottle", "cup", "chair", "cell phone", "tv", "sky-other-merged")
"""Some of COCO's panoptic labels, in COCO's order; the last is stuff."""


def quiet(line: str) -> None:
    """Drop a log line."""


QUIET = RunOptions(device="cpu", log=quiet)


class Bright:
    """The smallest segmenter: bright pixels are a cup. Counts its calls."""

    name = "bright"
    fingerprint = "0123456789ab"

    def __init__(self, most: int = 99) -> None:
        self.batches: list[int] = []
        self.most = most

    def segment(self, images: Sequence[np.ndarray], names: Sequence[str]) -> list[np.ndarray]:
        assert len({image.shape for image in images}) == 1
        if len(images) > self.most:
            raise MemoryError("out of memory")
        self.batches.append(len(images))
        return [((image.max(2) > 200) * 4).astype(np.uint8) for image in images]


@pytest.fixture
def frames(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Settings:
    """Settings over ingested frames, free to be changed."""
    made = made_once(tmp_path_factory, "frames", lambda root: ingest(Settings(data=write_kaggle_tree(root)), log=quiet))
    return Settings(data=shutil.copytree(made, tmp_path / "data"))


def bright_cache(settings: Settings) -> MaskCache:
    """Return the cache of `Bright`."""
    return cache_of(settings, Bright.fingerprint)


def first_path(settings: Settings, subject: str) -> tuple[str, Path]:
    """Return name and file of a subject's first image."""
    row = of_subject(read_manifest(settings), subject).slice(0, 1).to_pylist()[0]
    return row["img"], settings.data / row["path"]


@pytest.fixture(scope="session")
def tiny_mask2former(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a Mask2Former whose seeded random weights find something in most frames."""
    return made_once(tmp_path_factory, "tiny-mask2former", save_tiny_mask2former)


def save_tiny_mask2former(folder: Path, seed: int = 3, labels: tuple[str, ...] = LABELS) -> Path:
    """Save model and processor in `folder`; return it."""
    import torch
    from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, SwinConfig
    from transformers.models.mask2former.image_processing_pil_mask2former import Mask2FormerImageProcessorPil

    torch.manual_seed(seed)
    config = Mask2FormerConfig(
        backbone_config=SwinConfig(
            image_size=64,
            embed_dim=16,
            depths=[1, 1, 1, 1],
            num_heads=[1, 1, 2, 2],
            window_size=4,
            out_features=["stage1", "stage2", "stage3", "stage4"],
        ),
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        encoder_layers=1,
        decoder_layers=2,
        num_attention_heads=2,
        encoder_feedforward_dim=32,
        dim_feedforward=32,
        num_queries=16,
        id2label=dict(enumerate(labels)),
        label2id={label: i for i, label in enumerate(labels)},
    )
    model = Mask2FormerForUniversalSegmentation(config).eval()
    with torch.no_grad():  # random weights are never sure of anything; these are, of several labels
        model.class_predictor.weight.mul_(40)
        model.class_predictor.bias[-1] += 8
        for parameter in model.model.transformer_module.decoder.mask_predictor.mask_embedder.get_submodule(
            "2"
        ).parameters():
            parameter.mul_(200)
        model.model.transformer_module.queries_features.weight.mul_(4)
    model.save_pretrained(folder)
    Mask2FormerImageProcessorPil(size={"height": 64, "width": 64}).save_pretrained(folder)
    return folder


@pytest.fixture
def ingested(tmp_path: Path, tiny_mask2former: Path) -> Settings:
    """Settings over 30 frames of three drivers and 3 unlabelled ones, ingested, with the tiny Mask2Former."""
    root = write_kaggle_tree(tmp_path / "data", drivers=("p002", "p014", "p026"), frames=1)
    settings = Settings(data=root, segmenter=str(tiny_mask2former))
    ingest(settings, log=quiet)
    return settings
