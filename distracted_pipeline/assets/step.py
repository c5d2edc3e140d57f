"""What surrounds every asset body: the settings in force, a shared store where there is one, errors in plain words.

Belongs here, too: one Dagster run that makes several partitions. Which partitions share a run is `operations.run`'s to
say, or that of whoever types `--partition-range`.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import dagster as dg
from dagster._core.execution.plan.execute_step import (
    _build_data_version_tags,
    _get_code_version,
    _get_input_provenance_data,
)

from distracted_pipeline.assets.store import mirrored
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.interrupts import interruptible
from distracted_pipeline.settings import Settings, load_settings
from distracted_pipeline.standing import gone

Events = Iterator[dg.MaterializeResult | dg.AssetCheckResult]
"""What an asset yields: for one partition its result, for several the checks alone (`each_partition`)."""


@contextmanager
def asset_step(context: dg.AssetExecutionContext, partition: str = "") -> Iterator[Settings]:
    """Yield the settings; inputs come from the shared store before, outputs go there after the block.

    Import inside the block: there, and only there, Ctrl-C waits until an import has ended (`interrupts`).

    Args:
        context: Of the step.
        partition: The one that is made, where the run has several.

    Raises:
        dagster.Failure: Instead of a `DistractedError`, without a retry.
    """
    settings = load_settings()
    partition = partition or (str(context.partition_key) if context.has_partition_key else "*")
    with (
        interruptible(),
        user_errors_as_failures(),
        mirrored(settings, context.asset_key.path[-1], partition, log=context.log.info),
    ):
        yield load_settings()  # anew: the store may have brought settings.env and the variants


def each_partition(context: dg.AssetExecutionContext, make: Callable[[Settings, str], dg.MaterializeResult]) -> Events:
    """Make every partition of this run by `make`; one that fails does not stop the others.

    A single partition yields its result. Of several, each is recorded once it is made, with metadata and data version
    of its own: whatever becomes of the run, it counts. The asset then yields no result for all of them (so its output
    is not required), and each check once.

    Raises:
        dagster.Failure: Some partitions failed; it names them.
    """
    keys = context.partition_keys
    if len(keys) == 1:
        with asset_step(context) as settings:
            result = make(settings, keys[0])
        yield result._replace(check_results=[named(keys[0], check) for check in result.check_results or ()])
        return
    failed: dict[str, str] = {}
    checks: list[tuple[str, dg.AssetCheckResult]] = []
    for key in keys:
        try:
            with asset_step(context, key) as settings:
                result = make(settings, key)
        except dg.Failure as failure:
            if gone():
                raise
            failed[key] = failure.description or "failed without a reason"
            context.log.error(f"{key}: {failure.description}")
        else:
            record(context, key, result)
            checks += [(key, check) for check in result.check_results or ()]
    if failed:
        reasons = " ".join(f"{key}: {reason}" for key, reason in failed.items())
        raise dg.Failure(
            f"{len(failed)} of {len(keys)} partitions failed; the others are kept. {reasons}", allow_retries=False
        )
    yield from joint(checks)


def record(context: dg.AssetExecutionContext, partition: str, result: dg.MaterializeResult) -> None:
    """Tell Dagster of one partition of a run that makes several: all that it would be told at the end of a run of one.

    The run's own output could carry one data version only, for all of them.
    """
    step, version = context.get_step_execution_context(), result.data_version
    tags: dict[str, str] = {}
    if version is not None:
        code, inputs = _get_code_version(context.asset_key, step), _get_input_provenance_data(context.asset_key, step)
        tags = _build_data_version_tags(version, code, inputs, True)
    if isinstance(partition, dg.MultiPartitionKey):
        tags |= {f"dagster/partition/{name}": key for name, key in partition.keys_by_dimension.items()}
    context.log_event(
        dg.AssetMaterialization(context.asset_key, partition=partition, metadata=result.metadata, tags=tags)
    )


def named(partition: str, check: dg.AssetCheckResult) -> dg.AssetCheckResult:
    """Return a check that says which partition it is about: Dagster's page of a check lists those of all, unnamed."""
    return check._replace(description=f"{partition}: {check.description}")


def joint(checks: Sequence[tuple[str, dg.AssetCheckResult]]) -> Iterator[dg.AssetCheckResult]:
    """Yield each check once for all partitions of a run: it passes if all passed, and says what it says of each."""
    for name in dict.fromkeys(check.check_name for _, check in checks):
        found = [(key, check) for key, check in checks if check.check_name == name]
        shown = [(key, check) for key, check in found if not check.passed] or found
        severe = any(check.severity == dg.AssetCheckSeverity.ERROR for _, check in shown)
        yield dg.AssetCheckResult(
            check_name=name,
            passed=all(check.passed for _, check in found),
            severity=dg.AssetCheckSeverity.ERROR if severe else dg.AssetCheckSeverity.WARN,
            description="\n".join(f"{key}: {check.description}" for key, check in shown),
            metadata={key: check.description or "" for key, check in shown},
        )


@contextmanager
def user_errors_as_failures() -> Iterator[None]:
    """Turn `DistractedError` into `dg.Failure`: retrying bad input only hides it. Bugs keep their traceback.

    Where the data root has gone, that is the error, whatever else came of it.

    Raises:
        dagster.Failure: Carries the error's message as its description.
    """
    try:
        yield
    except DistractedError as error:
        raise dg.Failure(description=str(gone() or error), allow_retries=False) from error
    except Exception as error:
        if found := gone():
            raise dg.Failure(description=str(found), allow_retries=False) from error
        raise


def failed_checks(instance: dg.DagsterInstance, run_id: str) -> list[dg.AssetCheckEvaluation]:
    """Return the checks that failed a run: their descriptions name file and remedy, Dagster's own error neither."""
    events = (
        entry.get_dagster_event()
        for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    )
    found = [event.asset_check_evaluation_data for event in events]
    return [check for check in found if not check.passed and check.severity == dg.AssetCheckSeverity.ERROR]
