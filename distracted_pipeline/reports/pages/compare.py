"""What the page of all differences says: class by class, confusion by confusion, and the images behind them."""

from typing import Any

from distracted_pipeline.reports.confusions import moves
from distracted_pipeline.reports.detection import found_in
from distracted_pipeline.reports.heatmap import heatmap
from distracted_pipeline.reports.selection import spread
from distracted_pipeline.reports.site import Site
from distracted_pipeline.reports.verdict import class_rows, compared

FLIPS_SHOWN = 6
"""Images shown of each direction of a variant's flips; the list of images has all."""

MOVES_SHOWN = 3
"""Confusions shown per variant and direction where all variants stand side by side."""


def page(site: Site) -> dict[str, Any]:
    """Return what the page of all differences says."""
    report = site.report

    def few(names: list[str]) -> list[str]:
        return spread((site.shown[img] for img in names if img in site.shown), FLIPS_SHOWN)

    return {
        "title": "Compare",
        "references": [
            (name, report.reference(name), report.also_differs(name), report.main.variants[name].trainings)
            for name in compared(report)
        ],
        "heatmap": heatmap(site, linked=True),
        "class_rows": [class_rows(report, k) for k in report.classes],
        "moves": [(name, *moves(report, name, MOVES_SHOWN)) for name in compared(report) if name in report.main.moves],
        "explained_by_all": site.explained_by_all,
        "flips": site.selection.flips,
        "few": few,
        "detected": [f"Its masks show: {said}." if (said := found_in(report, k)) else "" for k in report.classes],
    }
