"""Has the runs of `distracted run` in the UI's timeline, which shows only runs that name the code they come from.

Belongs here: that name, and the end of runs whose process was killed. Runs that Dagster's own daemon or UI launches
have both anyway.
"""

from functools import partial

import dagster as dg
from dagster._core.definitions.assets.job.asset_job import IMPLICIT_ASSET_JOB_NAME
from dagster._core.definitions.repository_definition.valid_definitions import SINGLETON_REPOSITORY_NAME
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteRepositoryOrigin
from dagster._core.storage.tags import HIDDEN_TAG_PREFIX, MAX_RETRIES_TAG

from distracted_pipeline.assets.automation import ASKED_BY
from distracted_pipeline.operations.activation import CODE_LOCATION
from distracted_pipeline.training.provenance import is_gone, this_process

_OURS = {ASKED_BY: "distracted run"}


def run_tags() -> dict[str, str]:
    """Return the tags of a run in this process.

    The daemon must not try again elsewhere what the next `distracted run` goes on with.
    """
    # Hidden, for the UI's list of runs would show host, process and its start below each of them.
    return {**_OURS, MAX_RETRIES_TAG: "0", **{HIDDEN_TAG_PREFIX + key: value for key, value in this_process().items()}}


def process_of(run: dg.DagsterRun) -> dict[str, str]:
    """Return the tags that say which process a run is in; runs of earlier versions have them for all to see."""
    return {key.removeprefix(HIDDEN_TAG_PREFIX): value for key, value in run.tags.items()}


def close_killed_runs(instance: dg.DagsterInstance) -> list[str]:
    """Have runs of `distracted run` whose process on this host was killed counted as canceled; return their ids."""
    at_work = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
    runs = instance.get_runs(dg.RunsFilter(tags=_OURS, statuses=at_work))
    killed = [run for run in runs if is_gone(process_of(run))]
    for run in killed:
        instance.report_run_canceled(run, message="Its process was killed; what it finished is kept.")
    return [run.run_id for run in killed]


@dg.sensor(
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Counts runs of `distracted run` as canceled whose process was killed; they would seem to go on.",
)
def killed_runs_end(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    """Close them; request nothing, for the next `distracted run` goes on with what they were at."""
    closed = close_killed_runs(context.instance)
    return dg.SkipReason(f"counted as canceled: {', '.join(closed)}" if closed else "no process was killed")


def show_in_timeline(instance: dg.DagsterInstance) -> None:
    """Have the runs that this process creates on an instance name the code location that the UI loads."""
    repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(CODE_LOCATION), SINGLETON_REPOSITORY_NAME)
    origin = repository.get_job_origin(IMPLICIT_ASSET_JOB_NAME)
    # `execute_in_process` has no argument for it, but creates its runs through this method.
    create = partial(instance.create_run_for_job, remote_job_origin=origin)
    instance.create_run_for_job = create  # type: ignore[method-assign]
