"""The job `everything`: what `distracted run` does, started from the UI or by `dg launch --job everything`."""

import dagster as dg

from distracted_pipeline.assets.automation import ASKED_BY
from distracted_pipeline.assets.compute import GPU_POOL, TRAIN
from distracted_pipeline.assets.step import user_errors_as_failures
from distracted_pipeline.settings import load_settings


@dg.op(tags=TRAIN.op_tags(), pool=GPU_POOL, out=dg.Out(dg.Nothing))
def make_what_is_missing(context: dg.OpExecutionContext) -> None:
    """Make everything that is missing or out of date on disk, as runs of their own in the timeline."""
    from distracted_pipeline.operations.run import run_missing

    with user_errors_as_failures():
        summary = run_missing(load_settings(), log=context.log.info)
    context.log.info(f"{summary.done} {'step' if summary.done == 1 else 'steps'} done, {len(summary.failed)} failed")
    if summary.failed:
        reasons = " ".join(f"{label}: {reason}" for label, reason in summary.failed.items())
        raise dg.Failure(
            f"{len(summary.failed)} steps failed, all others are done. {reasons}",
            metadata={label: dg.MetadataValue.text(reason) for label, reason in summary.failed.items()},
            allow_retries=False,
        )


@dg.job(
    description="Makes whatever is missing or out of date on disk, as `distracted run` does: all assets but those of "
    "`distracted why` and `submission`, which costs a pass over all unlabelled frames for each variant.",
    tags={ASKED_BY: "everything"},
)
def everything() -> None:
    """Run the one op."""
    make_what_is_missing()
