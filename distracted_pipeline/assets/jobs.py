"""Parts of the graph that a person asks for by name, in the UI under Jobs or with `dg launch --job NAME`.

Belongs here: jobs whose assets share their partitions, as Dagster asks of a job. `everything` crosses partitions, so
it is one op over `operations.run`, in `operations.everything`. A job may not be called as an asset is.
"""

import dagster as dg

JOBS = [
    dg.define_asset_job(
        "make_masks",
        dg.AssetSelection.assets("images", "masks"),
        description="The manifest, then every mask that is missing on disk.",
    ),
    dg.define_asset_job(
        "make_report",
        dg.AssetSelection.assets("class_accuracy", "report", "champion"),
        description="Tables, report and champion from what the variants have predicted.",
    ),
]
