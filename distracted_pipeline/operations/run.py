"""`distracted run`: everything that is missing, in one process or in a few, on the persistent Dagster instance.

`missing` decides on disk what there is to do, so this goes on from a run that was killed, or from one in another
instance. Few processes, because every Dagster process pays for its imports again, and because the steps of one share
loaded models and memory-mapped taps.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from pathlib import Path

import dagster as dg

from distracted_pipeline.assets.compute import OpConfig
from distracted_pipeline.assets.lease import visible_gpus
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.images.source import require_finished
from distracted_pipeline.operations.instance import open_instance
from distracted_pipeline.operations.missing import (
    MASKS,
    Item,
    Outcome,
    Step,
    check_backbones,
    chosen_folds,
    chosen_variants,
    feature_steps,
    mask_steps,
    report_steps,
    train_steps,
    unsupported,
)
from distracted_pipeline.operations.models import require_models
from distracted_pipeline.operations.step_runner import StepRunner, run_images
from distracted_pipeline.operations.stopping import ending_with_children
from distracted_pipeline.operations.timeline import close_killed_runs, show_in_timeline
from distracted_pipeline.operations.workers import Workers, worker_count
from distracted_pipeline.progress import Log, duration
from distracted_pipeline.settings import Settings, has_data
from distracted_pipeline.standing import GoneError, gone

REPORT_EVERY_S = 600.0
"""While variants train, the report is made anew this often, as soon as two of them can be compared."""

Crew = Callable[[Iterable[Item]], Iterator[Outcome]]
"""Whoever runs the steps: this process, or several others."""


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
    workers: int = 0,
    per_gpu: int = 1,
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
        workers: Processes that run the steps; 0 is one for each share of a visible GPU, or this process alone.
        per_gpu: How many processes share a GPU.
        log: Receives a line per step.

    Raises:
        DistractedError: The data root is a demo that was not finished, the images cannot be read, a model is not to be
            had or cannot be used, or a variant, a fold or the baseline is unknown.
    """
    start = time.monotonic()
    require_finished(settings.data)
    entries, wanted_folds = chosen_variants(settings, variants), chosen_folds(folds)
    if has_data(settings.data):  # else that is what has to be said
        require_models(settings, entries)
    ops = dict(config or {})
    if verify:
        from distracted_pipeline.features.row_lists import forget_checks

        ops["images"] = {"config": {"verify": True}}
        forget_checks(settings)
    summary = RunSummary()
    with open_instance(log=log) as instance, _naming_failures(summary):
        show_in_timeline(instance)
        close_killed_runs(instance)
        log("images")
        reason = run_images(instance, ops)
        if reason:
            raise DistractedError(reason)
        # Loaded only now: the partitions are read from what ingest has just written.
        steps = StepRunner(instance, ops)
        unknown = sorted(set(ops) - steps.ops)
        if unknown:
            raise DistractedError(f"--config: no op is called {', '.join(unknown)}. See the files in configs/.")
        if not variants:
            summary.skipped = unsupported(settings, entries)
            entries = {name: entry for name, entry in entries.items() if name not in summary.skipped}
        count = worker_count(workers, per_gpu, log)
        lacking = any(feature_steps(settings))
        with _crews(instance, steps, ops, count, per_gpu, log, at_once=lacking) as (crew, alone):
            if lacking:
                check_backbones(settings, entries)
            runner = Runner(crew, alone, count, settings, summary, log)
            if count > 1:
                runner.run(mask_steps(settings))
                summary.failed.clear()  # `masks` tries again what these could not make, and names what it cannot
            runner.run([MASKS])
            runner.run(feature_steps(settings))
            trainings = list(train_steps(settings, entries, wanted_folds))
            _settle_tracking(settings, bool(trainings), log)
            runner.run(trainings, meanwhile=lambda: report_steps(settings, entries))
            for stage in _stages(report_steps(settings, entries)):
                runner.run(stage)
    summary.seconds = time.monotonic() - start
    page = settings.reports / "latest" / "index.html"
    summary.report = page if page.exists() else None
    return summary


_STAGES = {"class_accuracy": 0, "gradcam": 1, "champion": 1, "report": 2}
"""What has to be there before the next may begin; CAMs and champion need nothing of each other."""


def _stages(steps: Iterable[Step]) -> Iterator[list[Step]]:
    """Yield the steps of a report in lists that can each run side by side."""

    def stage(step: Step) -> int:
        return _STAGES[step.assets[0]]

    for _, together in groupby(sorted(steps, key=stage), stage):
        yield list(together)


@contextmanager
def _closing_runs(instance: dg.DagsterInstance) -> Iterator[None]:
    """Have the runs of processes that end within the block counted as canceled after a signal."""
    with ending_with_children(instance):
        try:
            yield
        except KeyboardInterrupt:
            close_killed_runs(instance)
            raise


@contextmanager
def _naming_failures(summary: RunSummary) -> Iterator[None]:
    """Name the steps that failed before in an error that ends the run: they may be its reason.

    Raises:
        DistractedError: With the reasons of all of them first.
    """
    try:
        yield
    except GoneError:
        raise
    except DistractedError as error:
        failed = [f"{label}: {reason}" for label, reason in summary.failed.items()]
        raise DistractedError("\n".join([*failed, str(error)])) from error


@dataclass
class Runner:
    """Has steps run and counts; one bad step does not stop the others.

    Attributes:
        crew: Runs several steps.
        alone: Runs a single one, with all threads.
        workers: How many processes the crew has.
        settings: Where the data lies.
        summary: Counts.
        log: Receives a line per step.
    """

    crew: Crew
    alone: Crew
    workers: int
    settings: Settings
    summary: RunSummary
    log: Log

    def run(self, chosen: Iterable[Step], meanwhile: Callable[[], Iterable[Step]] | None = None) -> None:
        """Run steps; every ten minutes those of `meanwhile` too, once two variants have predicted."""
        steps = list(chosen)
        crew = self.crew if len(steps) > 1 else self.alone
        finished: list[Step] = []
        for step, reason in crew(self._items(steps, finished, meanwhile)):
            finished.append(step)
            if found := gone():
                raise found  # nothing that follows could go well
            if reason:
                self.summary.failed[step.label] = reason
            else:
                self.summary.done += 1

    def _items(
        self, steps: list[Step], finished: list[Step], meanwhile: Callable[[], Iterable[Step]] | None
    ) -> Iterator[Item]:
        start = reported = time.monotonic()
        begun = 0
        for item in shared_out(steps, self.workers):
            left = (time.monotonic() - start) * (len(steps) / len(finished) - 1) if finished else 0.0
            about = f", about {duration(left)} left" if finished else ""
            for number, step in enumerate(item, begun + 1):
                self.log(f"{step.label}  ({number} of {len(steps)}{about})" if len(steps) > 1 else step.label)
            begun += len(item)
            yield item
            if meanwhile and time.monotonic() - reported > REPORT_EVERY_S and begun < len(steps):
                if len(list(self.settings.predictions.glob("*/"))) > 1:
                    between = tuple(meanwhile())
                    self.log(", ".join(step.label for step in between))
                    yield between
                reported = time.monotonic()


def shared_out(steps: Iterable[Step], workers: int) -> Iterator[Item]:
    """Yield steps as items: those that belong together as one, others alone.

    The last ones that belong together are cut into as many parts as there are processes, so that none is left idle
    for long at the end.
    """
    groups = [list(group) for _, group in groupby(steps, lambda step: (step.together, step.assets))]
    for number, alike in enumerate(groups):
        parts = workers if number >= len(groups) - workers else 1
        size = -(-len(alike) // parts) if alike[0].together else 1
        yield from (tuple(alike[at : at + size]) for at in range(0, len(alike), size))


@contextmanager
def _crews(
    instance: dg.DagsterInstance,
    steps: StepRunner,
    ops: OpConfig,
    count: int,
    per_gpu: int,
    log: Log,
    *,
    at_once: bool,
) -> Iterator[tuple[Crew, Crew]]:
    """Yield who runs several steps, and who runs a single one, with all threads.

    Args:
        instance: Keeps the history.
        steps: Runs steps in this process.
        ops: Run config by op.
        count: How many processes run steps.
        per_gpu: How many of them share a GPU.
        log: Hears of them.
        at_once: Whether they start now, and load what they need while this process is at something else.
    """
    alone: Crew = partial(in_this_process, steps)
    if count == 1:
        yield alone, alone
        return
    log(f"{count} processes run the steps side by side")
    with _closing_runs(instance), Workers(count, ops, per_gpu, log) as workers:
        if at_once:
            workers.start()
        # With a GPU, this process must not hold one that a worker waits for.
        yield workers.run, workers.run if visible_gpus() else alone


def in_this_process(runner: StepRunner, items: Iterable[Item]) -> Iterator[Outcome]:
    """Run items one after the other, and yield what became of each step."""
    for item in items:
        yield from runner.run_item(item)


def _settle_tracking(settings: Settings, training: bool, log: Log) -> None:
    """Close the MLflow runs of killed trainings and send what MLflow lacks; where there is none, do not load MLflow."""
    if training or any(settings.models.glob("**/mlflow_unsent/run.json")):
        from distracted_pipeline.training.mlflow_outbox import settle

        settle(settings, log=log)
