"""What surrounds every asset body: the settings in force, a shared store where there is one, errors in plain words."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from distracted_pipeline.assets.store import mirrored
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.interrupts import interruptible
from distracted_pipeline.settings import Settings, load_settings


@contextmanager
def asset_step(context: dg.AssetExecutionContext) -> Iterator[Settings]:
    """Yield the settings; inputs come from the shared store before, outputs go there after the block.

    Import inside the block: there, and only there, Ctrl-C waits until an import has ended (`interrupts`).

    Raises:
        dagster.Failure: Instead of a `DistractedError`, without a retry.
    """
    settings = load_settings()
    partition = str(context.partition_key) if context.has_partition_key else "*"
    with (
        interruptible(),
        user_errors_as_failures(),
        mirrored(settings, context.asset_key.path[-1], partition, log=context.log.info),
    ):
        yield load_settings()  # anew: the store may have brought settings.env and the variants


@contextmanager
def user_errors_as_failures() -> Iterator[None]:
    """Turn `DistractedError` into `dg.Failure`: retrying bad input only hides it. Bugs keep their traceback.

    Raises:
        dagster.Failure: Carries the error's message as its description.
    """
    try:
        yield
    except DistractedError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error


def failed_checks(instance: dg.DagsterInstance, run_id: str) -> list[dg.AssetCheckEvaluation]:
    """Return the checks that failed a run: their descriptions name file and remedy, Dagster's own error neither."""
    events = (
        entry.get_dagster_event()
        for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    )
    found = [event.asset_check_evaluation_data for event in events]
    return [check for check in found if not check.passed and check.severity == dg.AssetCheckSeverity.ERROR]
