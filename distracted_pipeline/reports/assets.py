"""Dagster asset of the report: the static site over everything that has been evaluated.

What pages say and how they are built lives in this folder's other modules; here is only what Dagster shows of it.
"""

import dagster as dg

from distracted_pipeline.orchestration.compute import LIGHT
from distracted_pipeline.orchestration.failures import user_errors_as_failures
from distracted_pipeline.settings import load_settings


@dg.asset(
    group_name="reports",
    kinds={"html", "jinja"},
    owners=["team:distracted"],
    code_version="1",
    op_tags=LIGHT.op_tags(),
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

    with user_errors_as_failures():
        result = build_report(load_settings(), log=context.log.info)
    return dg.MaterializeResult(
        metadata={
            "verdict": result.verdict,
            "path": dg.MetadataValue.path(result.path),
            "url": dg.MetadataValue.url(result.path.as_uri()),
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
