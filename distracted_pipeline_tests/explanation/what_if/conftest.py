"""A data root with networks to ask: one that reads pixels and masks, trained on two folds."""

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from distracted_pipeline.evaluation.predict import predict_fold
from distracted_pipeline.options import RunOptions
from distracted_pipeline.settings import Settings
from distracted_pipeline.training.train import train_variant
from distracted_pipeline_tests.once import copy_once
from distracted_pipeline_tests.training.rooted import prepare, settings_over
from distracted_pipeline_tests.variants.tiny import efficientnet

__all__ = ["efficientnet"]

VARIANT = "masks_fused"


def quiet(line: str) -> None:
    """Drop a log line."""


QUIET = RunOptions("cpu", log=quiet)


@pytest.fixture(scope="session")
def asked(tmp_path_factory: pytest.TempPathFactory, efficientnet: Path) -> Settings:
    """`masks_fused` trained twice on each of two folds, predicted; one frame of each driver and class is altered."""
    root = copy_once(tmp_path_factory, "asked", partial(_train, efficientnet))
    return replace(settings_over(root, efficientnet), why_frames=1)


def _train(backbone: Path, root: Path) -> None:
    settings = prepare(backbone, root)
    for fold in ("0", "1"):
        train_variant(settings, VARIANT, fold, QUIET)
        predict_fold(settings, VARIANT, fold, QUIET)


@pytest.fixture
def own(asked: Settings, tmp_path: Path) -> Settings:
    """A copy of `asked` that a test may change."""
    root = tmp_path / "data"
    shutil.copytree(asked.data, root, ignore=shutil.ignore_patterns("evaluation"))
    return replace(asked, data=root, variants_file=root / "variants.yaml")
