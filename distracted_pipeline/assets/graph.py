"""The whole graph: every asset, check and sensor, loaded when it is asked for.

Belongs here: which modules make up the graph. Who runs it (executor, console) is `definitions` and `operations.run`.
"""

from collections.abc import Sequence
from typing import Any

import dagster as dg


def definitions(
    jobs: Sequence[dg.JobDefinition] = (), sensors: Sequence[dg.SensorDefinition] = (), **more: Any
) -> dg.Definitions:
    """Return the graph as Dagster definitions.

    The asset modules load inside: their partitions are read from files that `images` may only just have written.

    Args:
        jobs: Further jobs than those of `assets.jobs`.
        sensors: Further sensors than those of `assets.automation`.
        more: Further arguments of `dagster.Definitions`, such as the executor and loggers.
    """
    from distracted_pipeline.assets import (
        evaluation,
        explanation,
        features,
        images,
        masks,
        report,
        serving,
        training,
        trust,
        why,
    )
    from distracted_pipeline.assets.automation import SENSORS
    from distracted_pipeline.assets.jobs import JOBS
    from distracted_pipeline.assets.sources import SOURCES

    modules = [images, masks, features, training, evaluation, explanation, trust, why, report, serving]
    return dg.Definitions(
        assets=[*SOURCES, *dg.load_assets_from_modules(modules)],
        asset_checks=dg.load_asset_checks_from_modules(modules),
        jobs=[*JOBS, *jobs],
        sensors=[*SENSORS, *sensors],
        **more,
    )


def images_only(**more: Any) -> dg.Definitions:
    """Return `images` alone: it needs no partitions, and writes the file that the others are read from."""
    from distracted_pipeline.assets import images

    return dg.Definitions(
        assets=dg.load_assets_from_modules([images]),
        asset_checks=dg.load_asset_checks_from_modules([images]),
        **more,
    )
