"""A data root with networks to ask: one that reads pixels and masks, trained on two folds."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from distracted_pipeline.evaluation.predict import predict_fold
from distracted_pipeline.options import RunOptions
from distracted_pipeline.settings import Settings
from distracted_pipeline.training.train import train_variant
from distracted_pipeline_tests.training.rooted import ingested, prepared
from distracted_pipeline_tests.variants.tiny import efficientnet

__all__ = ["efficientnet", "ingested", "prepared"]

VARIANT = "masks_fused"


def quiet(line: str) -> None:
    """Drop a log line."""


QUIET = RunOptions("cpu", log=quiet)


@pytest.fixture(scope="session")
def asked(prepared: Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """`masks_fused` trained twice on each of two folds, predicted; one frame of each driver and class is altered."""
    root = tmp_path_factory.mktemp("asked") / "data"
    shutil.copytree(prepared.data, root, ignore=shutil.ignore_patterns("models", "predictions", "mlartifacts"))
    settings = replace(prepared, data=root, variants_file=root / "variants.yaml", why_frames=1)
    for fold in ("0", "1"):
        train_variant(settings, VARIANT, fold, QUIET)
        predict_fold(settings, VARIANT, fold, QUIET)
    return settings


@pytest.fixture
def own(asked: Settings, tmp_path: Path) -> Settings:
    """A copy of `asked` that a test may change."""
    root = tmp_path / "data"
    shutil.copytree(asked.data, root, ignore=shutil.ignore_patterns("evaluation"))
    return replace(asked, data=root, variants_file=root / "variants.yaml")
