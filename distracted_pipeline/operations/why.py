"""`distracted why`: the evidence that the report's page "Why" shows, made when it is asked for.

Belongs here: which assets are such evidence, and which of their partitions are missing or out of date; their rooms
say that, from files. `distracted run` makes none of them: they ask the finished networks further questions.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from itertools import groupby

from distracted_pipeline.advice import RUN
from distracted_pipeline.assets.compute import OpConfig
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.operations.instance import open_instance
from distracted_pipeline.operations.missing import Step, chosen_variants, report_steps, train_steps, unsupported
from distracted_pipeline.operations.run import Runner, RunSummary, in_this_process
from distracted_pipeline.operations.step_runner import StepRunner
from distracted_pipeline.operations.timeline import show_in_timeline
from distracted_pipeline.progress import Log
from distracted_pipeline.scopes import FOLDS
from distracted_pipeline.settings import Settings
from distracted_pipeline.variants.config import VariantConfig, every_variant, load_catalogue


@dataclass(frozen=True)
class Evidence:
    """One asset of the page "Why".

    Attributes:
        asset: Its name.
        partitions: From the settings and the variants that were asked for to its partitions; None is the whole asset.
        is_current: Whether a partition is there, whole, and made from its inputs as they are now.
    """

    asset: str
    partitions: Callable[[Settings, Sequence[str]], Iterable[str | None]]
    is_current: Callable[[Settings, str | None], bool]


def of_variants(settings: Settings, variants: Sequence[str]) -> list[str | None]:
    """Return those of the variants that have predicted anything: what asks a finished network is a partition each."""
    return [name for name in variants if any((settings.predictions / name).glob("*.parquet"))]


def whole(settings: Settings, variants: Sequence[str]) -> list[str | None]:
    """Return the one partition of an asset without partitions."""
    return [None]


def of_mask_variants(settings: Settings, variants: Sequence[str]) -> list[str | None]:
    """Return those of the variants that have predicted anything and read masks."""
    from distracted_pipeline.explanation.what_if.looks import reads_masks

    return [name for name in of_variants(settings, variants) if name is not None and reads_masks(settings, name)]


def _effects_current(asset: str, settings: Settings, variant: str | None) -> bool:
    """Tell it of an asset whose module in `explanation.what_if` bears its name; loaded only now, for it is heavy."""
    from distracted_pipeline.explanation.what_if.looks import effects_inputs

    stage = import_module(f"distracted_pipeline.explanation.what_if.{asset}").STAGE
    return variant is not None and effects_inputs(settings, stage, variant) != ""


def _leak_premium(settings: Settings, partition: str | None) -> bool:
    from distracted_pipeline.evaluation.leak_premium import premium_current

    return premium_current(settings)


def _label_errors(settings: Settings, partition: str | None) -> bool:
    from distracted_pipeline.evaluation.label_errors import label_errors_current

    return label_errors_current(settings)


def _driver_subspace(settings: Settings, partition: str | None) -> bool:
    from distracted_pipeline.evaluation.driver_subspace import subspace_current

    return subspace_current(settings)


EVIDENCE: tuple[Evidence, ...] = (
    Evidence("counterfactuals", of_variants, partial(_effects_current, "counterfactuals")),
    Evidence("mask_ablation", of_mask_variants, partial(_effects_current, "mask_ablation")),
    Evidence("robustness", of_variants, partial(_effects_current, "robustness")),
    Evidence("leak_premium", whole, _leak_premium),
    Evidence("label_errors", whole, _label_errors),
    Evidence("driver_subspace", whole, _driver_subspace),
)
"""In the order in which they run. An asset below `assets/` in the group `why` is one entry."""


def why_steps(settings: Settings, variants: Sequence[str]) -> Iterator[Step]:
    """Yield the evidence that is missing or out of date."""
    for kind in EVIDENCE:
        for partition in kind.partitions(settings, variants):
            if not kind.is_current(settings, partition):
                yield Step((kind.asset,), " ".join([kind.asset, *([partition] if partition else [])]), partition)


def requested(settings: Settings, names: Sequence[str] = ()) -> dict[str, VariantConfig]:
    """Return the variants that are trained for this page alone, but those that this backbone does not fit.

    Args:
        settings: The data root in force.
        names: Only these; all if empty.
    """
    entries = {
        name: entry
        for name, entry in every_variant(settings).items()
        if entry.on_request and (not names or name in names)
    }
    without = unsupported(settings, entries)
    return {name: entry for name, entry in entries.items() if name not in without}


def run_why(
    settings: Settings, *, variants: Sequence[str] = (), config: OpConfig | None = None, log: Log = print
) -> RunSummary:
    """Train the variants that wait for this request, materialise what evidence is missing or out of date, and report.

    Args:
        settings: The data root in force; the same must be in the environment, for the assets read it there.
        variants: Variants to ask; all of the catalogue that have predicted if empty.
        config: Run config by op (`compute.read_op_config`); every op's defaults if None.
        log: Receives a line per step.

    Raises:
        DistractedError: Nothing has been evaluated yet, or a variant is unknown.
    """
    from distracted_pipeline.evaluation.tables import CLASSES_FILE

    start = time.monotonic()
    chosen_variants(settings, variants)  # says which name is unknown
    if not (settings.evaluation / CLASSES_FILE).is_file():
        raise DistractedError(
            f"nothing is evaluated in {settings.data} yet, so there is nothing to explain. Type: {RUN}"
        )
    summary = RunSummary()
    with open_instance(log=log) as instance:
        show_in_timeline(instance)
        steps = StepRunner(instance, dict(config or {}))
        alone = partial(in_this_process, steps)
        runner = Runner(alone, alone, 1, settings, summary, log)
        runner.run(train_steps(settings, requested(settings, variants), FOLDS))
        entries = chosen_variants(settings, variants)
        for _, group in groupby(list(why_steps(settings, list(entries))), lambda step: step.assets):
            runner.run(group)
        for _, group in groupby(list(report_steps(settings, load_catalogue(settings))), lambda step: step.assets):
            runner.run(group)
    summary.seconds = time.monotonic() - start
    page = settings.reports / "latest" / "why.html"
    summary.report = page if page.exists() else None
    return summary
