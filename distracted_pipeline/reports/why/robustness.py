"""The section "In worse pictures": what corruptions leave of each class, which technique keeps most, and mirroring."""

from collections.abc import Mapping, Sequence
from typing import Any

from distracted_pipeline.explanation.what_if.corruptions import CORRUPTIONS, STRENGTHS
from distracted_pipeline.explanation.what_if.looks import known_effects, reads_masks
from distracted_pipeline.explanation.what_if.robustness import MIRROR, STAGE, sturdier
from distracted_pipeline.explanation.what_if.tables import Effect
from distracted_pipeline.figures import formats
from distracted_pipeline.reports.site import Site
from distracted_pipeline.reports.why.effects import change, decided, effects_of, figure, points, strongest
from distracted_pipeline.reports.why.section import Section, said
from distracted_pipeline.settings import Settings

MIDDLE = "2"
"""The strength that figures show; the others are said where a cell is pointed at."""


def results(settings: Settings) -> Mapping[str, str]:
    """Return what identifies the effects of each variant."""
    return known_effects(settings, STAGE)


def say(site: Site, names: Sequence[str]) -> dict[str, Any]:
    """Return figures of the change of recall by variant, of the differences between techniques, and of mirroring."""
    report, effects = site.report, effects_of(site, STAGE, names)
    by = {(row.variant, row.class_id, row.about, row.version): row for row in effects}

    def strengths(effect: Effect) -> str:
        each = [by.get((effect.variant, effect.class_id, effect.about, str(s))) for s in STRENGTHS]
        falls = ", ".join(formats.difference(row.delta) if row else formats.NONE for row in each)
        return f"{change(effect)}; at the three strengths {falls}"

    figures = []
    for name in names:
        cells = {(r.class_id, r.about): r for r in effects if (r.variant, r.version) == (name, MIDDLE)}
        title = f"Change of recall by class and corruption, {report.title(name)}"
        figures.append((name, figure(site, list(CORRUPTIONS), cells, set(), title, strengths, asked=False)))
    compared = _compared(site, names)
    every = [row for rows in compared.values() for row in rows]
    sure = decided(every)
    columns = {report.title(name): rows for name, rows in compared.items()}
    sturdy = {(row.class_id, column): row for column, rows in columns.items() for row in rows}
    flipped = {(r.class_id, report.title(r.variant)): r for r in effects if r.about == MIRROR}
    titles = [report.title(name) for name in names]

    def turned(effect: Effect) -> str:
        return (
            f"{change(effect)}; recall {formats.proportion(effect.before)}, mirrored {formats.proportion(effect.after)}"
        )

    ranked = strongest(sure)
    return {
        "figures": figures,
        "sturdier": figure(
            site, list(columns), sturdy, sure, "Change of recall under corruption, against the reference", change
        )
        if columns
        else None,
        "references": [(name, report.reference(name)) for name in compared],
        "sentences": [_sentence(site, row) for row in ranked],
        "sure": ranked,
        "asked": sum(row.p is not None for row in every),
        "mirror": figure(
            site, titles, flipped, set(), "Mirrored frames called the mirrored class, minus recall", turned, asked=False
        )
        if flipped
        else None,
        "mirrors": site.report.dataset.mirrors,
        "corruptions": [(name, kind.words) for name, kind in CORRUPTIONS.items()],
        "strength": MIDDLE,
        "frames": report.settings.why_frames,
        "with_masks": [name for name in names if reads_masks(report.settings, name)],
    }


def of_class(site: Site, names: Sequence[str], k: int) -> list[str]:
    """Return which techniques keep decidedly more, or less, of one class."""
    return [_sentence(site, row) for row in said(site, SECTION.name)["sure"] if row.class_id == k]


def _compared(site: Site, names: Sequence[str]) -> dict[str, list[Effect]]:
    """Return by variant how much more it keeps than its reference; of those that both are current."""
    references = {name: site.report.reference(name) for name in names}
    return {
        name: rows
        for name, reference in references.items()
        if reference is not None and reference in names
        if (rows := sturdier(site.report.settings, name, reference))
    }


def _sentence(site: Site, row: Effect) -> str:
    more = "less" if (row.delta or 0) > 0 else "more"
    return (
        f"Under corruption {site.report.title(row.variant)} loses {points(row.delta)} points {more} of "
        f"{site.class_id(row.class_id)} than {site.report.title(row.version)}."
    )


SECTION = Section(
    name="robustness",
    title="In worse pictures",
    question="Would it last in the dark, out of focus, half covered? Does it know right from left?",
    results=results,
    say=say,
    of_class=of_class,
)
