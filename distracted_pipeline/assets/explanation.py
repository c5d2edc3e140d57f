"""The asset `gradcam`: where each variant looks.

Belongs here: what Dagster shows of it. Which images are explained and how is `explanation`.
"""

import dagster as dg

from distracted_pipeline.assets.compute import TRAIN, ScoringConfig
from distracted_pipeline.assets.partitions import FOLDS_OF_VARIANT, variant_partitions
from distracted_pipeline.assets.step import asset_step


@dg.asset(
    group_name="evaluation",
    kinds={"pytorch", "parquet"},
    owners=["team:distracted"],
    code_version="3",
    **TRAIN.options(),
    partitions_def=variant_partitions,
    deps=[
        dg.AssetDep("trained_model", partition_mapping=FOLDS_OF_VARIANT),
        dg.AssetDep("predictions", partition_mapping=FOLDS_OF_VARIANT),
        "masks",
    ],
    check_specs=[
        dg.AssetCheckSpec(
            "cams_not_all_zero", asset="gradcam", description="Under a tenth of the CAMs are zero everywhere."
        )
    ],
)
def gradcam(context: dg.AssetExecutionContext, config: ScoringConfig) -> dg.MaterializeResult:
    """Grad-CAMs of right and confused predictions, and how much of each falls on person, phone and the rest."""
    from distracted_pipeline.assets.metadata import gradcam_metadata
    from distracted_pipeline.explanation.explain import gradcam_variant

    with asset_step(context) as settings:
        config = config.on_leased_gpu(context.log.info)
        result = gradcam_variant(
            settings,
            context.partition_key,
            device=config.device,
            batch_size=config.batch_size,
            log=context.log.info,
        )
        metadata = gradcam_metadata(settings, result)
    share = float(metadata["all_zero_share"])
    return dg.MaterializeResult(
        metadata=metadata,
        check_results=[
            dg.AssetCheckResult(
                check_name="cams_not_all_zero",
                passed=share < 0.1,
                severity=dg.AssetCheckSeverity.WARN,
                description=f"{share:.0%} of {result.rows.num_rows} CAMs are zero everywhere",
            )
        ],
    )
