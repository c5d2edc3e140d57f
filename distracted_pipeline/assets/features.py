"""The asset `features`: backbone taps of one driver.

Belongs here: what Dagster needs to know. Which taps there are is `features.plan`, computing them `features.taps`.
"""

import dagster as dg

from distracted_pipeline.assets.compute import TRAIN, DeviceConfig
from distracted_pipeline.assets.metadata import features_metadata, version
from distracted_pipeline.assets.partitions import driver_partitions
from distracted_pipeline.assets.step import Events, each_partition
from distracted_pipeline.settings import Settings


@dg.asset(
    partitions_def=driver_partitions,
    deps=["images", "backbone"],
    group_name="training",
    kinds={"pytorch", "huggingface"},
    code_version="1",
    output_required=False,
    **TRAIN.options(),
)
def features(context: dg.AssetExecutionContext, config: DeviceConfig) -> Events:
    """Outputs of the frozen part of each backbone for one driver's images: computed once, read by every training.

    Shards of unlabelled test images have none: `submission` runs them through the whole network once.
    """

    def one(settings: Settings, subject: str) -> dg.MaterializeResult:
        from distracted_pipeline.features.plan import fill_subject, wanted_taps
        from distracted_pipeline.features.taps import TapStore

        filled = fill_subject(settings, subject, config.options(context.log.info))
        if not filled.computed:
            context.log.info(f"{subject}: all taps are there already")
        taps, _ = wanted_taps(settings)
        held = [TapStore(settings, model).content(subject, names) for model, names in taps.items()]
        return dg.MaterializeResult(metadata=features_metadata(filled), data_version=version(*held))

    yield from each_partition(context, one)
