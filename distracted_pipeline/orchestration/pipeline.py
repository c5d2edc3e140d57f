"""`distracted run`: everything that is missing, in one process, on the persistent Dagster instance.

What is missing is decided on disk by the rooms themselves, never by the event log, so a run that was
killed, or one in another instance, is simply continued. One process, because every Dagster process pays
for its imports again, and because loaded models and memory-mapped taps are shared by all steps.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.orchestration.console import plain_console
from distracted_pipeline.orchestration.instance import open_instance
from distracted_pipeline.progress import duration
from distracted_pipeline.settings import Settings

_CONSOLE: dict[str, Any] = {"loggers": {"console": {}}}


@dataclass(frozen=True)
class Step:
    """One Dagster run: some assets, at most one partition, and what to call it in the terminal."""

    assets: tuple[str, ...]
    label: str
    partition: str | None = None


@dataclass
class RunSummary:
    """What a run did.

    Attributes:
        done: Steps that ran and succeeded.
        failed: Label of each failed step, with the reason.
        report: The report's page, where there is one.
        seconds: Wall-clock time.
    """

    done: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    report: Path | None = None
    seconds: float = 0.0


def run_missing(
    settings: Settings,
    *,
    variants: Sequence[str] = (),
    folds: Sequence[str] = (),
    log: Callable[[str], object] = print,
) -> RunSummary:
    """Materialise every asset partition that is missing or stale on disk, in the order of the graph.

    All but `submission`, whose pass over Kaggle's test frames per variant is asked for by name.

    Args:
        settings: The data root in force; the same must be in the environment, for the assets read it there.
        variants: Variants to train; all of the catalogue if empty.
        folds: Folds to train; all if empty.
        log: Receives a line per step.

    Raises:
        DistractedError: The images cannot be read, or a variant or fold is unknown.
    """
    start = time.monotonic()
    summary = RunSummary()
    with open_instance() as instance:
        log("images")
        reason = _execute(_images_job(), Step(("images",), "images"), instance, settings)
        if reason:
            raise DistractedError(reason)
        # Imported only now: the partitions are read from what ingest has just written.
        from distracted_pipeline.definitions import defs

        for stage in (_fill, _train, _report):
            steps = list(stage(settings, variants, folds))
            _run_stage(defs, steps, instance, settings, summary, log)
    summary.seconds = time.monotonic() - start
    page = settings.reports / "latest" / "index.html"
    summary.report = page if page.exists() else None
    return summary


def _run_stage(
    defs: dg.Definitions,
    steps: list[Step],
    instance: dg.DagsterInstance,
    settings: Settings,
    summary: RunSummary,
    log: Callable[[str], object],
) -> None:
    start = time.monotonic()
    for number, step in enumerate(steps):
        left = f", about {duration((time.monotonic() - start) / number * (len(steps) - number))} left" if number else ""
        log(f"{step.label}  ({number + 1} of {len(steps)}{left})" if len(steps) > 1 else step.label)
        job = defs.resolve_implicit_job_def_def_for_assets([dg.AssetKey(name) for name in step.assets])
        if job is None:
            raise DistractedError(f"{', '.join(step.assets)} share no partitions; run `dagster definitions validate`.")
        reason = _execute(job, step, instance, settings)
        if reason:
            summary.failed[step.label] = reason
        else:
            summary.done += 1


def _execute(job: dg.JobDefinition, step: Step, instance: dg.DagsterInstance, settings: Settings) -> str | None:
    """Run one step; return why it failed, or None. One bad variant must not stop the others."""
    try:
        job.execute_in_process(
            instance=instance,
            asset_selection=[dg.AssetKey(name) for name in step.assets],
            partition_key=step.partition,
            run_config=_CONSOLE,
            tags={"distracted/data": str(settings.data)},
        )
    except dg.DagsterExecutionInterruptedError as error:
        raise KeyboardInterrupt from error
    except dg.Failure as failure:
        return failure.description or "failed without a reason"
    except Exception as error:
        return f"{type(error).__name__}: {error} (`distracted ui` shows the traceback in the run's log)"
    return None


def _images_job() -> dg.JobDefinition:
    from distracted_pipeline.images import assets

    images_only = dg.Definitions(
        assets=dg.load_assets_from_modules([assets]),
        asset_checks=dg.load_asset_checks_from_modules([assets]),
        loggers={"console": plain_console},
    )
    return images_only.resolve_implicit_global_asset_job_def()


def _fill(settings: Settings, variants: Sequence[str], folds: Sequence[str]) -> Iterator[Step]:
    """Masks, then the taps that the catalogue's variants read."""
    from distracted_pipeline.features.plan import is_filled

    yield Step(("masks",), "masks")
    for subject in settings.subjects():
        if not is_filled(settings, subject):
            yield Step(("features",), f"features {subject}", subject)


def _train(settings: Settings, variants: Sequence[str], folds: Sequence[str]) -> Iterator[Step]:
    from distracted_pipeline.evaluation.predict import is_predicted
    from distracted_pipeline.training.checkpoint import is_trained

    for variant in chosen_variants(settings, variants):
        for fold in chosen_folds(folds):
            assets = [
                name
                for name, finished in (
                    ("trained_model", is_trained(settings, variant, fold)),
                    ("predictions", is_predicted(settings, variant, fold)),
                )
                if not finished
            ]
            if "trained_model" in assets:
                assets = ["trained_model", "predictions"]
            if assets:
                yield Step(tuple(assets), f"{variant} fold {fold}", f"{fold}|{variant}")


def _report(settings: Settings, variants: Sequence[str], folds: Sequence[str]) -> Iterator[Step]:
    """Tables, CAMs and site, made again where an input is newer than the output."""
    predictions = list(settings.predictions.glob("*/*.parquet"))
    tables = settings.evaluation / "class_accuracy.parquet"
    stale_tables = is_stale(tables, [*predictions, settings.manifest])
    if stale_tables:
        yield Step(("class_accuracy",), "class_accuracy")
    stale_cams = False
    for variant in chosen_variants(settings, variants):
        own = [*(settings.predictions / variant).glob("*.parquet"), *(settings.models / variant).glob("*/config.json")]
        rows = settings.evaluation / "gradcam" / variant / "rows.parquet"
        if own and is_stale(rows, own):
            stale_cams = True
            yield Step(("gradcam",), f"gradcam {variant}", variant)
    if stale_tables or stale_cams or is_stale(settings.reports / "latest" / "index.html", [tables]):
        yield Step(("report",), "report")


def is_stale(output: Path, inputs: Sequence[Path]) -> bool:
    """Tell whether `output` is missing or older than any input that exists, as make would."""
    if not output.exists():
        return True
    written = output.stat().st_mtime_ns
    return any(path.exists() and path.stat().st_mtime_ns > written for path in inputs)


def chosen_variants(settings: Settings, names: Sequence[str]) -> dict[str, Any]:
    """Return the catalogue's entries that were asked for, all if none was.

    Raises:
        DistractedError: A name is not in the catalogue.
    """
    from distracted_pipeline.variants.config import load_catalogue

    catalogue = load_catalogue(settings)
    unknown = [name for name in names if name not in catalogue]
    if unknown:
        raise DistractedError(f"no variant {', '.join(unknown)}: choose from {', '.join(catalogue)}.")
    return {name: entry for name, entry in catalogue.items() if not names or name in names}


def chosen_folds(names: Sequence[str]) -> tuple[str, ...]:
    """Return the folds that were asked for, all if none was.

    Raises:
        DistractedError: A name is no fold.
    """
    from distracted_pipeline.vocabulary import FOLDS

    unknown = [name for name in names if name not in FOLDS]
    if unknown:
        raise DistractedError(f"no fold {', '.join(unknown)}: choose from {', '.join(FOLDS)}.")
    return tuple(fold for fold in FOLDS if not names or fold in names)
