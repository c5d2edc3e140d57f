"""The differences of recall by class and variant as one figure: on the front page, in the summary, on `compare`."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from distracted_pipeline.evaluation.comparison import IMPROVED, NOT_TESTABLE, UNDETERMINED, WORSENED
from distracted_pipeline.evaluation.table_schemas import ClassScore, VariantScore
from distracted_pipeline.figures import formats, matrices
from distracted_pipeline.figures.matrices import Facts, HeatCell
from distracted_pipeline.reports.detection import detection_rates, telling_categories
from distracted_pipeline.reports.report_data import ReportData
from distracted_pipeline.reports.site import Site, flips_url, images_url, variant_url
from distracted_pipeline.reports.verdict import compared, kind, mark, reference_words
from distracted_pipeline.testability import ALPHA

MEAN = "mean of the classes"

CATEGORIES_SHOWN = 3
"""Mask categories beside the differences; the page of the data has all."""


@dataclass(frozen=True)
class Heatmap:
    """The figure twice, and the same as a table.

    Attributes:
        wide: Variants in the report's order.
        narrow: Those that decide something first, for screens that do not show all of them at once.
        head: Labels of the table's columns: the class, the baseline's recall, the variants, the mask categories.
        rows: Cells of the table, in words.
        full: Difference that has full colour.
        why: Whether rows lead on to why their class changed.
        categories: Names of the mask categories that stand beside the differences.
    """

    wide: Markup
    narrow: Markup
    head: list[str]
    rows: list[list[str]]
    full: float
    why: bool
    categories: list[str]


def heatmap(site: Site, *, linked: bool) -> Heatmap | None:
    """Return the figure; None where nothing is compared.

    Args:
        site: Gives the scores, and where classes have their pages.
        linked: Whether labels lead to the pages of classes and variants, and cells to the images behind them.
    """
    report = site.report
    names = compared(report)
    if not names:
        return None
    columns = {name: _column(site, name, linked) for name in names}
    baseline = report.main.classes.get(report.baseline)
    own = report.main.variants.get(report.baseline)
    recalls = [score.recall for score in baseline] if baseline else [None] * len(report.classes)
    facts = [formats.proportion(value) for value in [*recalls, own.macro_recall if own else None]]
    labels = [*(report.dataset.class_label(k) for k in report.classes), MEAN]
    rows = [(label, site.class_url(k) if linked and k in report.classes else None) for k, label in enumerate(labels)]
    full = matrices.largest_difference(list(columns.values()))
    detected = _detected(report, linked)
    reasons = _reasons(site) if linked else []

    def drawn(order: Sequence[str]) -> Markup:
        return matrices.heatmap(
            rows,
            [(report.title(name), variant_url(name) if linked else None) for name in order],
            list(zip(*(columns[name] for name in order), strict=True)),
            title=f"Difference of recall against {reference_words(report)}, by class and variant",
            before=[Facts("baseline", facts)],
            after=[*detected, *reasons],
            strongest=full,
        )

    deciding = [name for name in names if any(cell.decided for cell in columns[name])]
    return Heatmap(
        drawn(names),
        drawn([*deciding, *(name for name in names if name not in deciding)]),
        ["Class", "Recall of the baseline", *(report.title(name) for name in names), *(f.label for f in detected)],
        [
            [
                label,
                facts[i],
                *(columns[name][i].title.partition(": ")[2] for name in names),
                *(category.values[i] for category in detected),
            ]
            for i, label in enumerate(labels)
        ],
        full,
        bool(reasons),
        [report.dataset.category_names[c] for c in _shown_categories(report)],
    )


def _shown_categories(report: ReportData) -> list[int]:
    rates = detection_rates(report)
    return [] if rates is None else telling_categories(rates)[:CATEGORIES_SHOWN]


def _detected(report: ReportData, linked: bool) -> list[Facts]:
    """Return how often the masks of each class show the categories that tell classes apart."""
    rates, ids, names = detection_rates(report), report.dataset.class_ids, report.dataset.category_names
    if rates is None:
        return []
    return [
        Facts(
            f"{names[c]} found",
            [*(formats.proportion(float(rate)) for rate in rates[:, c]), ""],
            [*(images_url(class_=ids[k], has=names[c]) for k in report.classes), None] if linked else (),
        )
        for c in _shown_categories(report)
    ]


def _reasons(site: Site) -> list[Facts]:
    """Return the column that leads from a class to what was found of its reasons; none where nothing was."""
    links = [f"{site.class_url(k)}#why" if site.evidence_of(k) else None for k in site.report.classes]
    if not any(links):
        return []
    return [Facts("reasons", ["why?" if link else "" for link in [*links, None]], [*links, None], quiet=False)]


def _column(site: Site, name: str, linked: bool) -> list[HeatCell]:
    report, scope = site.report, site.report.main
    cells = [_cell(report, score, linked) for score in scope.classes[name]]
    return [*cells, _macro_cell(report, scope.variants[name], linked)]


def _macro_cell(report: ReportData, score: VariantScore, linked: bool) -> HeatCell:
    delta, p = score.macro_delta, score.macro_p_holm
    decided = p is not None and p < ALPHA
    verdict = (IMPROVED if (delta or 0) > 0 else WORSENED) if decided else UNDETERMINED
    title = (
        f"{report.title(score.variant)}, {MEAN}: {formats.difference(delta)}, "
        f"p {_corrected(p, report.main.means, 'variants')}"
    )
    link = flips_url(report, score.variant) if linked else None
    return HeatCell(delta, title, mark(verdict) if decided else "", decided, link)


def _cell(report: ReportData, score: ClassScore, linked: bool) -> HeatCell:
    title = (
        f"{report.title(score.variant)}, {report.dataset.class_label(score.class_id)}: "
        f"{formats.difference(score.delta_recall)} {formats.difference_interval(score.delta_low, score.delta_high)}, "
        f"p {_corrected(score.p_holm, report.main.questions, 'questions')}, {score.verdict}"
    )
    decided = kind(score.verdict) != "even"
    shown = mark(score.verdict) if decided or score.verdict == NOT_TESTABLE else ""
    link = flips_url(report, score.variant, score.class_id) if linked else None
    return HeatCell(score.delta_recall, title, shown, decided, link)


def _corrected(p: float | None, questions: int, what: str) -> str:
    return formats.p_value(p) + (f" (Holm over {questions} {what})" if p is not None and questions else "")
