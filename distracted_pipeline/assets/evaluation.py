"""The assets `predictions` (variant by fold) and `class_accuracy` (over all).

Belongs here: what Dagster shows of them. Predicting is `evaluation.predict`, the tables are `evaluation.tables`.
"""

import dagster as dg

from distracted_pipeline.assets.compute import LIGHT, TRAIN, ScoringConfig
from distracted_pipeline.assets.partitions import variant_fold_partitions
from distracted_pipeline.assets.step import asset_step

_OWNERS = ["team:distracted"]
_GROUP = "evaluation"


@dg.asset(
    partitions_def=variant_fold_partitions,
    deps=["trained_model"],
    group_name=_GROUP,
    kinds={"pytorch", "parquet"},
    owners=_OWNERS,
    code_version="1",
    **TRAIN.options(),
    check_specs=[
        dg.AssetCheckSpec(
            "valid_probabilities", asset="predictions", description="Finite, summing to 1, one row per held-out image."
        )
    ],
)
def predictions(context: dg.AssetExecutionContext, config: ScoringConfig) -> dg.MaterializeResult:
    """Probabilities for every image of the drivers that a fold holds out."""
    from distracted_pipeline.evaluation.predict import check_predictions, predict_fold

    keys = context.partition_key.keys_by_dimension
    with asset_step(context) as settings:
        config = config.on_leased_gpu(context.log.info)
        path = predict_fold(
            settings,
            keys["variant"],
            keys["fold"],
            device=config.device,
            batch_size=config.batch_size,
            log=context.log.info,
        )
        check = check_predictions(settings, keys["fold"], path)
    return dg.MaterializeResult(
        metadata={"path": dg.MetadataValue.path(path), **check.facts},
        check_results=[
            dg.AssetCheckResult(
                check_name=check.name, passed=check.passed, description=check.words(), metadata=check.facts
            )
        ],
    )


@dg.asset(
    group_name=_GROUP,
    kinds={"python", "parquet"},
    owners=_OWNERS,
    code_version="3",
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
    """Recall, precision and F1 of each class by variant, and what each variant changed, tested over drivers."""
    from distracted_pipeline.assets.metadata import class_accuracy_metadata
    from distracted_pipeline.evaluation.tables import class_accuracy as compute

    with asset_step(context) as settings:
        result = compute(settings, log=context.log.info)
    return dg.MaterializeResult(
        metadata=class_accuracy_metadata(result),
        check_results=[
            dg.AssetCheckResult(
                check_name="every_variant_predicted",
                passed=not result.missing,
                severity=dg.AssetCheckSeverity.WARN,
                description="\n".join(result.missing) or "every variant of the catalogue, every fold",
            ),
            dg.AssetCheckResult(
                check_name="predictions_usable",
                passed=not result.rejected,
                description="\n".join(result.rejected) or "every prediction file fits the manifest",
            ),
        ],
    )
