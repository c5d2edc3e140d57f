"""The assets `subject_masks` and `masks`.

Belongs here: what Dagster needs to know. The work is `engine`, the numbers are `summary`.
"""

from typing import Any

import dagster as dg

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.orchestration.compute import SEGMENT, DeviceConfig
from distracted_pipeline.orchestration.failures import user_errors_as_failures
from distracted_pipeline.orchestration.partitions import subject_partitions
from distracted_pipeline.settings import Settings, load_settings

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
    "op_tags": SEGMENT.op_tags(),
    "retry_policy": dg.RetryPolicy(max_retries=1, delay=5),  # a device that hiccups; bad input is never retried
}


@dg.asset(
    partitions_def=subject_partitions,
    deps=["images"],
    check_specs=[dg.AssetCheckSpec("complete", asset="subject_masks", description=CHECKS["complete"])],
    **_COMMON,
)
def subject_masks(context: dg.AssetExecutionContext, config: DeviceConfig) -> dg.MaterializeResult:
    """Masks of one driver, or of one shard of unlabelled images, in the mask cache.

    Each pixel is one of person, bottle, cell phone, cup, car, chair, or none of them.
    """
    from distracted_pipeline.masks.engine import fill_subject

    subject = context.partition_key
    with user_errors_as_failures():
        settings = load_settings()
        result = fill_subject(settings, subject, log=context.log.info, **config.model_dump())
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
    from distracted_pipeline.masks.engine import fill_missing

    def on_filled(subject: str, result: Any) -> None:
        metadata = _counts({subject: result})
        context.log_event(dg.AssetMaterialization(subject_masks.key, partition=subject, metadata=metadata))

    with user_errors_as_failures():
        settings = load_settings()
        results = fill_missing(settings, log=context.log.info, on_filled=on_filled, **config.model_dump())
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


def _counts(results: dict[str, Any]) -> dict[str, Any]:
    done = sum(result.done for result in results.values())
    seconds = sum(result.seconds for result in results.values())
    return {
        "images_made": done,
        "images_reused": sum(result.reused for result in results.values()),
        "images_failed": sum(len(result.failed) for result in results.values()),
        "images_per_second": round(done / seconds, 2) if done else 0.0,
    }


def _report(settings: Settings, subjects: list[str]) -> tuple[dict[str, Any], list[dg.AssetCheckResult]]:
    """Return metadata and check results about what the cache holds of `subjects`."""
    import pyarrow as pa

    from distracted_pipeline.images.manifest import of_subject, read_manifest
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
        "overlays": dg.MetadataValue.md(as_markdown(previews(settings, cache, rows))),
    }
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
        dg.TableColumn("share of images", "float"),
        dg.TableColumn("share of pixels", "float"),
    ]
)
