"""The asset `gradcam`: where each variant looks.

Belongs here: what Dagster needs to know. Which images are explained, and how, is `explanation`.
"""

import dagster as dg

from distracted_pipeline.assets.compute import TRAIN, ScoringConfig
from distracted_pipeline.assets.metadata import check_result, gradcam_metadata, version_of_files
from distracted_pipeline.assets.partitions import FOLDS_OF_VARIANT, variant_partitions
from distracted_pipeline.assets.step import Events, each_partition
from distracted_pipeline.checks import Check
from distracted_pipeline.errors import NoMap
from distracted_pipeline.settings import Settings

_CHECK = "cams_not_all_zero"
MOST_ZERO = 0.1
"""Share of empty CAMs above which something is wrong with them."""


@dg.asset(
    group_name="evaluation",
    kinds={"pytorch", "parquet"},
    code_version="4",
    output_required=False,
    **TRAIN.options(),
    partitions_def=variant_partitions,
    deps=[
        dg.AssetDep("trained_model", partition_mapping=FOLDS_OF_VARIANT),
        dg.AssetDep("predictions", partition_mapping=FOLDS_OF_VARIANT),
        "masks",
    ],
    check_specs=[
        dg.AssetCheckSpec(_CHECK, asset="gradcam", description="Under a tenth of the CAMs are zero everywhere.")
    ],
)
def gradcam(context: dg.AssetExecutionContext, config: ScoringConfig) -> Events:
    """Grad-CAMs of right and confused predictions, and how much of each falls on which mask category."""

    def one(settings: Settings, variant: str) -> dg.MaterializeResult:
        from distracted_pipeline.explanation import explain

        folder = explain.gradcam_folder(settings, variant)
        try:
            result = explain.gradcam_variant(settings, variant, config.options(context.log.info))
        except NoMap as none:
            words = f"CAMs of {variant} are left out: {none}"
            context.log.info(words)
            return dg.MaterializeResult(
                metadata={"left_out": words},
                check_results=[check_result(Check(_CHECK, True, words, "WARN"))],
                data_version=version_of_files(folder / explain.LEFT_OUT_FILE),
            )
        metadata = gradcam_metadata(settings, result)
        share = metadata["all_zero_share"]
        words = f"{share:.0%} of {len(result.rows)} CAMs are zero everywhere"
        return dg.MaterializeResult(
            metadata=metadata,
            check_results=[check_result(Check(_CHECK, share < MOST_ZERO, words, "WARN"))],
            data_version=version_of_files(folder / explain.ROWS_FILE, folder / explain.CAMS_FILE),
        )

    yield from each_partition(context, one)
