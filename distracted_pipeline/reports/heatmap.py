"""The differences of recall by class and variant as one figure: on the front page, in the summary, on `compare`."""

from markupsafe import Markup

from distracted_pipeline.evaluation.comparison import NOT_TESTABLE
from distracted_pipeline.evaluation.table_schemas import ClassScore
from distracted_pipeline.figures import formats, matrices
from distracted_pipeline.reports.report_data import ReportData
from distracted_pipeline.reports.site import Site, variant_url
from distracted_pipeline.reports.verdict import compared, kind, mark


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
    macro = [
        matrices.HeatCell(scope.variants[name].macro_delta, f"{report.title(name)}: difference of macro recall")
        for name in names
    ]
    rows = [(report.dataset.class_label(k), site.class_url(k) if linked else None) for k in report.classes]
    return matrices.heatmap(
        [*rows, ("mean of the classes", None)],
        [(report.title(name), variant_url(name) if linked else None) for name in names],
        [*cells, macro],
        title=f"Difference of recall against {report.title(report.baseline)}, by class and variant",
    )


def _cell(report: ReportData, score: ClassScore) -> matrices.HeatCell:
    title = (
        f"{report.title(score.variant)}, {report.dataset.class_label(score.class_id)}: "
        f"{formats.difference(score.delta_recall)} {formats.difference_interval(score.delta_low, score.delta_high)}, "
        f"p (Holm) {formats.p_value(score.p_holm)}, {score.verdict}"
    )
    decided = kind(score.verdict) != "even"
    shown = mark(score.verdict) if decided or score.verdict == NOT_TESTABLE else ""
    return matrices.HeatCell(score.delta_recall, title, shown, decided)
