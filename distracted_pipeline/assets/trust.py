"""The assets `leak_premium`, `label_errors`, `driver_subspace`: how far numbers and labels can be trusted.

Belongs here: what Dagster needs to know. What is computed is in `evaluation`, in modules of the same names.
"""

import dagster as dg

from distracted_pipeline.assets.compute import LIGHT, TRAIN, ScoringConfig
from distracted_pipeline.assets.metadata import bullets, version_of_files
from distracted_pipeline.assets.step import asset_step

_GROUP = "why"


@dg.asset(
    group_name=_GROUP,
    kinds={"pytorch"},
    code_version="1",
    **TRAIN.options(),
    deps=["images", "features", dg.AssetDep("predictions", partition_mapping=dg.AllPartitionMapping())],
)
def leak_premium(context: dg.AssetExecutionContext, config: ScoringConfig) -> dg.MaterializeResult:
    """Recall by class of one recipe on random folds, beside folds that keep drivers apart."""
    with asset_step(context) as settings:
        from distracted_pipeline.evaluation import leak_premium as room

        found = room.leak_premium(settings, config.options(context.log.info))
        path = room.premium_file(settings)
    return dg.MaterializeResult(
        metadata={
            "path": dg.MetadataValue.path(path),
            "images": found["images"],
            **{f"accuracy_{name}": round(value, 4) for name, value in found["accuracy"].items()},
            **{f"macro_{name}": value for name, value in found["macro"].items() if value is not None},
        },
        data_version=version_of_files(path),
    )


@dg.asset(
    group_name=_GROUP,
    kinds={"python", "parquet"},
    code_version="1",
    **LIGHT.options(),
    deps=["images", dg.AssetDep("predictions", partition_mapping=dg.AllPartitionMapping())],
)
def label_errors(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    """Frames whose held-out predictions speak against their label, ranked; `distracted review` shows them."""
    with asset_step(context) as settings:
        from distracted_pipeline.evaluation import label_errors as room

        found = room.find_label_errors(settings)
        ids, path = settings.dataset.class_ids, room.label_errors_file(settings)
    first = [
        f"{row['img']}: labelled {ids[row['true']]}, taken for {ids[row['suggested']]} by {row['votes_suggested']} of "
        f"{row['votes']} trainings"
        for row in found.slice(0, 10).to_pylist()
    ]
    return dg.MaterializeResult(
        metadata={"path": dg.MetadataValue.path(path), "in_doubt": found.num_rows, "strongest": bullets(first)},
        data_version=version_of_files(path),
    )


@dg.asset(
    group_name=_GROUP,
    kinds={"pytorch"},
    code_version="1",
    **TRAIN.options(),
    deps=["images", "features"],
)
def driver_subspace(context: dg.AssetExecutionContext, config: ScoringConfig) -> dg.MaterializeResult:
    """How well the embedding names drivers, and what is left of that without the training drivers' directions."""
    with asset_step(context) as settings:
        from distracted_pipeline.evaluation import driver_subspace as room

        found = room.driver_subspace(settings, config.options(context.log.info))
        path = room.subspace_file(settings)
    held_out = found["held_out"]
    return dg.MaterializeResult(
        metadata={
            "path": dg.MetadataValue.path(path),
            "drivers": found["drivers"],
            "drivers_named": round(found["accuracy"], 4),
            "chance": round(found["chance"], 4),
            **({"held_out_named_before": round(held_out["before"], 4)} if held_out else {}),
        },
        data_version=version_of_files(path),
    )
