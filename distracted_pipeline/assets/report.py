"""Dagster asset of the report: the static site over everything that has been evaluated.

What pages say and how they are built lives in this folder's other modules; here is only what Dagster shows of it.
"""

import dagster as dg

from distracted_pipeline.assets.compute import LIGHT
from distracted_pipeline.assets.step import asset_step


@dg.asset(
    group_name="reports",
    kinds={"html", "jinja"},
    owners=["team:distracted"],
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
    from distracted_pipeline.reports.build import build_report
    from distracted_pipeline.reports.publish import log_summary
    from distracted_pipeline.reports.site import report_url
    from distracted_pipeline.training.tracking import run_url

    with asset_step(context) as settings:
        result = build_report(settings, log=context.log.info)
    run = log_summary(settings, result, log=context.log.warning)
    return dg.MaterializeResult(
        metadata={
            "verdict": result.verdict,
            "path": dg.MetadataValue.path(result.path),
            "url": dg.MetadataValue.url(report_url(result.report_id)),
            "mlflow": dg.MetadataValue.url(run_url(settings, run)) if run else "the store did not answer",
            "leaderboard": dg.MetadataValue.md(result.table),
            "pages": result.pages,
            "bytes": result.bytes,
            "variants": len(result.variants),
            "missing": dg.MetadataValue.md("\n".join(f"- {line}" for line in result.missing) or "nothing"),
            "picture": dg.MetadataValue.md(f"![frame, masks, Grad-CAM]({result.sample})" if result.sample else "none"),
        },
        check_results=[
            dg.AssetCheckResult(
                check_name="every_variant_reported",
                passed=not result.absent,
                severity=dg.AssetCheckSeverity.WARN,
                description=f"absent: {', '.join(result.absent)}"
                if result.absent
                else "all variants are in the report",
            )
        ],
    )
