"""What the page of one variant says: its scores, drivers, confusions, calibration, Grad-CAMs and trainings."""

import json
import math
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from distracted_pipeline.explanation.tables import Lift
from distracted_pipeline.figures import curves, dot_plots, formats, matrices
from distracted_pipeline.reports.by_driver import change_by_driver
from distracted_pipeline.reports.confusions import moves
from distracted_pipeline.reports.noise import noise_sentence
from distracted_pipeline.reports.report_data import ReportData
from distracted_pipeline.reports.site import Pair, Site
from distracted_pipeline.variants.config import VariantConfig

STRIPS_PER_CLASS = 2
"""Correct, and as many confused, Grad-CAM rows per class on a variant's page; image pages have all."""

MOVES_SHOWN = 6

_LOSSES = (("train_loss", "training", "even"), ("validation_loss", "validation", "down"))
_RECALL = "validation_macro_recall"
_READS = {
    "pixels": "images",
    "pooled": "the backbone's pooled embedding",
    "last_block": "the backbone's last block",
    "fractions": "mask fractions",
}
_NO_PARAMETERS = frozenset({"name", "label", "description"})


def page(site: Site, name: str) -> dict[str, Any]:
    """Return what the page of a variant says."""
    report, scope = site.report, site.report.main
    config = report.catalogue.get(name)
    pairs = site.cam_pairs(name)
    cams = {kind: _few_per_class([p for p in pairs if p.kind == kind]) for kind in ("correct", "confused")}
    bins = scope.reliability.get(name, [])
    changes = [change_by_driver(report, name, k) for k in report.classes]
    axis = dot_plots.difference_axis(value for found in changes for _, value in found)
    return {
        "title": report.title(name),
        "variant": name,
        "config": config,
        "trains": config.technique.trains if config else "",
        "reads": [_READS.get(name, f"the backbone's {name}") for name in config.inputs] if config else [],
        "parameters": _parameters(config),
        "score": scope.variants.get(name),
        "also_differs": report.also_differs(name),
        "noise": noise_sentence(report, name) if name in scope.variants else "",
        "own": sum(found.p_own is not None for found in scope.classes.get(name, [])),
        "rows": list(zip(scope.classes.get(name, []), report.reference_recalls(name), strict=False)),
        "changes": [_change_row(report, name, k, found, axis) for k, found in enumerate(changes) if found],
        "change_scale": dot_plots.scale(axis),
        "moves": moves(report, name, MOVES_SHOWN),
        "confusion": matrices.confusion(
            scope.confusion[name].sum(0),
            [report.dataset.class_label(k) for k in report.classes],
            title=f"Confusion matrix of {report.title(name)}, {scope.words}",
        )
        if name in scope.confusion
        else None,
        "bins": bins,
        "reliability": curves.reliability(bins, title=f"Accuracy by confidence of {report.title(name)}")
        if bins
        else None,
        "cams": cams if pairs else None,
        "more_cams": len(pairs) - sum(len(shown) for shown in cams.values()),
        **_lifts(report, name),
        "runs": {
            f"{fold}, training {i + 1} of {len(runs)}": _run(report, name, fold, run, curves_too=i == 0)
            for fold, runs in report.runs[name].items()
            for i, run in enumerate(runs)
        },
    }


def _parameters(config: VariantConfig | None) -> list[tuple[str, str]]:
    if config is None:
        return []
    shown = config.model_dump(mode="json", exclude=set(_NO_PARAMETERS), exclude_none=True)
    return [(name, json.dumps(value).strip('"[]')) for name, value in shown.items() if value != []]


def _change_row(
    report: ReportData, name: str, k: int, found: list[tuple[str, float]], axis: dot_plots.Axis
) -> dict[str, Any]:
    title = f"What {report.title(name)} changed in the recall of {report.dataset.class_label(k)}, by driver"
    return {
        "k": k,
        "figure": dot_plots.strip(found, axis=axis, reference=0, title=title),
        "better": sum(value > 0 for _, value in found),
        "worse": sum(value < 0 for _, value in found),
        "lowest": min(found, key=lambda pair: pair[1]),
        "highest": max(found, key=lambda pair: pair[1]),
        "drivers": len(found),
        "i2": report.main.classes[name][k].i2,
    }


def _lifts(report: ReportData, name: str) -> dict[str, Any]:
    """Return the lift of each mask category beside that of permuted CAMs, and what their ratio says."""
    found = report.cams[name].lifts if name in report.cams else []
    if any(lift.lift is not None and lift.permuted is None for lift in found):
        found = []  # of an earlier version: a lift on its own says nothing
    axis = dot_plots.ratio_axis(end for lift in found for end in (lift.ratio, lift.ratio_low, lift.ratio_high))

    def figure(lift: Lift) -> Markup:
        return dot_plots.ratio_track(
            lift.ratio,
            lift.ratio_low,
            lift.ratio_high,
            axis=axis,
            title=f"{lift.category}: ratio {formats.decimal(lift.ratio)} to permuted Grad-CAMs",
        )

    return {
        "lifts": [(lift, figure(lift), _evidence(lift)) for lift in found],
        "ratio_scale": dot_plots.scale(axis),
    }


def _evidence(lift: Lift) -> str:
    """Return what the ratio of a lift to that of permuted CAMs says, by its interval alone."""
    if lift.ratio_low is None or lift.ratio_high is None:
        return formats.NONE
    if lift.ratio_low > 1:
        return "more than place explains"
    return "less than place explains" if lift.ratio_high < 1 else "no evidence"


def _run(report: ReportData, name: str, fold: str, run: dict[str, Any], *, curves_too: bool) -> dict[str, Any]:
    """Return what is shown of one training; curves of a fold's first one, where every epoch has the number."""
    history = run.get("history") or []
    best = run.get("best_epoch")
    said = f"{report.title(name)}, fold {fold}"
    drawn = history if curves_too else []
    losses = [curves.Course(words, kind, values) for key, words, kind in _LOSSES if (values := _values(drawn, key))]
    recall = [curves.Course("validation", "up", values)] if (values := _values(drawn, _RECALL)) else []
    title = f"Macro recall on the validation drivers: {said}"
    return {
        **{key: run.get(key) for key in ("best_epoch", "seconds", "mlflow_run_id", "dagster_run_id")},
        "epochs": len(history),
        "losses": curves.courses(losses, best, title=f"Loss by epoch: {said}") if losses else None,
        "recall": curves.courses(recall, best, title=title) if recall else None,
    }


def _values(history: list[dict[str, Any]], key: str) -> list[float]:
    values = [line.get(key) for line in history]
    if not all(isinstance(value, int | float) and math.isfinite(value) for value in values):
        return []
    return [float(value) for value in values if value is not None]


def _few_per_class(pairs: Sequence[Pair]) -> list[Pair]:
    kept: list[Pair] = []
    for pair in pairs:
        if sum(other.true == pair.true for other in kept) < STRIPS_PER_CLASS:
            kept.append(pair)
    return kept
