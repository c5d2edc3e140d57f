"""The asset `images`: the checked manifest of the raw data, with its checks."""

import dagster as dg

from distracted_pipeline.assets.compute import INGEST
from distracted_pipeline.assets.step import asset_step

COUNTS, BAD_FILES, FOLDS_APART = "counts", "bad_files", "driver_disjoint_folds"


@dg.asset(
    group_name="images",
    kinds={"python", "parquet"},
    owners=["team:distracted"],
    code_version="1",
    **INGEST.options(),
    check_specs=[
        dg.AssetCheckSpec(COUNTS, asset="images", description="Classes and drivers are all there, in full."),
        dg.AssetCheckSpec(
            BAD_FILES, asset="images", description="Few images are unusable; more would shrink the data.", blocking=True
        ),
        dg.AssetCheckSpec(
            FOLDS_APART,
            asset="images",
            description="No driver and no byte-identical image is on both sides of a fold.",
            blocking=True,
        ),
    ],
)
def images(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    """One row per image: driver, class, seed split, driver-disjoint fold, size, hash and status.

    Reads Kaggle's tree or zip in the data root; unchanged files are not read again. Bad images keep their row.
    """
    from distracted_pipeline.images import checks
    from distracted_pipeline.images.ingest import ingest
    from distracted_pipeline.images.manifest import data_fingerprint

    with asset_step(context) as settings:
        result = ingest(settings, log=context.log.info)
    verdicts = {
        COUNTS: checks.check_counts(result.table),
        BAD_FILES: checks.check_bad_files(result),
        FOLDS_APART: checks.check_folds(result.table),
    }
    return dg.MaterializeResult(
        metadata={
            **result.counts,
            "bad_share": result.bad_share,
            "seconds": round(result.seconds, 2),
            "manifest": dg.MetadataValue.path(settings.manifest),
            "by_driver_and_class": dg.MetadataValue.md(checks.counts_markdown(result.table)),
            "problems": dg.MetadataValue.md("\n".join(f"- {p}" for p in result.problems[:20]) or "none"),
            "notes": dg.MetadataValue.md("\n".join(f"- {note}" for note in (*settings.notes, *result.notes)) or "none"),
        },
        check_results=[
            dg.AssetCheckResult(
                check_name=name,
                passed=verdict.passed,
                severity=dg.AssetCheckSeverity.ERROR if verdict.serious else dg.AssetCheckSeverity.WARN,
                description=verdict.description,
            )
            for name, verdict in verdicts.items()
        ],
        data_version=dg.DataVersion(data_fingerprint(result.table)),
    )
