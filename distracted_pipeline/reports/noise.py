"""By how much another training of the same recipe moves a recall, in numbers and in words.

Pure functions of the report's data; they return values and words, never markup.
"""

import math
import statistics
from dataclasses import dataclass

from distracted_pipeline.evaluation.table_schemas import ClassScore
from distracted_pipeline.figures.formats import proportion
from distracted_pipeline.reports.report_data import ReportData
from distracted_pipeline.variants.recipe_diff import recipe_diff


@dataclass(frozen=True)
class Moved:
    """What training every fold of a variant once more does to the recall of a class, as standard deviations.

    Attributes:
        k: Position of the class that moves most.
        largest: By how much that one moves.
        median: By how much the class in the middle moves.
    """

    k: int
    largest: float
    median: float


def moved(scores: list[ClassScore]) -> Moved | None:
    """Return what another training moves; None where the trainings do not tell it."""
    known = {score.class_id: score.training_alone for score in scores if score.training_alone is not None}
    if not known:
        return None
    largest = max(known, key=lambda k: known[k])
    return Moved(largest, known[largest], statistics.median(known.values()))


def noisiest(report: ReportData) -> tuple[str, Moved] | None:
    """Return the variant, of those in the main scope, of which another training moves a class most."""
    found = {name: one for name in report.variants if (one := moved(report.main.classes.get(name, [])))}
    return max(found.items(), key=lambda pair: pair[1].largest, default=None)


def trained_once(report: ReportData) -> list[str]:
    """Return the variants of the main scope that have one training only of some fold."""
    scores = report.main.variants
    return [name for name in report.variants if name in scores and scores[name].trainings < 2]


def trainings_said(report: ReportData) -> str:
    """Return how often the variants were trained on each fold, in words: `3 trainings`, `1 to 3 trainings`."""
    counts = sorted({score.trainings for score in report.main.variants.values()})
    words = "training" if counts[-1:] == [1] else "trainings"
    return f"{counts[0]} to {counts[-1]} {words}" if len(counts) > 1 else f"{counts[0]} {words}"


def training_luck(report: ReportData, name: str | None, k: int) -> float | None:
    """Return what training every fold of a variant once more moves in a class; None where that is not known."""
    scores = report.main.classes.get(name or "", [])
    return scores[k].training_alone if scores else None


def luck_of_change(report: ReportData, name: str, k: int) -> float | None:
    """Return what training a variant and its reference once more moves in their difference."""
    return together(training_luck(report, name, k), training_luck(report, report.reference(name), k))


def luck_of_driver(report: ReportData, name: str | None, k: int) -> float | None:
    """Return what another training moves in the recall of a single driver."""
    scores = report.main.classes.get(name or "", [])
    return together(scores[k].sd_training, scores[k].sd_double) if scores else None


def together(*parts: float | None) -> float | None:
    """Return what independent sources of luck move together; None where one of them is not known."""
    known = [part for part in parts if part is not None]
    return math.hypot(*known) if len(known) == len(parts) else None


def placebo(report: ReportData, name: str) -> bool:
    """Tell whether a variant is its reference once more, from another seed."""
    reference, known = report.reference(name), report.catalogue
    if reference not in known or name not in known or known[name].kind != known[reference].kind:
        return False
    return [one.field for one in recipe_diff(known[reference], known[name])] == ["seed"]


def noise_sentence(report: ReportData, name: str) -> str:
    """Return what another training alone moves in a variant, in one sentence."""
    score = report.main.variants[name]
    found = moved(report.main.classes[name])
    if found is None:
        return (
            "One training only of some fold, which tells nothing of another: what another one would move is not known."
            if score.trainings < 2
            else "What another training would move is not known."
        )
    if found.largest < 0.0005:
        return f"All {score.trainings} trainings of each fold answer alike: another training alone moves no class."
    return (
        f"Another training alone moves {report.dataset.class_label(found.k)} by ±{proportion(found.largest)}, the most "
        f"of all, and the class in the middle by ±{proportion(found.median)}. "
        f"Behind this are {score.trainings} trainings of each fold."
    )
