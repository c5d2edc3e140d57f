"""The asset `images`: the checked manifest of the raw data.

Belongs here: what Dagster needs to know. Reading the data is `images.ingest`, what is expected of it `images.checks`.
"""

import dagster as dg

from distracted_pipeline.assets.compute import INGEST, ImagesConfig
from distracted_pipeline.assets.metadata import check_result, images_metadata
from distracted_pipeline.assets.sources import DATA
from distracted_pipeline.assets.step import asset_step

CHECKS = (
    dg.AssetCheckSpec("counts", asset="images", description="Classes and drivers are all there, in full."),
    dg.AssetCheckSpec(
        "bad_files", asset="images", description="Few images are unusable; more would shrink the data.", blocking=True
    ),
    dg.AssetCheckSpec(
        "driver_disjoint_folds",
        asset="images",
        description="No driver and no byte-identical image is on both sides of a fold.",
        blocking=True,
    ),
    dg.AssetCheckSpec("near_duplicates", asset="images", description="No frames of different drivers look the same."),
)


@dg.asset(
    group_name=DATA,
    deps=["raw_data"],
    kinds={"python", "parquet"},
    code_version="1",
    check_specs=CHECKS,
    **INGEST.options(),
)
def images(context: dg.AssetExecutionContext, config: ImagesConfig) -> dg.MaterializeResult:
    """One row per image: driver, class, part of the original split, driver-disjoint fold, size, hash and status.

    Reads the raw data in the data root; what size and time of change show as unchanged is not read again, unless
    `verify` is set. Bad images keep their row.
    """
    with asset_step(context) as settings:
        from distracted_pipeline.images import checks
        from distracted_pipeline.images.ingest import ingest
        from distracted_pipeline.images.manifest import data_fingerprint
        from distracted_pipeline.images.neighbours import find_neighbours

        result = ingest(settings, verify=config.verify, log=context.log.info)
        alike = find_neighbours(settings, result.table)
    found = [
        checks.check_counts(result.table, settings.dataset, result.reviewed),
        checks.check_bad_files(result),
        checks.check_folds(result.table),
        checks.check_neighbours(alike, drawn=settings.synthetic),
    ]
    return dg.MaterializeResult(
        metadata=images_metadata(settings, result),
        check_results=[check_result(check) for check in found],
        data_version=dg.DataVersion(data_fingerprint(result.table)),
    )
