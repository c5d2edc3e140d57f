"""The assets `subject_masks` and `masks`.

Belongs here: what Dagster needs to know. Making masks is `masks.fill`, judging them `masks.summary`.
"""

from typing import TYPE_CHECKING, Any

import dagster as dg

from distracted_pipeline.assets.automation import nightly_fill
from distracted_pipeline.assets.compute import SEGMENT, CompilingConfig
from distracted_pipeline.assets.metadata import DATA_VERSION_TAG, check_result, fill_metadata, masks_metadata
from distracted_pipeline.assets.partitions import backfill_policy, subject_partitions
from distracted_pipeline.assets.step import Events, asset_step, named
from distracted_pipeline.errors import DistractedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from distracted_pipeline.masks.fill import FillResult
    from distracted_pipeline.settings import Settings

CHECKS = {
    "complete": "Every usable image of the manifest has a mask; those without are named.",
    "not_empty": "Most masks hold at least one of the categories.",
    "expected_in_most_frames": "What most frames should show, such as a person, is seen in most of each driver's.",
    "every_category_seen": "Each of the categories occurs somewhere; a model may not know all of them.",
}
_COMMON: dict[str, Any] = {
    "group_name": "masks",
    "kinds": {"pytorch", "huggingface", "parquet"},
    "code_version": "1",
    **SEGMENT.options(),
}


@dg.asset(
    partitions_def=subject_partitions,
    deps=["images", "segmenter"],
    automation_condition=nightly_fill(),
    backfill_policy=backfill_policy(),
    output_required=False,
    check_specs=[dg.AssetCheckSpec("complete", asset="subject_masks", description=CHECKS["complete"])],
    **_COMMON,
)
def subject_masks(context: dg.AssetExecutionContext, config: CompilingConfig) -> Events:
    """Masks of one driver, or of one shard of unlabelled images, in the mask cache.

    Each pixel belongs to one of the data set's mask categories (person, cell phone, cup …), or to none of them.
    A run of several partitions makes one after the other by one loaded model; what fails does not stop the rest.
    """
    subjects = list(context.partition_keys)
    several = len(subjects) > 1
    with asset_step(context, "*" if several else subjects[0]) as settings:
        from distracted_pipeline.masks.fill import fill_missing

        each = _materialized(context, settings) if several else _nothing
        results = fill_missing(settings, subjects, config.options(context.log.info), on_filled=each)
        for subject, result in results.items():
            if not result.done and not result.error:
                each(subject, result)
        _fail_for_unfinished(results)
        metadata, checks, content = masks_metadata(settings, subjects)
    if not any(result.done for result in results.values()):
        context.log.info(f"{', '.join(subjects)}: {metadata['masks']:,} masks there already, none made")
    found = [check_result(check) for check in checks if check.name == "complete"]
    if several:
        yield from found
        return
    yield dg.MaterializeResult(
        metadata=metadata | fill_metadata(results.values()),
        check_results=[named(subjects[0], check) for check in found],
        data_version=dg.DataVersion(content),
    )


@dg.asset(
    deps=["images", "subject_masks"],
    check_specs=[dg.AssetCheckSpec(name, asset="masks", description=text) for name, text in CHECKS.items()],
    **_COMMON,
)
def masks(context: dg.AssetExecutionContext, config: CompilingConfig) -> dg.MaterializeResult:
    """All masks: makes what is missing on disk, subject by subject, and sums up what there is.

    What fails does not stop the rest; the run fails at the end and names it.
    """
    with asset_step(context) as settings:
        from distracted_pipeline.masks.fill import fill_missing

        results = fill_missing(
            settings, options=config.options(context.log.info), on_filled=_materialized(context, settings)
        )
        _fail_for_unfinished(results)
        metadata, checks, content = masks_metadata(settings, list(results))
    counts = fill_metadata(results.values())
    context.log.info(
        f"{settings.data}: {counts['images_made']:,} masks made, {counts['images_reused']:,} there already, "
        f"{counts['images_failed']:,} failed"
    )
    return dg.MaterializeResult(
        metadata=metadata | counts,
        check_results=[check_result(check) for check in checks],
        data_version=dg.DataVersion(content),
    )


def _nothing(_subject: str, _result: "FillResult") -> None:
    """The asset's own result says it all."""


def _materialized(context: dg.AssetExecutionContext, settings: "Settings") -> "Callable[[str, FillResult], None]":
    """Return what tells Dagster of each subject as soon as it is finished, so that it counts if a later one fails."""

    def on_filled(subject: str, result: "FillResult") -> None:
        metadata, _, content = masks_metadata(settings, [subject])
        made, tags = metadata | fill_metadata([result]), {DATA_VERSION_TAG: content}
        context.log_event(dg.AssetMaterialization(subject_masks.key, partition=subject, metadata=made, tags=tags))

    return on_filled


def _fail_for_unfinished(results: "dict[str, FillResult]") -> None:
    errors = {subject: result.error for subject, result in results.items() if result.error}
    if errors:
        raise DistractedError(
            f"{len(errors)} of {len(results)} subjects could not be finished; what was finished is kept. "
            + " ".join(f"{subject}: {error}" for subject, error in errors.items())
        )
