"""The assets `champion` and `submission`: what leaves the pipeline.

Belongs here: what Dagster needs to know. The work is `serving`.
"""

import dagster as dg

from distracted_pipeline.advice import RUN
from distracted_pipeline.assets.compute import LIGHT, TRAIN, ScoringConfig
from distracted_pipeline.assets.metadata import check_result, version, version_of_files
from distracted_pipeline.assets.partitions import FOLDS_OF_VARIANT, variant_partitions
from distracted_pipeline.assets.step import asset_step
from distracted_pipeline.checks import Check
from distracted_pipeline.scopes import ORIGINAL_FOLD


@dg.asset(
    group_name="evaluation",
    kinds={"pytorch", "mlflow"},
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
    with asset_step(context) as settings:
        from distracted_pipeline.serving.champion import URI, crown

        best = crown(settings, log=context.log.info)
    registered = best is not None and best.version is not None
    why = f"no variant has predicted enough yet, or MLflow did not answer (the log says which): then `{RUN}`"
    return dg.MaterializeResult(
        metadata={"load": f'mlflow.pytorch.load_model("{URI}")', **best.facts()} if best else {},
        check_results=[check_result(Check("registered", registered, URI if registered else why, "WARN"))],
        data_version=version(best.variant, best.fold, best.model_fingerprint) if best else version("none"),
    )


@dg.asset(
    partitions_def=variant_partitions,
    deps=[dg.AssetDep("trained_model", partition_mapping=FOLDS_OF_VARIANT)],
    group_name="submission",
    kinds={"csv"},
    code_version="1",
    **TRAIN.options(),
)
def submission(context: dg.AssetExecutionContext, config: ScoringConfig) -> dg.MaterializeResult:
    """Kaggle's CSV for the unlabelled test images, from the variant trained on the original split."""
    with asset_step(context) as settings:
        from distracted_pipeline.serving.submission import write_submission

        written = write_submission(settings, context.partition_key, config.options(context.log.info))
    return dg.MaterializeResult(
        metadata={"path": dg.MetadataValue.path(written.path), "images": written.images, "fold": ORIGINAL_FOLD},
        data_version=version_of_files(written.path),
    )
