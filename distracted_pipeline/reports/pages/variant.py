"""What the page of one variant says: its scores, drivers, confusions, calibration, Grad-CAMs and trainings."""

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from distracted_pipeline.figures import curves, dot_plots, matrices
from distracted_pipeline.reports.by_driver import change_by_driver
from distracted_pipeline.reports.confusions import moves
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
    reference = [score.recall for score in scope.classes.get(report.baseline, [])] or [None] * len(report.classes)
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
        "rows": list(zip(scope.classes.get(name, []), reference, strict=False)),
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
        "lifts": [
            (category, *(_mean_lift(report, name, category, kind) for kind in cams))
            for category in report.dataset.category_names
        ],
        "lifts_tested": report.cams[name].lifts if name in report.cams else [],
        "runs": {fold: _run(report, name, fold, run) for fold, run in report.runs[name].items()},
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


def _mean_lift(report: ReportData, variant: str, category: str, kind: str) -> tuple[float | None, int]:
    """Return the mean lift of a mask category over a variant's correct or confused images, and how many they are."""
    rows = report.cams[variant].rows if variant in report.cams else []
    found = [row.lift(category) for row in rows if row.kind == kind and row.target == "predicted"]
    values = [value for value in found if value is not None]
    return (float(np.mean(values)) if values else None), len(values)


def _run(report: ReportData, name: str, fold: str, run: dict[str, Any]) -> dict[str, Any]:
    """Return what is shown of one training; curves only where every epoch has the number."""
    history = run.get("history") or []
    best = run.get("best_epoch")
    said = f"{report.title(name)}, fold {fold}"
    losses = [curves.Course(words, kind, values) for key, words, kind in _LOSSES if (values := _values(history, key))]
    recall = [curves.Course("validation", "up", values)] if (values := _values(history, _RECALL)) else []
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
