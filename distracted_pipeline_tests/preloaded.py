"""What a forked run would import anyway, loaded once; none of it reads the data root or starts a thread.

Seven seconds of each run: MLflow's stores, SciPy and the backbone's modules, which the rooms import only when they are
needed.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["DAGSTER_DISABLE_TELEMETRY"] = "1"

import dagster  # noqa: F401
import mlflow.store.model_registry.sqlalchemy_store
import mlflow.store.tracking.sqlalchemy_store  # noqa: F401
import pandas  # noqa: F401
import scipy.optimize
import scipy.stats  # noqa: F401
import sklearn  # noqa: F401
import torch  # noqa: F401
import torchvision  # noqa: F401
import transformers.models.efficientnet.image_processing_efficientnet
import transformers.models.efficientnet.modeling_efficientnet  # noqa: F401

import distracted_pipeline.evaluation.tables
import distracted_pipeline.explanation.explain
import distracted_pipeline.operations.run
import distracted_pipeline.reports.build
import distracted_pipeline.serving.champion
import distracted_pipeline.training.train  # noqa: F401
