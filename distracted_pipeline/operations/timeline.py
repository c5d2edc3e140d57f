"""Has the runs of `distracted run` in the UI's timeline, which shows only runs that name the code they come from.

Belongs here: that name. Runs that Dagster's own daemon or UI launches have it anyway.
"""

from functools import partial

import dagster as dg
from dagster._core.definitions.assets.job.asset_job import IMPLICIT_ASSET_JOB_NAME
from dagster._core.definitions.repository_definition.valid_definitions import SINGLETON_REPOSITORY_NAME
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteRepositoryOrigin
from dagster._core.storage.tags import MAX_RETRIES_TAG

from distracted_pipeline.assets.automation import ASKED_BY
from distracted_pipeline.operations.activation import CODE_LOCATION

RUN_TAGS = {ASKED_BY: "distracted run", MAX_RETRIES_TAG: "0"}
"""Of runs in this process: the daemon must not try again elsewhere what the next `distracted run` goes on with."""


def show_in_timeline(instance: dg.DagsterInstance) -> None:
    """Have the runs that this process creates on an instance name the code location that the UI loads."""
    repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(CODE_LOCATION), SINGLETON_REPOSITORY_NAME)
    origin = repository.get_job_origin(IMPLICIT_ASSET_JOB_NAME)
    # `execute_in_process` has no argument for it, but creates its runs through this method.
    create = partial(instance.create_run_for_job, remote_job_origin=origin)
    instance.create_run_for_job = create  # type: ignore[method-assign]
