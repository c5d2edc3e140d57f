"""The asset `report`: the static site over everything that has been evaluated.

Belongs here: what Dagster needs to know. What pages say and how they are built is `reports`.
"""

import dagster as dg

from distracted_pipeline.assets.compute import LIGHT
from distracted_pipeline.assets.metadata import bullets, check_result
from distracted_pipeline.assets.step import asset_step
from distracted_pipeline.checks import Check


@dg.asset(
    group_name="evaluation",
    kinds={"html", "jinja"},
    code_version="1",
    **LIGHT.options(),
    deps=["class_accuracy", dg.AssetDep("gradcam", partition_mapping=dg.AllPartitionMapping())],
    check_specs=[
        dg.AssetCheckSpec(
            "every_variant_reported", asset="report", description="No variant of the catalogue is absent."
        )
    ],
)
def report(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    """Static site: what each technique did to the accuracy of each class, with the evidence; needs no network."""
    with asset_step(context) as settings:
        from distracted_pipeline.addresses import report_url
        from distracted_pipeline.reports.build import build_report
        from distracted_pipeline.reports.publish import log_summary
        from distracted_pipeline.training.tracking import run_url

        result = build_report(settings, context.log.info)
    run = log_summary(settings, result, log=context.log.warning)
    words = f"absent: {', '.join(result.absent)}" if result.absent else "all variants are in the report"
    return dg.MaterializeResult(
        metadata={
            "verdict": result.verdict,
            "path": dg.MetadataValue.path(result.path),
            "url": dg.MetadataValue.url(report_url(settings.data, result.report_id)),
            "mlflow": dg.MetadataValue.url(run_url(settings, run)) if run else "the store did not answer",
            "leaderboard": dg.MetadataValue.md(result.table),
            "pages": result.pages,
            "bytes": result.bytes,
            "variants": len(result.variants),
            "missing": bullets(result.missing),
            "picture": dg.MetadataValue.md(f"![frame, masks, Grad-CAM]({result.sample})" if result.sample else "none"),
        },
        check_results=[check_result(Check("every_variant_reported", not result.absent, words, "WARN"))],
        data_version=dg.DataVersion(result.inputs),
    )
