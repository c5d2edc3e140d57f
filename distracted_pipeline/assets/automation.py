"""What happens without anyone typing: nightly masks, new raw data read in, a failed run explained.

Belongs here: conditions and sensors. They are off until `DISTRACTED_NIGHTLY` holds a cron line, or until switched
on in the UI under Automation; a running daemon (`dagster dev`, `distracted ui`) evaluates them.
Does not belong here: what runs cost (`compute`) and where they run (`operations.executors`).
"""

import os
from typing import Any

import dagster as dg
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_START_TAG
from dagster_shared.check import CheckError

from distracted_pipeline.advice import RUN, materialize
from distracted_pipeline.assets.step import failed_checks
from distracted_pipeline.assets.store import raw_places
from distracted_pipeline.dataset import DATASET_FILE
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.fingerprints import fingerprint
from distracted_pipeline.settings import Settings, load_settings

ASKED_BY = "distracted/asked_by"
"""Tag of runs that nobody started in the UI: who or what did."""

DEFAULT_CRON = "0 2 * * *"
_settings = load_settings()


def nightly_fill(cron: str = "") -> dg.AutomationCondition[Any]:
    """Return the condition that requests, once per cron tick, the partitions that are missing or failed.

    `eager()` and `on_missing()` never request partitions that were missing from the start; this does, as one
    backfill. A partition that fails every time is requested once a tick and no more.

    Args:
        cron: When to look; the setting's, else every night at two.

    Raises:
        DistractedError: The line is no cron schedule.
    """
    cron = cron or _settings.nightly or DEFAULT_CRON
    try:
        tick: dg.AutomationCondition[Any] = dg.AutomationCondition.cron_tick_passed(cron)
    except CheckError as error:
        raise DistractedError(
            f"DISTRACTED_NIGHTLY={cron!r} is no cron schedule. Write five fields, for example: {DEFAULT_CRON}"
        ) from error
    absent = dg.AutomationCondition.missing() | dg.AutomationCondition.execution_failed()
    ready = ~dg.AutomationCondition.any_deps_missing() & ~dg.AutomationCondition.in_progress()
    return (tick.since_last_handled() & absent & ready).with_label("missing or failed masks, nightly")


def raw_data_fingerprint(settings: Settings) -> str:
    """Return a hash that changes when raw files come, go, or are renamed, or when a list of labels or a zip changes.

    Looks at those files, and at each image folder's time and number of entries. A photo overwritten in place does
    not show; `distracted run` finds it where its size or time changed. Empty where there is no raw data.
    """
    root = settings.data
    facts: list[tuple[str, int, int]] = []
    for top in (path for pattern in raw_places(settings.dataset) for path in root.glob(pattern)):
        if top.is_file():
            facts.append((top.name, top.stat().st_mtime_ns, top.stat().st_size))
            continue
        for folder, folders, files in os.walk(top):
            name = os.path.relpath(folder, root)
            facts.append((name, os.stat(folder).st_mtime_ns, len(folders) + len(files)))  # noqa: PTH116
    described = (root / DATASET_FILE).read_text(encoding="utf-8") if (root / DATASET_FILE).is_file() else ""
    return fingerprint(sorted(facts), described) if facts else ""


_status = dg.DefaultSensorStatus.RUNNING if _settings.nightly else dg.DefaultSensorStatus.STOPPED

fill_masks_nightly = dg.AutomationConditionSensorDefinition(
    "fill_masks_nightly",
    target=dg.AssetSelection.assets("subject_masks"),
    default_status=_status,
    description="Once a night, one backfill of the mask partitions that are missing or failed. "
    "Off until DISTRACTED_NIGHTLY holds a cron line, or until switched on here.",
    run_tags={ASKED_BY: "nightly"},
)


@dg.sensor(
    target=dg.AssetSelection.assets("images"),
    minimum_interval_seconds=60,
    default_status=_status,
    description="Reads the images in again when raw files came, went or changed names. "
    "Off until DISTRACTED_NIGHTLY holds a cron line, or until switched on here.",
)
def raw_data_changed(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """Request `images` when the raw data differs from the last look; the first look does so only without a manifest."""
    settings = load_settings()
    seen = raw_data_fingerprint(settings)
    if not seen:
        return dg.SkipReason(
            f"no raw data in {settings.data}: put Kaggle's zip or tree there (other data: docs/datasets.md)"
        )
    if seen == context.cursor:
        return dg.SkipReason(f"raw data in {settings.data} is as it was")
    if context.cursor is None and settings.manifest.exists():
        return dg.SensorResult(skip_reason="remembered what is there; a change from now on is read in", cursor=seen)
    request = dg.RunRequest(run_key=seen, tags={ASKED_BY: "raw_data_changed"})
    return dg.SensorResult(run_requests=[request], cursor=seen)


@dg.run_failure_sensor(
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=30,
    monitor_all_code_locations=True,  # else runs of the command line, which name no location, are passed over
    description="Ends a failed run's log with the reason and the command that goes on from there.",
)
def failed_run_says_what_to_type(context: dg.RunFailureSensorContext) -> None:
    """Log the failure's reason and the command that goes on from there: in the run, and where the daemon runs."""
    words = f"{_reason(context).rstrip('.')}. Next: {next_command(context.dagster_run)}"
    context.log.error(f"run {context.dagster_run.run_id[:8]}: {words}")
    context.instance.report_engine_event(words, context.dagster_run)


def next_command(run: dg.DagsterRun) -> str:
    """Return the command that tries again what a failed run was to make."""
    assets = sorted(key.to_user_string() for key in run.asset_selection or ())
    if not assets or ASSET_PARTITION_RANGE_START_TAG in run.tags:
        return RUN
    return materialize(",".join(assets), run.tags.get("dagster/partition", ""))


def _reason(context: dg.RunFailureSensorContext) -> str:
    """Return why a run failed: the check that stopped it, which names file and remedy, else the first step's error."""
    for check in failed_checks(context.instance, context.dagster_run.run_id):
        if check.description:
            return f"{check.asset_key.to_user_string()}, check {check.check_name}: {check.description}"
    for event in context.get_step_failure_events():
        error = event.step_failure_data.error
        data = event.step_failure_data.user_failure_data
        words = (data and data.description) or (error and error.message)
        if words:
            return f"{event.step_key} failed: {words.strip()}"
    return context.failure_event.message or "failed without a reason."


SENSORS = [fill_masks_nightly, raw_data_changed, failed_run_says_what_to_type]
