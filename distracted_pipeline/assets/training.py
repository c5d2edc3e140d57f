"""The asset `trained_model`: one variant trained on one fold.

Belongs here: what Dagster needs to know. The order of things in a training is `training.train`.
"""

import dagster as dg

from distracted_pipeline.assets.compute import TRAIN, TrainingConfig
from distracted_pipeline.assets.metadata import check_result, training_metadata
from distracted_pipeline.assets.partitions import fold_and_variant, variant_fold_partitions
from distracted_pipeline.assets.step import Events, each_partition
from distracted_pipeline.settings import Settings

_EVERY_SUBJECT = dg.AssetDep("features", partition_mapping=dg.AllPartitionMapping())


@dg.asset(
    partitions_def=variant_fold_partitions,
    deps=["images", "masks", _EVERY_SUBJECT],
    group_name="training",
    kinds={"pytorch", "mlflow"},
    code_version="1",
    output_required=False,
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
def trained_model(context: dg.AssetExecutionContext, config: TrainingConfig) -> Events:
    """One variant trained on one fold, as often as it has replicates: weights, histories, and runs in MLflow."""

    def one(settings: Settings, partition: str) -> dg.MaterializeResult:
        from distracted_pipeline.training.checks import check_trained
        from distracted_pipeline.training.train import train_variant

        fold, variant = fold_and_variant(partition)
        options = config.options(context.log.info)
        result = train_variant(settings, variant, fold, options, dagster_run_id=context.run.run_id)
        if result.reused:
            options.log(f"{variant}, fold {fold}: trained already, from what is there now")
        return dg.MaterializeResult(
            metadata=training_metadata(settings, result),
            check_results=[check_result(check) for check in check_trained(settings, result)],
            data_version=dg.DataVersion(result.fingerprint),
        )

    yield from each_partition(context, one)
