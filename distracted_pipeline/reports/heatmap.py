"""The differences of recall by class and variant as one figure: on the front page, in the summary, on `compare`."""

from markupsafe import Markup

from distracted_pipeline.evaluation.comparison import IMPROVED, NOT_TESTABLE, UNDETERMINED, WORSENED
from distracted_pipeline.evaluation.table_schemas import ClassScore, VariantScore
from distracted_pipeline.figures import formats, matrices
from distracted_pipeline.reports.report_data import ReportData
from distracted_pipeline.reports.site import Site, variant_url
from distracted_pipeline.reports.verdict import compared, kind, mark, reference_words
from distracted_pipeline.testability import ALPHA


def heatmap(site: Site, *, linked: bool) -> Markup | None:
    """Return the figure; None where nothing is compared.

    Args:
        site: Gives the scores, and where classes have their pages.
        linked: Whether labels lead to the pages of classes and variants.
    """
    report = site.report
    names, scope = compared(report), report.main
    if not names:
        return None
    cells = [[_cell(report, scope.classes[name][k]) for name in names] for k in report.classes]
    macro = [_macro_cell(report, scope.variants[name]) for name in names]
    rows = [(report.dataset.class_label(k), site.class_url(k) if linked else None) for k in report.classes]
    return matrices.heatmap(
        [*rows, ("mean of the classes", None)],
        [(report.title(name), variant_url(name) if linked else None) for name in names],
        [*cells, macro],
        title=f"Difference of recall against {reference_words(report)}, by class and variant",
    )


def _macro_cell(report: ReportData, score: VariantScore) -> matrices.HeatCell:
    delta, p = score.macro_delta, score.macro_p_holm
    decided = p is not None and p < ALPHA
    verdict = (IMPROVED if (delta or 0) > 0 else WORSENED) if decided else UNDETERMINED
    title = (
        f"{report.title(score.variant)}, mean of the classes: {formats.difference(delta)}, "
        f"p {_corrected(p, report.main.means, 'variants')}"
    )
    return matrices.HeatCell(delta, title, mark(verdict) if decided else "", decided)


def _cell(report: ReportData, score: ClassScore) -> matrices.HeatCell:
    title = (
        f"{report.title(score.variant)}, {report.dataset.class_label(score.class_id)}: "
        f"{formats.difference(score.delta_recall)} {formats.difference_interval(score.delta_low, score.delta_high)}, "
        f"p {_corrected(score.p_holm, report.main.questions, 'questions')}, {score.verdict}"
    )
    decided = kind(score.verdict) != "even"
    shown = mark(score.verdict) if decided or score.verdict == NOT_TESTABLE else ""
    return matrices.HeatCell(score.delta_recall, title, shown, decided)


def _corrected(p: float | None, questions: int, what: str) -> str:
    return formats.p_value(p) + (f" (Holm over {questions} {what})" if p is not None and questions else "")
