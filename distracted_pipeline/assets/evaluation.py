"""The assets `predictions` (variant by fold) and `class_accuracy` (over all).

Belongs here: what Dagster needs to know. Predicting is `evaluation.predict`, the tables are `evaluation.tables`.
"""

import dagster as dg

from distracted_pipeline.assets.compute import LIGHT, TRAIN, ScoringConfig
from distracted_pipeline.assets.metadata import check_result, class_accuracy_metadata, version_of_files
from distracted_pipeline.assets.partitions import fold_and_variant, variant_fold_partitions
from distracted_pipeline.assets.step import Events, asset_step, each_partition
from distracted_pipeline.checks import Check
from distracted_pipeline.settings import Settings

_GROUP = "evaluation"


@dg.asset(
    partitions_def=variant_fold_partitions,
    deps=["trained_model"],
    group_name=_GROUP,
    kinds={"pytorch", "parquet"},
    code_version="2",
    output_required=False,
    **TRAIN.options(),
    check_specs=[
        dg.AssetCheckSpec(
            "valid_probabilities",
            asset="predictions",
            description="Finite, summing to 1, each held-out image once per training.",
        )
    ],
)
def predictions(context: dg.AssetExecutionContext, config: ScoringConfig) -> Events:
    """Probabilities for every image of the drivers that a fold holds out, by each of its trainings."""

    def one(settings: Settings, partition: str) -> dg.MaterializeResult:
        from distracted_pipeline.evaluation.predict import check_predictions, predict_fold

        fold, variant = fold_and_variant(partition)
        path = predict_fold(settings, variant, fold, config.options(context.log.info))
        check = check_predictions(settings, fold, path)
        return dg.MaterializeResult(
            metadata={"path": dg.MetadataValue.path(path), **check.facts},
            check_results=[check_result(check)],
            data_version=version_of_files(path),
        )

    yield from each_partition(context, one)


@dg.asset(
    group_name=_GROUP,
    kinds={"python", "parquet"},
    code_version="4",
    **LIGHT.options(),
    deps=[dg.AssetDep("predictions", partition_mapping=dg.AllPartitionMapping())],
    check_specs=[
        dg.AssetCheckSpec(
            "every_variant_predicted", asset="class_accuracy", description="No variant lacks predictions."
        ),
        dg.AssetCheckSpec(
            "predictions_usable", asset="class_accuracy", description="No NaN, no other data, no leaked rows."
        ),
    ],
)
def class_accuracy(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    """Recall, precision and F1 of each class by variant, and what each changed, for other drivers and trainings."""
    with asset_step(context) as settings:
        from distracted_pipeline.evaluation import parent_runs, tables

        result = tables.class_accuracy(settings, log=context.log.info)
        parent_runs.write_parent_runs(settings, result, log=context.log.warning)
    missing = "\n".join(result.missing) or "every variant of the catalogue, every fold"
    rejected = "\n".join(result.rejected) or "every prediction file fits the manifest"
    checks = [
        Check("every_variant_predicted", not result.missing, missing, "WARN"),
        Check("predictions_usable", not result.rejected, rejected),
    ]
    return dg.MaterializeResult(
        metadata=class_accuracy_metadata(settings.dataset, result),
        check_results=[check_result(check) for check in checks],
        data_version=version_of_files(
            *(settings.evaluation / name for name in (tables.CONFUSION_FILE, tables.CLASSES_FILE, tables.VARIANTS_FILE))
        ),
    )
