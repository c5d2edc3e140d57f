"""The assets of the group `why`: further questions to finished networks, made when somebody asks (`distracted why`).

Belongs here: what Dagster needs to know. What is asked, and what follows, is `explanation.what_if`. The report shows
what is current of them but does not wait for it, so they are no dependencies of it.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from distracted_pipeline.assets.compute import TRAIN, ScoringConfig
from distracted_pipeline.assets.metadata import version_of_files
from distracted_pipeline.assets.partitions import FOLDS_OF_VARIANT, variant_partitions
from distracted_pipeline.assets.step import asset_step

if TYPE_CHECKING:
    from distracted_pipeline.explanation.what_if.looks import Stage
    from distracted_pipeline.explanation.what_if.tables import Effect
    from distracted_pipeline.options import RunOptions
    from distracted_pipeline.settings import Settings

_ALTERED: dict[str, Any] = {
    "group_name": "why",
    "kinds": {"pytorch", "parquet"},
    "code_version": "1",
    "partitions_def": variant_partitions,
    "deps": [
        dg.AssetDep("trained_model", partition_mapping=FOLDS_OF_VARIANT),
        dg.AssetDep("predictions", partition_mapping=FOLDS_OF_VARIANT),
        "masks",
    ],
    **TRAIN.options(),
}


@dg.asset(**_ALTERED)
def counterfactuals(context: dg.AssetExecutionContext, config: ScoringConfig) -> dg.MaterializeResult:
    """Each mask category erased from held-out frames, beside an equal region elsewhere: what the answer hangs on."""
    with asset_step(context) as settings:
        from distracted_pipeline.explanation.what_if.counterfactuals import STAGE, counterfactuals

        return _made(context, config, settings, STAGE, counterfactuals)


@dg.asset(**_ALTERED)
def mask_ablation(context: dg.AssetExecutionContext, config: ScoringConfig) -> dg.MaterializeResult:
    """One category of the masks dropped, eroded, shifted or swapped: which mask the variants that read masks need."""
    with asset_step(context) as settings:
        from distracted_pipeline.explanation.what_if.mask_ablation import STAGE, mask_ablation

        return _made(context, config, settings, STAGE, mask_ablation)


@dg.asset(**_ALTERED)
def robustness(context: dg.AssetExecutionContext, config: ScoringConfig) -> dg.MaterializeResult:
    """Recall by class on corrupted and on mirrored frames."""
    with asset_step(context) as settings:
        from distracted_pipeline.explanation.what_if.robustness import STAGE, robustness

        return _made(context, config, settings, STAGE, robustness)


def _made(
    context: dg.AssetExecutionContext,
    config: ScoringConfig,
    settings: "Settings",
    stage: "Stage",
    ask: "Callable[[Settings, str, RunOptions], Sequence[Effect]]",
) -> dg.MaterializeResult:
    """Ask one variant's networks and return what Dagster shows of it."""
    from distracted_pipeline.explanation.what_if.looks import EFFECTS_FILE, folder_of

    effects = ask(settings, context.partition_key, config.options(context.log.info))
    path = folder_of(settings, stage.asset, context.partition_key) / EFFECTS_FILE
    return dg.MaterializeResult(
        metadata={
            "path": dg.MetadataValue.path(path),
            "effects": len(effects),
            "frames_of_each_driver_and_class": settings.why_frames,
        },
        data_version=version_of_files(path),
    )
