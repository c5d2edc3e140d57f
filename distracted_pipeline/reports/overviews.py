"""What the pages about the whole say: index, summary, compare, data, images.

Values and figures only; wording and layout are the templates'. Pages about one thing are `details`.
"""

from typing import Any

import numpy as np
from markupsafe import Markup

from distracted_pipeline.figures import dot_plots, formats, matrices
from distracted_pipeline.reports import facts
from distracted_pipeline.reports.findings import ClassScore, Findings
from distracted_pipeline.reports.site import Site, class_url, variant_url
from distracted_pipeline.vocabulary import CLASS_IDS, KAGGLE_LABELLED

PROBLEMS_SHOWN = 50
MOVES_SHOWN = 3
"""Confusions shown per variant and direction where all variants stand side by side."""


def index(site: Site) -> dict[str, Any]:
    """Return what the front page says."""
    f = site.findings
    return {
        "title": "Report",
        **_overall(site),
        "heatmap": _heatmap(f, linked=True),
        "example": site.example(),
        "seed_rows": facts.seed_rows(f),
        "quoted": () if f.settings.synthetic else facts.SEED_QUOTED,
    }


def summary(site: Site) -> dict[str, Any]:
    """Return what the page that stands alone says."""
    return {"title": "Summary", **_overall(site), "heatmap": _heatmap(site.findings, linked=False)}


def compare(site: Site) -> dict[str, Any]:
    """Return what the page of all differences says."""
    f = site.findings
    rows = [facts.class_rows(f, k) for k in range(len(CLASS_IDS))]
    axis = dot_plots.difference_axis(
        end for of_class in rows for score, _ in of_class for end in (score.delta_low, score.delta_high)
    )

    def change(score: ClassScore) -> Markup:
        ends = (score.delta_low, score.delta_high)
        said = f"difference {formats.difference(score.delta_recall)} {formats.difference_interval(*ends)}"
        return dot_plots.track(score.delta_recall, *ends, axis=axis, reference=0, verdict=score.verdict, title=said)

    return {
        "title": "Compare",
        "heatmap": _heatmap(f, linked=True),
        "class_rows": rows,
        "change": change,
        "change_scale": dot_plots.scale(axis),
        "moves": [(name, *facts.moves(f, name, MOVES_SHOWN)) for name in facts.compared(f) if name in f.main.moves],
        "explained_by_all": site.explained_by_all,
        "flips": site.selection.flips,
    }


def data(site: Site) -> dict[str, Any]:
    """Return what the page of images, problems and masks says."""
    found = list(site.findings.images.values())
    counts: dict[str, list[int]] = {}
    parts = {image.subject: image.split for image in found}
    for image in found:
        counts.setdefault(image.subject, [0] * len(CLASS_IDS))[image.true] += 1
    return {
        "title": "Data and masks",
        "by_driver": [(name, parts[name], row) for name, row in sorted(counts.items())],
        "by_class": np.sum(list(counts.values()), axis=0).tolist(),
        "problems": site.problems[:PROBLEMS_SHOWN],
        "problems_total": len(site.problems),
        "samples": [
            site.shown[names[0]] for names in site.selection.masks if names and names[0] in site.pictures.masks
        ],
    }


def images(site: Site) -> dict[str, Any]:
    """Return what the page of all images with pages says."""
    return {"title": "Images", "images": site.selection.images, "left_out": site.selection.left_out}


def _overall(site: Site) -> dict[str, Any]:
    f, scope = site.findings, site.findings.main
    return {
        "headline": facts.headline(f),
        "others": len(scope.variants) > 2,
        "missing": site.missing,
        "leaderboard": facts.leaderboard(f),
        "seeded": any(v.seed_spread is not None for v in scope.variants.values()),
        "kaggle": KAGGLE_LABELLED,
        "backbone": facts.model_shown(f.settings.backbone),
    }


def _heatmap(f: Findings, *, linked: bool) -> Markup | None:
    names, scope = facts.compared(f), f.main
    if not names:
        return None
    cells = [[_heat_cell(f, scope.classes[name][k]) for name in names] for k in range(len(CLASS_IDS))]
    macro = [
        matrices.HeatCell(scope.variants[name].macro_delta, "", f"{f.title(name)}: difference of macro recall")
        for name in names
    ]
    rows = [(formats.class_label(k), class_url(k) if linked else None) for k in range(len(CLASS_IDS))]
    return matrices.heatmap(
        [*rows, ("mean of the classes", None)],
        [(f.title(name), variant_url(name) if linked else None) for name in names],
        [*cells, macro],
        title=f"Difference of recall against {f.title(f.baseline)}, by class and variant",
    )


def _heat_cell(f: Findings, score: ClassScore) -> matrices.HeatCell:
    words = (
        f"{f.title(score.variant)}, {formats.class_label(score.class_id)}: {formats.difference(score.delta_recall)} "
        f"{formats.difference_interval(score.delta_low, score.delta_high)}, p (Holm) {formats.p_value(score.p_holm)}, "
        f"{score.verdict}"
    )
    return matrices.HeatCell(score.delta_recall, score.verdict, words)
