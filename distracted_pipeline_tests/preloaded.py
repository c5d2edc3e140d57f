"""What a forked run would import anyway, loaded once; none of it reads the data root."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["DAGSTER_DISABLE_TELEMETRY"] = "1"

import dagster  # noqa: F401
import pandas  # noqa: F401
import torch  # noqa: F401
import torchvision  # noqa: F401
import transformers  # noqa: F401

import distracted_pipeline.evaluation.tables
import distracted_pipeline.explanation.explain
import distracted_pipeline.operations.run
import distracted_pipeline.reports.build
import distracted_pipeline.serving.champion
import distracted_pipeline.training.train  # noqa: F401
