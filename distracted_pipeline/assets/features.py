"""The asset `features`: backbone taps of one driver.

Belongs here: what Dagster needs to know. Which taps there are is `features.plan`, computing them `features.taps`.
"""

import dagster as dg

from distracted_pipeline.assets.compute import TRAIN, DeviceConfig
from distracted_pipeline.assets.metadata import bullets, version
from distracted_pipeline.assets.partitions import driver_partitions
from distracted_pipeline.assets.step import asset_step


@dg.asset(
    partitions_def=driver_partitions,
    deps=["images", "backbone"],
    group_name="training",
    kinds={"pytorch", "huggingface"},
    code_version="1",
    **TRAIN.options(),
)
def features(context: dg.AssetExecutionContext, config: DeviceConfig) -> dg.MaterializeResult:
    """Outputs of the frozen part of each backbone for one driver's images: computed once, read by every training.

    Shards of unlabelled test images have none: `submission` runs them through the whole network once.
    """
    subject = context.partition_key
    with asset_step(context) as settings:
        from distracted_pipeline.features.plan import fill_subject, wanted_taps
        from distracted_pipeline.features.taps import TapStore

        filled = fill_subject(settings, subject, config.options(context.log.info))
        taps, _ = wanted_taps(settings)
        held = [TapStore(settings, model).content(subject, names) for model, names in taps.items()]
    return dg.MaterializeResult(
        metadata={
            "images": filled.images,
            "computed": ", ".join(filled.computed) or "nothing",
            "reused": ", ".join(filled.reused) or "nothing",
            "skipped_variants": bullets(filled.skipped, "none"),
            "size": f"{filled.bytes / 2**20:.1f} MiB",
            "seconds": filled.seconds,
            "images_per_second": filled.images / filled.seconds if filled.computed else 0.0,
        },
        data_version=version(*held),
    )
