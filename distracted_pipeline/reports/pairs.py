"""Any two variants against each other: the comparison of `distracted compare`, of every pair, as compact data.

The numbers are `evaluation.comparison`'s, from the counts that the evaluation stored; which pair is shown, and which
way round, the page's script decides (`templates/pairs.js`).
"""

import math
from itertools import combinations
from typing import Any, Final

import numpy as np

from distracted_pipeline.evaluation.comparison import (
    ABSENT,
    IMPROVED,
    NOT_TESTABLE,
    UNDETERMINED,
    WORSENED,
    Difference,
    difference,
    sentence,
)
from distracted_pipeline.evaluation.confusion import averaged, fewest_trainings
from distracted_pipeline.evaluation.corrected import Tested, interval_of
from distracted_pipeline.evaluation.statistics import recall, support, swap_signs
from distracted_pipeline.reports.noise import together, training_luck
from distracted_pipeline.reports.report_data import ReportData
from distracted_pipeline.reports.verdict import kind, mark
from distracted_pipeline.variants.recipe_diff import in_words, recipe_diff

MOST_PAIRS: Final = 66
"""Pairs that a report computes: all of twelve variants."""

_VERDICTS: Final = (IMPROVED, WORSENED, UNDETERMINED, NOT_TESTABLE, ABSENT)
_TURNED: Final = {IMPROVED: WORSENED, WORSENED: IMPROVED}


def pairs(report: ReportData) -> dict[str, Any]:
    """Return what the page of pairs knows of every two variants of the main scope."""
    scope = report.main
    names = [name for name in report.variants if name in scope.variants and name in scope.trainings]
    chosen = sorted(combinations(names, 2), key=lambda pair: not _compared(report, *pair))[:MOST_PAIRS]
    signs = swap_signs(report.drivers)
    folds = scope.folds if len(scope.folds) else np.full(len(report.drivers), -1)
    return {
        "classes": [[report.dataset.class_ids[k], report.dataset.class_label(k)] for k in report.classes],
        "variants": [[name, report.title(name)] for name in names],
        "drivers": list(report.drivers),
        "recalls": [_rounded(recall(scope.confusion[name])) for name in names],
        "verdicts": [[word, mark(word), kind(word)] for word in _VERDICTS],
        "left_out": math.comb(len(names), 2) - len(chosen),
        "pairs": {
            f"{names.index(a)} {names.index(b)}": _pair(
                report, a, b, difference(scope.trainings[b], scope.trainings[a], folds, signs)
            )
            for a, b in chosen
        },
    }


def _compared(report: ReportData, a: str, b: str) -> bool:
    return report.reference(a) == b or report.reference(b) == a


def _pair(report: ReportData, a: str, b: str, change: Difference) -> dict[str, Any]:
    """Return `b` against `a`, class by class; what differs the other way round is there for both."""
    found = change.recall
    turned = tuple(_TURNED.get(word, word) for word in change.verdicts)
    counts = averaged(change.variant)
    return {
        "n": support(counts.sum(0)).round().astype(int).tolist(),
        "drivers": change.drivers.tolist(),
        "before": _rounded(change.reference_recall),
        "delta": _rounded(found.delta),
        "low": _rounded(found.low),
        "high": _rounded(found.high),
        "corrected": _corrected(change),
        "luck": [_luck(report, a, b, k) for k in report.classes],
        "p": [_plain(value) for value in change.p_holm],
        "verdict": [_VERDICTS.index(word) for word in change.verdicts],
        "macro": [_plain(value) for value in (_mean(change.reference_recall), change.macro.delta, change.macro_p)],
        "macro_drivers": change.macro_drivers,
        "trainings": [fewest_trainings(counted) for counted in (change.reference, change.variant)],
        "said": [sentence(words, change.obstacles) for words in (change.verdicts, turned)],
        "recipes": [_recipes(report, *pair) for pair in ((a, b), (b, a))],
    }


def _corrected(change: Difference) -> list[list[float] | None]:
    """Return for each class the interval that agrees with its verdict, corrected over the classes of this pair."""
    found, undecided = change.recall, change.verdicts.count(UNDETERMINED)
    parts = zip(change.verdicts, found.delta, found.driver, found.training, found.double, found.df, strict=True)
    ends = [interval_of(Tested(word, *map(float, numbers)), undecided) for word, *numbers in parts]
    return [None if pair is None else [round(end, 4) for end in pair] for pair in ends]


def _luck(report: ReportData, a: str, b: str, k: int) -> float | None:
    found = together(training_luck(report, a, k), training_luck(report, b, k))
    return None if found is None else _plain(found)


def _recipes(report: ReportData, a: str, b: str) -> str:
    known = report.catalogue
    if a not in known or b not in known:
        return "what else differs between the two is not known: one of them has no recipe here"
    return in_words(recipe_diff(known[a], known[b]))


def _mean(values: np.ndarray) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else math.nan


def _plain(value: "float | np.ndarray") -> float | None:
    return round(float(value), 5) if math.isfinite(float(value)) else None


def _rounded(values: np.ndarray) -> Any:
    """Return numbers as nested lists, rounded to what is shown; None where there is none."""
    if values.ndim > 1:
        return [_rounded(row) for row in values]
    return [round(float(value), 4) if math.isfinite(value) else None for value in values]
