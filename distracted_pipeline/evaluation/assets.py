"""The assets `predictions` (variant by fold), `class_accuracy` and `champion` (over all), `gradcam` (per variant).

What is computed lives in this folder's other modules; here is only what Dagster shows of it.
"""

import warnings

import dagster as dg

from distracted_pipeline.orchestration.compute import LIGHT, TRAIN, ScoringConfig
from distracted_pipeline.orchestration.partitions import variant_fold_partitions, variant_partitions
from distracted_pipeline.orchestration.step import asset_step

_OWNERS = ["team:distracted"]
_GROUP = "evaluation"

with warnings.catch_warnings():  # Dagster calls the mapping beta: once would do, but every command would repeat it
    warnings.simplefilter("ignore", dg.BetaWarning)
    _FOLDS_OF_VARIANT = dg.MultiToSingleDimensionPartitionMapping("variant")


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
    from distracted_pipeline.evaluation.shown import class_accuracy_metadata
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


@dg.asset(
    group_name=_GROUP,
    kinds={"pytorch", "parquet"},
    owners=_OWNERS,
    code_version="3",
    **TRAIN.options(),
    partitions_def=variant_partitions,
    deps=[
        dg.AssetDep("trained_model", partition_mapping=_FOLDS_OF_VARIANT),
        dg.AssetDep("predictions", partition_mapping=_FOLDS_OF_VARIANT),
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
    from distracted_pipeline.evaluation.explain import gradcam_variant
    from distracted_pipeline.evaluation.shown import gradcam_metadata

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


@dg.asset(
    group_name=_GROUP,
    kinds={"pytorch", "mlflow"},
    owners=_OWNERS,
    code_version="1",
    **LIGHT.options(),
    deps=["class_accuracy"],
    check_specs=[
        dg.AssetCheckSpec(
            "registered", asset="champion", description="The best variant's model is in MLflow's registry."
        )
    ],
)
def champion(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    """The variant that recognises unseen drivers best, in MLflow's registry as `distracted_driver@champion`."""
    from distracted_pipeline.evaluation.champion import URI, crown

    with asset_step(context) as settings:
        best = crown(settings, log=context.log.info)
    registered = best is not None and best.version is not None
    why = "no variant has predicted enough yet, or MLflow did not answer (the log says which): then `distracted run`"
    return dg.MaterializeResult(
        metadata={"load": f'mlflow.pytorch.load_model("{URI}")', **best.facts()} if best else {},
        check_results=[
            dg.AssetCheckResult(
                check_name="registered",
                passed=registered,
                severity=dg.AssetCheckSeverity.WARN,
                description=URI if registered else why,
            )
        ],
    )
