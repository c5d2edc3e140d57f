"""`distracted run`: everything that is missing, in one process, on the persistent Dagster instance.

`missing` decides on disk what there is to do, so this goes on from a run that was killed, or from one in another
instance. One process, because every Dagster process pays for its imports again, and because all steps share loaded
models and memory-mapped taps.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg

from distracted_pipeline.assets import graph
from distracted_pipeline.assets.compute import OpConfig
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.operations.console import plain_console
from distracted_pipeline.operations.instance import open_instance
from distracted_pipeline.operations.missing import (
    MASKS,
    Step,
    chosen_folds,
    chosen_variants,
    feature_steps,
    report_steps,
    train_steps,
    unsupported,
)
from distracted_pipeline.progress import Log, duration
from distracted_pipeline.settings import Settings

REPORT_EVERY_S = 600.0
"""While variants train, the report is made anew this often, as soon as two of them can be compared."""

_CONSOLE: dict[str, Any] = {"loggers": {"console": {}}}


@dataclass
class RunSummary:
    """What a run did.

    Attributes:
        done: Steps that ran and succeeded.
        failed: Label of each failed step, with the reason.
        skipped: Variants that cannot be trained here, with the reason.
        report: The report's page, where there is one.
        seconds: Wall-clock time.
    """

    done: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    report: Path | None = None
    seconds: float = 0.0


def run_missing(
    settings: Settings,
    *,
    variants: Sequence[str] = (),
    folds: Sequence[str] = (),
    config: OpConfig | None = None,
    verify: bool = False,
    log: Log = print,
) -> RunSummary:
    """Materialise every asset partition that is missing or stale on disk, in the order of the graph.

    All but `submission`, whose pass over Kaggle's test frames per variant is asked for by name, and variants that
    cannot be trained here unless they are asked for by name.

    Args:
        settings: The data root in force; the same must be in the environment, for the assets read it there.
        variants: Variants to train; all of the catalogue if empty.
        folds: Folds to train; all if empty.
        config: Run config by op (`compute.read_op_config`); every op's defaults if None.
        verify: Have `images` read and hash every image anew.
        log: Receives a line per step.

    Raises:
        DistractedError: The images cannot be read, or a variant, a fold or the baseline is unknown.
    """
    start = time.monotonic()
    entries, wanted_folds = chosen_variants(settings, variants), chosen_folds(folds)
    ops = dict(config or {})
    if verify:
        ops["images"] = {"config": {"verify": True}}
    summary = RunSummary()
    with open_instance() as instance:
        images_job = graph.images_only(loggers={"console": plain_console}).resolve_implicit_global_asset_job_def()
        log("images")
        reason = _execute(images_job, Step(("images",), "images"), instance, settings, ops)
        if reason:
            raise DistractedError(reason)
        # Loaded only now: the partitions are read from what ingest has just written.
        defs = graph.definitions(loggers={"console": plain_console})
        unknown = sorted(set(ops) - {key.to_user_string() for key in defs.resolve_all_asset_keys()})
        if unknown:
            raise DistractedError(f"--config: no op is called {', '.join(unknown)}. See the files in configs/.")
        if not variants:
            summary.skipped = unsupported(settings, entries)
            entries = {name: entry for name, entry in entries.items() if name not in summary.skipped}
        runner = _Runner(defs, instance, settings, ops, summary, log)
        runner.run([MASKS])
        runner.run(feature_steps(settings))
        trainings = list(train_steps(settings, entries, wanted_folds))
        _settle_tracking(settings, bool(trainings), log)
        runner.run(trainings, meanwhile=lambda: report_steps(settings, entries))
        runner.run(report_steps(settings, entries))
    summary.seconds = time.monotonic() - start
    page = settings.reports / "latest" / "index.html"
    summary.report = page if page.exists() else None
    return summary


@dataclass
class _Runner:
    """Runs steps one after the other and counts; one bad step does not stop the others."""

    defs: dg.Definitions
    instance: dg.DagsterInstance
    settings: Settings
    config: OpConfig
    summary: RunSummary
    log: Log

    def run(self, chosen: Iterable[Step], meanwhile: Callable[[], Iterable[Step]] | None = None) -> None:
        """Run steps; every ten minutes those of `meanwhile` too, once two variants have predicted."""
        steps = list(chosen)
        start = reported = time.monotonic()
        for number, step in enumerate(steps):
            left = (time.monotonic() - start) / number * (len(steps) - number) if number else 0.0
            about = f", about {duration(left)} left" if number else ""
            self.log(f"{step.label}  ({number + 1} of {len(steps)}{about})" if len(steps) > 1 else step.label)
            self._run(step)
            if meanwhile and time.monotonic() - reported > REPORT_EVERY_S and number + 1 < len(steps):
                if len(list(self.settings.predictions.glob("*/"))) > 1:
                    self.run(meanwhile())
                reported = time.monotonic()

    def _run(self, step: Step) -> None:
        job = self.defs.resolve_implicit_job_def_def_for_assets([dg.AssetKey(name) for name in step.assets])
        if job is None:
            raise DistractedError(f"{', '.join(step.assets)} share no partitions; run `dagster definitions validate`.")
        reason = _execute(job, step, self.instance, self.settings, self.config)
        if reason:
            self.summary.failed[step.label] = reason
        else:
            self.summary.done += 1


def _execute(
    job: dg.JobDefinition, step: Step, instance: dg.DagsterInstance, settings: Settings, config: OpConfig
) -> str | None:
    """Run one step; return why it failed, or None."""
    try:
        job.execute_in_process(
            instance=instance,
            asset_selection=[dg.AssetKey(name) for name in step.assets],
            partition_key=step.partition,
            run_config={**_CONSOLE, "ops": {name: config[name] for name in step.assets if name in config}},
            tags={"distracted/data": str(settings.data)},
        )
    except dg.DagsterExecutionInterruptedError as error:
        raise KeyboardInterrupt from error
    except dg.Failure as failure:
        return failure.description or "failed without a reason"
    except Exception as error:
        return f"{type(error).__name__}: {error} (`distracted ui` shows the traceback in the run's log)"
    return None


def _settle_tracking(settings: Settings, training: bool, log: Log) -> None:
    """Close the MLflow runs of killed trainings and send what MLflow lacks; where there is none, do not load MLflow."""
    if training or any(settings.models.glob("**/mlflow_unsent/run.json")):
        from distracted_pipeline.training.mlflow_outbox import settle

        settle(settings, log=log)
