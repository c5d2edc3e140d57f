"""The one Definitions object. Nothing is decided here: rooms hold the assets, `orchestration` the rest."""

import dagster as dg

from distracted_pipeline.evaluation import assets as evaluation
from distracted_pipeline.features import assets as features
from distracted_pipeline.images import assets as images
from distracted_pipeline.masks import assets as masks
from distracted_pipeline.orchestration.automation import SENSORS
from distracted_pipeline.orchestration.console import plain_console
from distracted_pipeline.orchestration.executors import executor_from_environment
from distracted_pipeline.reports import assets as reports
from distracted_pipeline.training import assets as training

_ROOMS = [images, masks, features, training, evaluation, reports]

defs = dg.Definitions(
    assets=dg.load_assets_from_modules(_ROOMS),
    asset_checks=dg.load_asset_checks_from_modules(_ROOMS),
    sensors=SENSORS,
    executor=executor_from_environment(),
    loggers={"console": plain_console},
)
