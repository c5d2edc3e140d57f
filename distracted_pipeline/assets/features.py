"""The `features` asset: backbone taps of one driver. The work is `features.taps`."""

import dagster as dg

from distracted_pipeline.assets.compute import TRAIN, DeviceConfig
from distracted_pipeline.assets.partitions import driver_partitions
from distracted_pipeline.assets.step import asset_step


@dg.asset(
    partitions_def=driver_partitions,
    deps=["images"],
    group_name="features",
    kinds={"pytorch", "huggingface"},
    owners=["team:distracted"],
    code_version="1",
    **TRAIN.options(),
)
def features(context: dg.AssetExecutionContext, config: DeviceConfig) -> dg.MaterializeResult:
    """What the frozen part of each backbone makes of one driver's images: computed once, read by every training.

    Shards of unlabelled test images have none: `submission` runs them through the whole network once.
    """
    from distracted_pipeline.features.plan import fill_subject

    with asset_step(context) as settings:
        config = config.on_leased_gpu(context.log.info)
        filled = fill_subject(
            settings,
            context.partition_key,
            device=config.device,
            precision=config.precision,
            batch_size=config.batch_size,
            log=context.log.info,
        )
    return dg.MaterializeResult(
        metadata={
            "images": filled.images,
            "computed": ", ".join(filled.computed) or "nothing",
            "reused": ", ".join(filled.reused) or "nothing",
            "skipped_variants": dg.MetadataValue.md("\n".join(f"- {why}" for why in filled.skipped) or "none"),
            "size": f"{filled.bytes / 2**20:.1f} MiB",
            "seconds": filled.seconds,
            "images_per_second": filled.images / filled.seconds if filled.computed else 0.0,
        }
    )
