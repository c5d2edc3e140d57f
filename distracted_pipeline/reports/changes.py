"""Differences of recall as one-line figures: on every page that states a verdict, on one axis.

The intervals are `evaluation`'s, the drawing is `figures.dot_plots`'s, what luck moves is `noise`.
"""

from markupsafe import Markup

from distracted_pipeline.evaluation.corrected import corrected_interval
from distracted_pipeline.evaluation.table_schemas import ClassScore
from distracted_pipeline.figures import dot_plots, formats
from distracted_pipeline.figures.dot_plots import Axis
from distracted_pipeline.reports.noise import luck_of_change
from distracted_pipeline.reports.report_data import ReportData
from distracted_pipeline.reports.verdict import kind


def change_axis(report: ReportData) -> Axis:
    """Return the axis that all differences of the report share; corrected intervals may reach beyond it."""
    scores = [score for rows in report.main.classes.values() for score in rows]
    return dot_plots.difference_axis(
        end for score in scores for end in (score.delta_low, score.delta_high, score.delta_recall)
    )


def change_figure(report: ReportData, score: ClassScore, axis: Axis) -> Markup:
    """Return a difference with its plain and its corrected interval, over the band of what training luck moves."""
    ends, corrected = (score.delta_low, score.delta_high), corrected_interval(score, report.main.undecided)
    said = f"difference {formats.difference(score.delta_recall)} {formats.difference_interval(*ends)}"
    if corrected:
        said += f", corrected {formats.difference_interval(*corrected)}"
    return dot_plots.track(
        score.delta_recall,
        *ends,
        axis=axis,
        reference=0,
        kind=kind(score.verdict),
        title=said,
        corrected=corrected,
        luck=luck_of_change(report, score.variant, score.class_id),
    )
