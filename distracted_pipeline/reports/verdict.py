"""What came out, in words and in order: the sentence at the top of a report, its leaderboard, the sign of a verdict.

Pure functions of the report's data; they return values and words, never markup. Which classes are confused is
`confusions`, what differs between drivers `by_driver`.
"""

from typing import Final

from distracted_pipeline.dataset import STATE_FARM
from distracted_pipeline.evaluation.comparison import (
    ABSENT,
    BASELINE,
    CONTROL,
    FEW_DRIVERS,
    IMPROVED,
    LONE_DRIVERS,
    NO_CLAIM,
    NOT_COMPARED,
    NOT_TESTABLE,
    UNDETERMINED,
    WORSENED,
)
from distracted_pipeline.evaluation.ranking import telling
from distracted_pipeline.evaluation.table_schemas import ClassScore, VariantScore
from distracted_pipeline.figures import formats
from distracted_pipeline.figures.dot_plots import Kind
from distracted_pipeline.reports.report_data import ReportData
from distracted_pipeline.serving.champion import best_score

ORIGINAL_QUOTED: Final = (("Top only", 0.68), ("Adapters", 0.68), ("Masks + embedding", 0.45), ("Masks only", 0.42))
"""Dev accuracy of the original project's own runs (github:Ispanicus/Distracted-Drivers), corrected for its mistakes."""

MARKS: Final = {
    IMPROVED: "▲",
    WORSENED: "▼",
    UNDETERMINED: "○",
    NOT_TESTABLE: "?",
    BASELINE: "■",
    CONTROL: "□",
    ABSENT: formats.NONE,
}
"""The sign of each verdict, so that no verdict is told by colour alone."""

_OF_DRIVERS: Final = (FEW_DRIVERS, LONE_DRIVERS, "")
"""What is in the way where there are too few drivers; earlier versions left it empty."""

_KINDS: Final[dict[str, Kind]] = {IMPROVED: "up", WORSENED: "down"}


def mark(verdict: str) -> str:
    """Return the sign of a verdict, empty for one that this version does not know."""
    return MARKS.get(verdict, "")


def kind(verdict: str) -> Kind:
    """Return how a verdict is drawn: `up`, `down`, or `even` for all that decides nothing."""
    return _KINDS.get(verdict, "even")


def why_not_comparable(report: ReportData) -> str:
    """Return why nothing is compared, empty where something is."""
    if compared(report):
        return ""
    baseline = report.title(report.baseline)
    if report.baseline not in report.main.variants:
        return f"the baseline, {baseline}, has no {report.main.words} yet."
    return f"only the baseline, {baseline}, has {report.main.words} so far."


def compared(report: ReportData) -> list[str]:
    """Return the variants that were compared with another one, in catalogue order."""
    known = report.main.classes
    return [
        name
        for name in report.variants
        if name in known
        and report.reference(name) is not None
        and any(score.obstacle != NOT_COMPARED for score in known[name])
    ]


def reference_words(report: ReportData) -> str:
    """Return what the variants are compared with, in words, as follows `minus that of` and `against`."""
    found = list(dict.fromkeys(report.reference(name) for name in compared(report)))
    baseline = f"the baseline, {report.title(report.baseline)}"
    if len(found) == 1 and found[0] not in (None, report.baseline):
        return f"its control, {report.title(found[0])}"
    return baseline if len(found) < 2 else f"its own reference ({baseline}, or a control)"


def headline(report: ReportData) -> str | None:
    """Return the variant that has the most to tell; None where nothing is compared."""
    scope = report.main
    return max(compared(report), key=lambda name: telling(scope.variants[name], scope.classes[name]), default=None)


def verdict_line(report: ReportData) -> str:
    """Return the report's result in one plain sentence."""
    best = headline(report)
    if best is None:
        return f"Nothing can be compared yet: {why_not_comparable(report)}"
    without = lacking(report.main.variants[best])
    reference = report.title(report.reference(best) or report.baseline)
    return f"{report.title(best)}{without}, compared with {reference}: {report.main.verdict(best)}."


def answer(report: ReportData) -> str:
    """Return what the variant with the most to tell changed, in one sentence with its numbers, without its name.

    Begins where the name ends: ` improved c0 and c1 by 45 to 52 points (...)`. Empty where nothing is compared.
    """
    best = headline(report)
    if best is None:
        return ""
    scope, reference = report.main, report.reference(best) or report.baseline
    changed = [_changed(report, best, verdict) for verdict in (IMPROVED, WORSENED)]
    parts = [part for part in changed if part]
    told = " and ".join(parts) if parts else f": {scope.verdict(best)}"
    before, after = (scope.variants[name].macro_recall for name in (reference, best))
    macro = f"; macro recall {formats.proportion(before)} → {formats.proportion(after)}"
    return f"{lacking(scope.variants[best])}{told}{macro}."


def _changed(report: ReportData, variant: str, verdict: str) -> str:
    """Return ` improved c0 and c1 by 45 to 52 points (from .42 to .60 in Top only, the baseline)`; empty for none."""
    reference = report.reference(variant) or report.baseline
    scores = [score for score in report.main.classes[variant] if score.verdict == verdict]
    if not scores:
        return ""
    classes = formats.listing([report.dataset.class_ids[score.class_id] for score in scores])
    points = [round(abs(score.delta_recall or 0) * 100) for score in scores]
    recalls = report.reference_recalls(variant)
    known = [recall for score in scores if (recall := recalls[score.class_id]) is not None]
    role = "the baseline" if reference == report.baseline else "its control"
    by = f"{min(points)} to {max(points)} points" if min(points) < max(points) else f"{points[0]} points"
    low, high = (formats.proportion(end) for end in (min(known), max(known)))
    was = f"{low} to {high}" if low != high else low
    return f" {verdict} {classes} by {by} ({report.title(reference)}, {role}: {was})"


def champion(report: ReportData) -> VariantScore | None:
    """Return the score of the champion, where it was the best one; None while there is none."""
    found = best_score(score for scope in report.scopes.values() for score in scope.variants.values())
    return found[1] if found else None


def lacking(score: VariantScore) -> str:
    """Return what a variant lacks as ` (without fold 3)`, empty for a complete one."""
    return f" (without fold {formats.listing(score.folds_missing)})" if score.folds_missing else ""


def leaderboard(report: ReportData) -> list[VariantScore]:
    """Return the variants of the main scope, best macro recall on the drivers in common first.

    Those that lack folds come after all others.
    """

    def place(score: VariantScore) -> tuple[bool, float]:
        recall = score.macro_recall if score.ranked_recall is None else score.ranked_recall
        return bool(score.folds_missing), -(recall or 0)

    return sorted(report.main.variants.values(), key=place)


def leaderboard_markdown(report: ReportData) -> str:
    """Return the leaderboard in Markdown: variant, macro recall, its difference, and the classes it changed."""
    lines = ["| variant | macro recall | Δ | classes |", "| --- | --- | --- | --- |"]
    for score in leaderboard(report):
        title = report.title(score.variant).replace("|", "\\|").replace("<", "&lt;")
        recall, delta = formats.proportion(score.macro_recall), formats.difference(score.macro_delta)
        lines.append(f"| {title}{lacking(score)} | {recall} | {delta} | {report.main.verdict(score.variant)} |")
    return "\n".join(lines)


def tally(report: ReportData, variant: str) -> list[tuple[str, int]]:
    """Return how many classes have each verdict, empty where nothing is tested: the first three words always."""
    verdicts = [score.verdict for score in report.main.classes[variant]]
    if set(verdicts) <= {NOT_TESTABLE, *NO_CLAIM}:
        return []
    always = (IMPROVED, WORSENED, UNDETERMINED)
    return [(word, verdicts.count(word)) for word in (*always, NOT_TESTABLE, ABSENT) if word in (*always, *verdicts)]


def class_rows(report: ReportData, k: int) -> list[tuple[ClassScore, float | None]]:
    """Return the score of every variant on one class, each with the recall of what it is compared with."""
    classes = report.main.classes
    return [(classes[name][k], report.reference_recalls(name)[k]) for name in report.variants if name in classes]


def original_rows(report: ReportData) -> list[tuple[str, VariantScore | None, VariantScore | None]]:
    """Return variant, dev score and test score of those that the original split has predictions of."""
    dev, test = (report.scopes[part].variants if part in report.scopes else {} for part in ("dev", "test"))
    return [(name, dev.get(name), test.get(name)) for name in report.variants if name in dev or name in test]


def undecidable(report: ReportData, scope: str) -> bool:
    """Tell whether a scope has too few drivers to decide any class of any variant."""
    known = report.scopes[scope].classes if scope in report.scopes else {}
    scores = [score for found in known.values() for score in found]
    too_few = [score.verdict == NOT_TESTABLE and score.obstacle in _OF_DRIVERS for score in scores]
    return any(too_few) and all(few or score.verdict in NO_CLAIM for few, score in zip(too_few, scores, strict=True))


def of_original_project(report: ReportData) -> bool:
    """Tell whether the data set is the one that the original project's own numbers are of."""
    return report.dataset.split == STATE_FARM.split and report.dataset.has_state_farms_classes
