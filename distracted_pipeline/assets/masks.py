"""The assets `subject_masks` and `masks`.

Belongs here: what Dagster needs to know. The work is `engine`, the numbers are `summary`.
"""

from typing import Any

import dagster as dg

from distracted_pipeline.assets.automation import nightly_fill
from distracted_pipeline.assets.compute import SEGMENT, DeviceConfig
from distracted_pipeline.assets.partitions import subject_partitions
from distracted_pipeline.assets.step import asset_step
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.settings import Settings
from distracted_pipeline.vocabulary import MASK_CATEGORIES

CHECKS = {
    "complete": "Every usable image of the manifest has a mask; those without are named.",
    "not_empty": "Most masks hold at least one of the six categories.",
    "person_in_most_frames": "Each driver is seen in most of the driver's frames.",
    "every_category_seen": "Each of the six categories occurs somewhere; a model may not know all of them.",
}
_COMMON: dict[str, Any] = {
    "group_name": "masks",
    "kinds": {"pytorch", "huggingface", "parquet"},
    "owners": ["team:distracted"],
    "code_version": "1",
    **SEGMENT.options(),
}


@dg.asset(
    partitions_def=subject_partitions,
    deps=["images"],
    automation_condition=nightly_fill(),
    check_specs=[dg.AssetCheckSpec("complete", asset="subject_masks", description=CHECKS["complete"])],
    **_COMMON,
)
def subject_masks(context: dg.AssetExecutionContext, config: DeviceConfig) -> dg.MaterializeResult:
    """Masks of one driver, or of one shard of unlabelled images, in the mask cache.

    Each pixel is one of person, bottle, cell phone, cup, car, chair, or none of them.
    """
    from distracted_pipeline.masks.fill import fill_subject

    subject = context.partition_key
    with asset_step(context) as settings:
        result = fill_subject(settings, subject, log=context.log.info, **_options(config, context))
        metadata, checks = _report(settings, [subject])
    return dg.MaterializeResult(
        metadata=metadata | _counts({subject: result}),
        check_results=[check for check in checks if check.check_name == "complete"],
    )


@dg.asset(
    deps=["images", "subject_masks"],
    check_specs=[dg.AssetCheckSpec(name, asset="masks", description=text) for name, text in CHECKS.items()],
    **_COMMON,
)
def masks(context: dg.AssetExecutionContext, config: DeviceConfig) -> dg.MaterializeResult:
    """All masks: makes what is missing on disk, subject by subject, and sums up what there is.

    What fails does not stop the rest; the run fails at the end and names it.
    """
    from distracted_pipeline.masks.fill import fill_missing

    def on_filled(subject: str, result: Any) -> None:
        metadata = _counts({subject: result})
        context.log_event(dg.AssetMaterialization(subject_masks.key, partition=subject, metadata=metadata))

    with asset_step(context) as settings:
        results = fill_missing(settings, log=context.log.info, on_filled=on_filled, **_options(config, context))
        errors = {subject: result.error for subject, result in results.items() if result.error}
        if errors:
            raise DistractedError(
                f"{len(errors)} of {len(results)} subjects could not be finished; what was finished is kept. "
                + " ".join(f"{subject}: {error}" for subject, error in errors.items())
            )
        metadata, checks = _report(settings, list(results))
    counts = _counts(results)
    context.log.info(
        f"{settings.data}: {counts['images_made']:,} masks made, {counts['images_reused']:,} there already, "
        f"{counts['images_failed']:,} failed"
    )
    return dg.MaterializeResult(metadata=metadata | counts, check_results=checks)


def _options(config: DeviceConfig, context: dg.AssetExecutionContext) -> dict[str, Any]:
    """Return how to run the model; a GPU is claimed when the first mask is missing, not before."""
    return config.model_dump() | {"device": lambda: config.on_leased_gpu(context.log.info).device}


def _counts(results: dict[str, Any]) -> dict[str, Any]:
    done = sum(result.done for result in results.values())
    seconds = sum(result.seconds for result in results.values())
    return {
        "images_made": done,
        "images_reused": sum(result.reused for result in results.values()),
        "images_failed": sum(len(result.failed) for result in results.values()),
        "images_per_second": round(done / seconds, 2) if done else 0.0,
        **_cost(results, done, seconds),
    }


def _cost(results: dict[str, Any], done: int, seconds: float) -> dict[str, Any]:
    """Return where the time of the masks made now went; nothing where none were."""
    stages = sorted({stage for result in results.values() for stage in result.cpu})
    if not done or not stages:
        return {}
    cpu = {stage: sum(result.cpu.get(stage, 0.0) for result in results.values()) for stage in stages}
    return {
        "cpu_ms_per_image": {stage: round(1e3 * spent / done, 3) for stage, spent in cpu.items()},
        "share_of_time_in_model": round(sum(result.model_seconds for result in results.values()) / seconds, 3),
    }


def _report(settings: Settings, subjects: list[str]) -> tuple[dict[str, Any], list[dg.AssetCheckResult]]:
    """Return metadata and check results about what the cache holds of `subjects`."""
    import pyarrow as pa

    from distracted_pipeline.images.manifest import of_subject, read_manifest
    from distracted_pipeline.masks.agreement import recorded
    from distracted_pipeline.masks.cache import open_cache
    from distracted_pipeline.masks.overlays import as_markdown, previews
    from distracted_pipeline.masks.summary import summarise, verdicts

    manifest, cache = read_manifest(settings), open_cache(settings)
    summary = summarise(cache, manifest, subjects)
    rows = pa.concat_tables([of_subject(manifest, subject) for subject in subjects])
    metadata = {
        "segmenter": settings.segmenter,
        "fingerprint": cache.fingerprint,
        "masks": summary.images,
        "coverage": dg.TableMetadataValue([dg.TableRecord(row) for row in summary.coverage()], _COVERAGE),
        "coverage_by_subject": dg.TableMetadataValue(
            [dg.TableRecord(row) for row in summary.coverage_by_subject()], _BY_SUBJECT
        ),
        "overlays": dg.MetadataValue.md(as_markdown(previews(settings, cache, rows))),
    }
    precision = cache.about().get("precision")
    if precision:  # maps that were given have none
        metadata["precision"] = str(precision)
    agreement = recorded(cache.root)
    if agreement:
        metadata["agreement_with_fp32"] = agreement.text()
    checks = [
        dg.AssetCheckResult(
            check_name=name,
            passed=verdict.passed,
            severity=dg.AssetCheckSeverity.ERROR if name == "complete" else dg.AssetCheckSeverity.WARN,
            description=verdict.description,
            metadata=verdict.details,
        )
        for name, verdict in verdicts(summary).items()
    ]
    return metadata, checks


_COVERAGE = dg.TableSchema(
    [
        dg.TableColumn("category", "string"),
        dg.TableColumn("images", "int"),
        dg.TableColumn("share_of_images", "float"),
        dg.TableColumn("share_of_pixels", "float"),
    ]
)
_BY_SUBJECT = dg.TableSchema(
    [dg.TableColumn("subject", "string"), *(dg.TableColumn(name, "float") for name in MASK_CATEGORIES)]
)
