"""What it takes to see a change of one variant against another: from the tables of a data root into rows and words.

The power of a study and its formulas are `planning`; the noises it starts from are measured on the same counts as the
verdicts. What a report makes of a study belongs to `reports`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from distracted_pipeline.advice import RUN
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.evaluation.comparison import (
    FEW_DRIVERS,
    LONE_DRIVERS,
    NO_CLAIM,
    NOT_COMPARED,
    ONE_TRAINING,
    on_common_drivers,
    rates,
)
from distracted_pipeline.evaluation.comparison_tables import Cells, read_compared
from distracted_pipeline.evaluation.planning import Plan, Sources, measure, needed, plan, smallest_change
from distracted_pipeline.evaluation.ranking import telling
from distracted_pipeline.evaluation.table_schemas import ClassScore, VariantScore
from distracted_pipeline.evaluation.tables import CLASSES_FILE, VARIANTS_FILE, read_class_accuracy
from distracted_pipeline.evaluation.tables_io import read_rows
from distracted_pipeline.figures.formats import NONE, defined, proportion
from distracted_pipeline.scopes import SCOPES
from distracted_pipeline.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

DELTA = 0.05
"""The change of recall that is planned for where nobody asks for another."""

POWER = 0.8
"""How likely it is to be seen, likewise."""

LEAST = 0.01
"""Changes below this are not planned for one by one: no number of drivers is worth it."""

NEVER = "never"
"""Stands for a number of drivers, frames or trainings that no number is enough of."""


@dataclass(frozen=True)
class Study:
    """One comparison as it stands, and what it would take to see a change in it.

    Attributes:
        variant: What is compared.
        reference: What it is compared with.
        questions: How many are asked together.
        delta: The change of recall to be seen.
        reach: How likely it shall be seen.
        sources: What the difference varies by, [class].
        plans: One per class; empty where nothing can be planned.
        obstacle: Why not, one of the words of `comparison`; else empty.
    """

    variant: str
    reference: str
    questions: int
    delta: float
    reach: float
    sources: Sources
    plans: list[Plan]
    obstacle: str

    @property
    def often(self) -> str:
        """How often a change shall be seen: `4 times in 5`."""
        share = Fraction(self.reach).limit_denominator(20)
        return f"{share.numerator} times in {share.denominator}"

    @property
    def known(self) -> list[int]:
        """Positions of the classes whose noises could be measured, the one that is hardest to see a change in first."""
        found = [k for k, one in enumerate(self.plans) if defined(one.power)]
        return sorted(found, key=lambda k: (-(self.plans[k].smallest or np.inf), k))


def study(
    variant: str,
    reference: str,
    counts: tuple[np.ndarray, np.ndarray],
    folds: np.ndarray,
    *,
    questions: int,
    delta: float = DELTA,
    reach: float = POWER,
) -> Study:
    """Measure the noises of a comparison and plan with them.

    Args:
        variant: What is compared.
        reference: What it is compared with.
        counts: Of each training of the two, [replicate, driver, true, predicted]; NaN where there is none.
        folds: The fold that held each driver out, int [driver].
        questions: How many are asked together.
        delta: The change of recall to be seen.
        reach: How likely it shall be seen.
    """
    a, b = on_common_drivers(*counts)
    # Tables of earlier versions know no folds and one training; that is what is said of them.
    folds = folds if (folds >= 0).any() else np.zeros_like(folds)
    sources = measure(rates(a), rates(b), folds)
    obstacle = _obstacle(sources)
    plans = [] if obstacle else plan(sources, questions, delta, reach)
    return Study(variant, reference, questions, delta, reach, sources, plans, obstacle)


def _obstacle(sources: Sources) -> str:
    held = sources.drivers > 0
    if not held.any():
        return FEW_DRIVERS
    if (sources.replicates[held] < 2).all():
        return ONE_TRAINING
    return "" if np.isfinite(sources.driver[held] + sources.training[held]).any() else LONE_DRIVERS


def asked_together(classes: Iterable[ClassScore]) -> int:
    """Return how many questions a report on these rows asks together: those tested, else all that it shows."""
    asked = [score for score in classes if score.verdict not in NO_CLAIM]
    return sum(score.p_holm is not None for score in asked) or len(asked) or 1


def read_study(
    settings: Settings,
    variant: str | None = None,
    against: str | None = None,
    scope: str | None = None,
    *,
    questions: int | None = None,
    delta: float = DELTA,
    reach: float = POWER,
) -> tuple[Study, str]:
    """Plan from the evaluation's files; return the study and the name of its scope.

    Args:
        settings: Gives the evaluation folder and the data set.
        variant: By default the one that has the most to tell.
        against: By default what the report compares it with.
        scope: A name of `scopes.SCOPES`; by default the first that has both.
        questions: By default as many as the report asks together.
        delta: The change of recall to be seen.
        reach: How likely it shall be seen.

    Raises:
        DistractedError: There are no tables yet, none for one of the two, or nothing that a plan could rest on.
    """
    read_class_accuracy(settings)  # says so where there are no tables
    rows = read_rows(settings.evaluation / CLASSES_FILE, ClassScore)
    if variant is None:
        scope = scope or next(name for name in SCOPES if any(row.scope == name for row in rows))
        variant = _most_telling(settings, rows, scope)
    against = against or next((row.baseline for row in rows if row.variant == variant), "") or settings.baseline
    if against == variant:
        raise DistractedError(
            f"{variant} is what the others are compared with. Name one of them: `distracted plan VARIANT`, "
            f"or what to set it beside: `distracted plan {variant} --against VARIANT`."
        )
    compared = read_compared(settings, against, variant, scope)
    change = compared.change
    asked = questions or asked_together(row for row in rows if row.scope == compared.scope)
    counts = change.variant, change.reference
    found = study(variant, against, counts, change.folds, questions=asked, delta=delta, reach=reach)
    if found.obstacle:
        raise DistractedError(f"{variant} against {against}: {why_not(found.obstacle)}")
    return found, compared.scope


def _most_telling(settings: Settings, rows: Sequence[ClassScore], scope: str) -> str:
    scores = {row.variant: row for row in read_rows(settings.evaluation / VARIANTS_FILE, VariantScore)}
    by_variant: dict[str, list[ClassScore]] = {}
    for row in rows:
        if row.scope == scope and row.verdict not in NO_CLAIM and row.obstacle != NOT_COMPARED:
            by_variant.setdefault(row.variant, []).append(row)
    if not by_variant:
        raise DistractedError(
            f"no variant is compared with another one on {SCOPES[scope].words} yet. Type `{RUN}`, or name two: "
            "`distracted plan VARIANT --against VARIANT`."
        )
    return max(by_variant, key=lambda name: telling(scores[name], by_variant[name]))


def why_not(obstacle: str) -> str:
    """Return why nothing can be planned, and what to do about it."""
    if obstacle == ONE_TRAINING:
        return (
            "one training only of some fold, which tells nothing of another, so there is nothing to plan with. "
            f"Set `replicates` of both to 2 or more (or DISTRACTED_REPLICATES for all), then type `{RUN}`."
        )
    if obstacle == LONE_DRIVERS:
        return (
            "no fold holds out two drivers in common, so nothing tells how drivers differ. "
            f"Add drivers, then type `{RUN}`."
        )
    return f"no drivers in common. Type `{RUN}`, or choose another pair."


def sentence(found: Study, k: int, name: str) -> str:
    """Return what it takes to see a change of one class, in plain words.

    Args:
        found: The study.
        k: Position of the class.
        name: What to call the class.
    """
    one, change = found.plans[k], proportion(found.delta)
    drivers, trainings = int(found.sources.drivers[k]), int(found.sources.replicates[k])
    start = f"With {drivers} drivers and {trainings} trainings of each fold, "
    if one.smallest is None:
        start += f"no change of {name} is seen {found.often}"
    else:
        start += f"{name} must change by {proportion(one.smallest)} to be seen {found.often}"
    if one.power >= found.reach:
        return f"{start}: {change} is seen already."
    if one.drivers is None and one.replicates is None:
        return f"{start}; neither more drivers alone nor more trainings alone ever show {change}."
    if one.replicates is None:
        return f"{start}; more trainings alone never show {change}; it takes {one.drivers:,} drivers."
    if one.drivers is None:
        return f"{start}; more drivers alone never show {change}; it takes {one.replicates:,} trainings of each fold."
    return f"{start}; to show {change} it takes {one.drivers:,} drivers, or {one.replicates:,} trainings of each fold."


def drivers_to_decide(found: Study, k: int, change: float) -> str:
    """Return how many drivers it takes to see a change of one class as large as the one found, in words.

    Args:
        found: The study.
        k: Position of the class.
        change: The difference that was found; what is planned for is its size.
    """
    if not found.plans or not defined(found.plans[k].power) or abs(change) < LEAST:
        return NONE
    (drivers,) = needed(found.sources.of(k), "drivers", abs(change), found.questions, found.reach)
    return NEVER if drivers is None else f"{drivers:,}"


def sentences(found: Study, labels: Sequence[str]) -> list[str]:
    """Return the sentence of the class that is hardest to see a change in, and of the easiest one."""
    ends = [] if not found.known else [found.known[0], found.known[-1]]
    if ends and (ends[0] == ends[1] or found.plans[ends[1]].smallest is None):
        ends.pop()
    return [sentence(found, k, labels[k]) for k in ends]


def smallest_by_drivers(found: Study, k: int, replicates: int | None = None) -> list[tuple[int, float | None]]:
    """Return the smallest change of a class that is seen, for half the present drivers up to sixteen times as many.

    Args:
        found: The study.
        k: Position of the class.
        replicates: Trainings of each fold; the present ones by default.
    """
    one = found.sources.of(k)
    now = int(one.drivers[0])
    numbers = sorted({max(2, round(now * 2 ** (step / 2))) for step in range(-2, 9)})
    changes = smallest_change(one, found.questions, found.reach, np.array(numbers), replicates)
    return list(zip(numbers, changes, strict=True))


def cells(found: Study, k: int) -> list[str]:
    """Return the row of a class in words: three noises, power, drivers, trainings, frames, smallest change."""
    one = found.plans[k]
    if not defined(one.power):
        return [NONE] * 8
    wholes = (NEVER if value is None else f"{value:,}" for value in (one.drivers, one.replicates, one.frames))
    smallest = NEVER if one.smallest is None else proportion(one.smallest)
    return [
        *(proportion(sd) for sd in (one.driver, one.training, one.residual)),
        proportion(one.power),
        *wholes,
        smallest,
    ]


def plan_text(found: Study, scope: str, labels: Sequence[str]) -> tuple[list[str], Cells, list[str]]:
    """Return what is planned for, header and rows of the classes, and what their columns mean and say."""
    asked = "one question asked" if found.questions == 1 else f"{found.questions:,} questions asked together"
    change = proportion(found.delta)
    head = [
        f"what it takes to see {found.variant} differ by {change} from {found.reference}, {found.often}",
        f"measured on {SCOPES[scope].words}; {asked}",
    ]
    header = ["class", "sd D", "sd T", "sd DxT", "power", "drivers", "trainings", "frames", "smallest"]
    legend = (
        "sd: standard deviation of the change between drivers (D); of a fold's recall between trainings (T) and of "
        "what a training does to a single driver (DxT), of the variant where it is larger. power: how likely the study "
        "as it is sees the change. drivers, trainings (of each fold), frames (of each driver and class): how many it "
        f"takes of each while the others stay as they are; {NEVER}: no number of them is enough. Frames are "
        f"near-duplicates: it takes more of them than that. smallest: the smallest change that the study as it is "
        f"sees {found.often}. All of it is an estimate from this very study."
    )
    rows = [[labels[k], *cells(found, k)] for k in range(len(labels))]
    return head, [header, *rows], [legend, "", *sentences(found, labels)]


def frame(found: Study, names: Sequence[str]) -> "pd.DataFrame":
    """Return one row per class with every digit; missing where there is nothing to tell, or no number is enough.

    Columns: class_id, name, drivers_now, trainings_now, sd_drivers, sd_training, sd_double, power, drivers, trainings,
    frames, smallest.
    """
    import pandas as pd

    return pd.DataFrame(
        {
            "class_id": k,
            "name": names[k],
            "drivers_now": int(found.sources.drivers[k]),
            "trainings_now": int(found.sources.replicates[k]),
            "sd_drivers": one.driver,
            "sd_training": one.training,
            "sd_double": one.residual,
            "power": one.power,
            "drivers": one.drivers,
            "trainings": one.replicates,
            "frames": one.frames,
            "smallest": one.smallest,
        }
        for k, one in enumerate(found.plans)
    ).astype(dict.fromkeys(("drivers", "trainings", "frames"), "Int64"))
