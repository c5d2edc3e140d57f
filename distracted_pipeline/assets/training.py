"""The asset `trained_model`: one variant trained on one fold.

Belongs here: what Dagster needs to know. The order of things in a training is `training.train`.
"""

import dagster as dg

from distracted_pipeline.assets.compute import TRAIN, TrainingConfig
from distracted_pipeline.assets.metadata import check_result, training_metadata
from distracted_pipeline.assets.partitions import variant_fold_partitions
from distracted_pipeline.assets.step import asset_step

_EVERY_SUBJECT = dg.AssetDep("features", partition_mapping=dg.AllPartitionMapping())


@dg.asset(
    partitions_def=variant_fold_partitions,
    deps=["images", "masks", _EVERY_SUBJECT],
    group_name="training",
    kinds={"pytorch", "mlflow"},
    code_version="1",
    **TRAIN.options(),
    check_specs=[
        dg.AssetCheckSpec(
            "drivers_disjoint",
            asset="trained_model",
            blocking=True,
            description="No driver, and no byte-identical image, both trains and is reported.",
        ),
        dg.AssetCheckSpec("finite", asset="trained_model", description="Losses and weights are finite."),
        dg.AssetCheckSpec(
            "better_than_chance",
            asset="trained_model",
            description="Macro recall on the validation drivers is above one in the number of classes.",
        ),
    ],
)
def trained_model(context: dg.AssetExecutionContext, config: TrainingConfig) -> dg.MaterializeResult:
    """One variant trained on one fold, as often as it has replicates: weights, histories, and runs in MLflow."""
    keys = context.partition_key.keys_by_dimension
    with asset_step(context) as settings:
        from distracted_pipeline.training.checks import check_trained
        from distracted_pipeline.training.train import train_variant

        options = config.options(context.log.info)
        result = train_variant(settings, keys["variant"], keys["fold"], options, dagster_run_id=context.run.run_id)
        checks = check_trained(settings, result)
    return dg.MaterializeResult(
        metadata=training_metadata(settings, result),
        check_results=[check_result(check) for check in checks],
        data_version=dg.DataVersion(result.fingerprint),
    )
