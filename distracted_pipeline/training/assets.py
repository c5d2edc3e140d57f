"""The assets `trained_model`, `predictions` and `submission`; the work is `train` and `submission` beside this."""

import warnings

import dagster as dg

from distracted_pipeline.orchestration.compute import TRAIN, DeviceConfig, ScoringConfig
from distracted_pipeline.orchestration.partitions import variant_fold_partitions, variant_partitions
from distracted_pipeline.orchestration.step import asset_step
from distracted_pipeline.vocabulary import SEED_FOLD

_EVERY_SUBJECT = dg.AssetDep("features", partition_mapping=dg.AllPartitionMapping())
with warnings.catch_warnings():  # the mapping is marked beta; every process would say so
    warnings.simplefilter("ignore", dg.BetaWarning)
    _FOLDS_OF_VARIANT = dg.AssetDep(
        "trained_model", partition_mapping=dg.MultiToSingleDimensionPartitionMapping("variant")
    )


@dg.asset(
    partitions_def=variant_fold_partitions,
    deps=["images", "masks", _EVERY_SUBJECT],
    group_name="training",
    kinds={"pytorch", "mlflow"},
    owners=["team:distracted"],
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
            description="Macro recall on the validation drivers is above 1 in 10.",
        ),
    ],
)
def trained_model(context: dg.AssetExecutionContext, config: DeviceConfig) -> dg.MaterializeResult:
    """One variant trained on one fold: weights that learned, their history, and a run in MLflow."""
    from distracted_pipeline.training.checks import check_trained, training_metadata
    from distracted_pipeline.training.train import train_variant

    keys = context.partition_key.keys_by_dimension
    with asset_step(context) as settings:
        config = config.on_leased_gpu(context.log.info)
        result = train_variant(
            settings,
            keys["variant"],
            keys["fold"],
            device=config.device,
            precision=config.precision,
            batch_size=config.batch_size,
            dagster_run_id=context.run.run_id,
            log=context.log.info,
        )
        checks = check_trained(settings, result)
    return dg.MaterializeResult(
        metadata=training_metadata(settings, result),
        check_results=[
            dg.AssetCheckResult(
                check_name=c.name,
                passed=c.passed,
                severity=dg.AssetCheckSeverity(c.severity),
                description=c.words(),
                metadata=c.facts,
            )
            for c in checks
        ],
    )


@dg.asset(
    partitions_def=variant_partitions,
    deps=[_FOLDS_OF_VARIANT],
    group_name="training",
    kinds={"csv"},
    owners=["team:distracted"],
    code_version="1",
    **TRAIN.options(),
)
def submission(context: dg.AssetExecutionContext, config: ScoringConfig) -> dg.MaterializeResult:
    """Kaggle's CSV for the unlabelled test images, from the variant trained on the seed's fold."""
    from distracted_pipeline.training.submission import write_submission

    with asset_step(context) as settings:
        config = config.on_leased_gpu(context.log.info)
        written = write_submission(
            settings,
            context.partition_key,
            device=config.device,
            batch_size=config.batch_size,
            log=context.log.info,
        )
    return dg.MaterializeResult(
        metadata={"path": dg.MetadataValue.path(written.path), "images": written.images, "fold": SEED_FOLD}
    )
