"""A data root whose champion is registered: what `predict` and the registry's tests start from."""

import dataclasses
import shutil

import pytest

from distracted_pipeline.options import RunOptions
from distracted_pipeline.settings import Settings

TRAINED = ("linear_probe", "masks_fused")


def quiet(line: str) -> None:
    """Drop a log line."""


QUIET = RunOptions(log=quiet)


@pytest.fixture(scope="session")
def crowned(prepared: Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Two variants trained on the original fold and compared, the better one registered."""
    from distracted_pipeline.evaluation.predict import predict_fold
    from distracted_pipeline.evaluation.tables import class_accuracy
    from distracted_pipeline.serving.champion import crown
    from distracted_pipeline.training.train import train_variant

    root = tmp_path_factory.mktemp("crowned") / "data"
    dropped = ("models", "predictions", "evaluation", "mlartifacts", "mlflow.db")
    shutil.copytree(prepared.data, root, ignore=shutil.ignore_patterns(*dropped))
    settings = dataclasses.replace(prepared, data=root, baseline=TRAINED[0])
    for variant in TRAINED:
        train_variant(settings, variant, "original", QUIET)
        predict_fold(settings, variant, "original", QUIET)
    class_accuracy(settings, log=quiet)
    crown(settings, log=quiet)
    return settings
