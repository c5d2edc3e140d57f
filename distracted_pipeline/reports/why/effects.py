"""What the sections on altered frames share: effects as they lie on disk, corrected for all that a section asks."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from distracted_pipeline.evaluation.statistics import DRAWS, holm_of_askable
from distracted_pipeline.evaluation.tables_io import read_rows
from distracted_pipeline.explanation.what_if.looks import EFFECTS_FILE, Stage, folder_of
from distracted_pipeline.explanation.what_if.tables import Effect
from distracted_pipeline.figures import formats, matrices
from distracted_pipeline.figures.matrices import HeatCell
from distracted_pipeline.reports.site import Site
from distracted_pipeline.reports.why.section import said
from distracted_pipeline.testability import ALPHA

SENTENCES = 12
"""Of the decided effects, the strongest that a section lists."""

Cells = Mapping[tuple[int, str], Effect]
"""Effects by class and by what stands at the head of a figure's column."""


def effects_of(site: Site, stage: Stage, names: Sequence[str]) -> list[Effect]:
    """Return the effects of some variants."""
    folder = site.report.settings
    return [row for name in names for row in read_rows(folder_of(folder, stage.asset, name) / EFFECTS_FILE, Effect)]


def corrected(effects: Sequence[Effect]) -> dict[Effect, float]:
    """Return p of effects, corrected by Holm for all of them together; those that cannot be decided are left out."""
    p = np.array([np.nan if row.p is None else row.p for row in effects])
    drivers = np.array([row.drivers if row.p is not None else 0 for row in effects])
    adjusted = holm_of_askable(p, drivers, DRAWS) if len(effects) else p
    return {row: float(value) for row, value in zip(effects, adjusted, strict=True) if np.isfinite(value)}


def decided(effects: Sequence[Effect]) -> set[Effect]:
    """Return the effects that luck of drivers and trainings rarely gives, asked together."""
    return {row for row, p in corrected(effects).items() if p < ALPHA}


def strongest(sure: Collection[Effect]) -> list[Effect]:
    """Return effects by their size, the largest first."""
    return sorted(sure, key=lambda row: (-abs(row.delta or 0), row.variant, row.class_id, row.about, row.version))


Sentence = Callable[[Site, Effect], str]
"""Says one decided effect."""


def tell(
    site: Site,
    names: Sequence[str],
    altered: Sequence[Effect],
    versions: Sequence[str],
    *,
    title: Callable[[str], str],
    cell: Callable[[Effect], str],
    sentence: Sentence,
) -> dict[str, Any]:
    """Return what the template of a section that alters mask categories gets: decided effects in words, and figures.

    Args:
        site: Where classes have their pages.
        names: The variants.
        altered: All effects that the section asks about together.
        versions: The alterations; each has a figure of each variant.
        title: Of the figures of a version, before the variant's.
        cell: What a cell says when it is pointed at, after class and category.
        sentence: See there.
    """
    report, sure = site.report, decided(altered)
    ranked = strongest(sure)
    categories = [name for name in report.dataset.category_names if any(row.about == name for row in altered)]

    def drawn(name: str, version: str) -> Markup:
        cells = {(row.class_id, row.about): row for row in altered if (row.variant, row.version) == (name, version)}
        return figure(site, categories, cells, sure, f"{title(version)}, {report.title(name)}", cell)

    return {
        "sentences": [sentence(site, row) for row in ranked[:SENTENCES]],
        "sure": ranked,
        "decided": len(sure),
        "asked": sum(row.p is not None for row in altered),
        "categories": categories,
        "figures": [(name, version, drawn(name, version)) for name in names for version in versions],
        "frames": report.settings.why_frames,
    }


def of_class(site: Site, section: str, k: int, most: int, sentence: Sentence) -> list[str]:
    """Return what such a section decided of one class, in words, the strongest first."""
    return [sentence(site, row) for row in said(site, section)["sure"] if row.class_id == k][:most]


def figure(
    site: Site,
    columns: Sequence[str],
    cells: Cells,
    sure: set[Effect],
    title: str,
    say: Callable[[Effect], str],
    *,
    asked: bool = True,
) -> Markup:
    """Return changes by class and column, those that are decided framed.

    Args:
        site: Where classes have their pages.
        columns: Heads.
        cells: What is known.
        sure: The effects that are decided.
        title: Of the figure.
        say: What a cell says when it is pointed at, after class and column.
        asked: Whether cells are tested at all; what then is not testable gets a question mark.
    """
    report = site.report

    def cell(k: int, column: str) -> HeatCell:
        effect = cells.get((k, column))
        if effect is None:
            return HeatCell(None, f"{report.dataset.class_label(k)}, {column}: no frames", "", False, None)
        words = f"{report.dataset.class_label(k)}, {column}: {say(effect)}"
        mark = _mark(effect) if effect in sure else "?" if asked and effect.p is None else ""
        return HeatCell(effect.delta, words, mark, effect in sure, None)

    return matrices.heatmap(
        [(report.dataset.class_label(k), site.class_url(k)) for k in report.classes],
        [(column, None) for column in columns],
        [[cell(k, column) for column in columns] for k in report.classes],
        title=title,
    )


def change(effect: Effect) -> str:
    """Return an estimate with its interval and how many frames it is of, in words."""
    ends = formats.difference_interval(effect.low, effect.high)
    return f"{formats.difference(effect.delta)} {ends}, {effect.frames} frames of {effect.drivers} drivers"


def points(value: float | None) -> str:
    """Return a difference of proportions in points of a hundred, without its sign."""
    return formats.NONE if value is None else f"{abs(100 * value):.0f}"


def _mark(effect: Effect) -> str:
    return "▲" if (effect.delta or 0) > 0 else "▼"
