"""A data root whose champion is registered: what `predict` and the registry's tests start from."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from distracted_pipeline.options import RunOptions
from distracted_pipeline.settings import Settings
from distracted_pipeline_tests.once import copy_once
from distracted_pipeline_tests.training.rooted import prepare, settings_over

TRAINED = ("linear_probe", "masks_fused")

_ROOTS: dict[Path, Path] = {}


def quiet(line: str) -> None:
    """Drop a log line."""


QUIET = RunOptions(log=quiet)


@pytest.fixture(scope="session")
def crowned(tmp_path_factory: pytest.TempPathFactory, efficientnet: Path) -> Settings:
    """Two variants trained on the original fold and compared, the better one registered."""
    from distracted_pipeline.training.tracking import open_client

    # One for all rooms of a process: MLflow remembers in each process where a model of an id lies.
    base = tmp_path_factory.getbasetemp()
    if base not in _ROOTS:
        _ROOTS[base] = copy_once(tmp_path_factory, "crowned", partial(_crown, efficientnet))
    root = _ROOTS[base]
    settings = replace(settings_over(root, efficientnet), baseline=TRAINED[0])
    open_client(settings)  # the store follows
    return settings


def _crown(backbone: Path, root: Path) -> None:
    from distracted_pipeline.evaluation.predict import predict_fold
    from distracted_pipeline.evaluation.tables import class_accuracy
    from distracted_pipeline.serving.champion import crown
    from distracted_pipeline.training.train import train_variant

    settings = replace(prepare(backbone, root), baseline=TRAINED[0])
    for variant in TRAINED:
        train_variant(settings, variant, "original", QUIET)
        predict_fold(settings, variant, "original", QUIET)
    class_accuracy(settings, log=quiet)
    crown(settings, log=quiet)
