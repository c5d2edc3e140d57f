"""What the page of one variant says: its scores, drivers, confusions, calibration, Grad-CAMs and trainings."""

import json
import math
from collections.abc import Callable
from typing import Any

from markupsafe import Markup

from distracted_pipeline.evaluation.comparison import UNDETERMINED
from distracted_pipeline.evaluation.plan_tables import drivers_to_decide
from distracted_pipeline.evaluation.statistics import recall, support
from distracted_pipeline.explanation.tables import Lift
from distracted_pipeline.figures import curves, dot_plots, formats, matrices
from distracted_pipeline.reports.by_driver import change_by_driver
from distracted_pipeline.reports.confusions import moves
from distracted_pipeline.reports.detection import found_in
from distracted_pipeline.reports.noise import luck_of_driver, noise_sentence, placebo, together
from distracted_pipeline.reports.report_data import ReportData
from distracted_pipeline.reports.site import Site, images_url
from distracted_pipeline.variants.config import VariantConfig

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
    cams = {kind: [pair for pair in pairs if pair.kind == kind] for kind in ("correct", "confused")}
    bins = scope.reliability.get(name, [])
    changes = [change_by_driver(report, name, k) for k in report.classes]
    axis = dot_plots.difference_axis(value for found in changes for _, value in found)
    ids = report.dataset.class_ids
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
        "placebo": placebo(report, name),
        "to_decide": _to_decide(site, name),
        "found": [found_in(report, k) for k in report.classes] if config and "fractions" in config.inputs else [],
        "by_driver": _by_driver(report, name) if name in scope.confusion else None,
        "changes": [_change_row(report, name, k, found, axis) for k, found in enumerate(changes) if found],
        "by_driver_scale": dot_plots.scale(axis),
        "moves": moves(report, name, MOVES_SHOWN),
        "confusion": matrices.confusion(
            scope.confusion[name].sum(0),
            [report.dataset.class_label(k) for k in report.classes],
            title=f"Confusion matrix of {report.title(name)}, {scope.words}",
            link=lambda i, j: "../" + images_url(variant=name, class_=ids[i], called=ids[j]),
        )
        if name in scope.confusion
        else None,
        "bins": bins,
        "reliability": curves.reliability(bins, title=f"Accuracy by confidence of {report.title(name)}")
        if bins
        else None,
        "cams": cams if pairs else None,
        "more_cams": len({row.img for row in report.cams[name].rows}) - len(pairs) if name in report.cams else 0,
        **_lifts(report, name),
        "runs": _runs(report, name),
    }


def _parameters(config: VariantConfig | None) -> list[tuple[str, str]]:
    if config is None:
        return []
    shown = config.model_dump(mode="json", exclude=set(_NO_PARAMETERS), exclude_none=True)
    return [(name, json.dumps(value).strip('"[]')) for name, value in shown.items() if value != []]


def _to_decide(site: Site, name: str) -> list[str]:
    """Return for each class how many drivers it would take to decide it; nothing where no class is undetermined."""
    scores = site.report.main.classes.get(name, [])
    if name not in site.studies or not any(score.verdict == UNDETERMINED for score in scores):
        return []
    return [
        drivers_to_decide(site.studies[name], score.class_id, score.delta_recall)
        if score.verdict == UNDETERMINED and score.delta_recall is not None
        else ""
        for score in scores
    ]


def _by_driver(report: ReportData, name: str) -> Markup:
    """Return the recall of every class for every driver that the variant predicts."""
    counts, ids = report.main.confusion[name], report.dataset.class_ids
    known = [d for d in range(len(report.drivers)) if counts[d].any()]
    recalls, images = recall(counts[known]), support(counts[known])
    drivers = [report.drivers[d] for d in known]
    return matrices.shares(
        [(driver, None) for driver in drivers],
        list(ids),
        recalls,
        title=f"Recall of {report.title(name)} by driver and class",
        say=lambda d, k: (
            f"{drivers[d]}, {report.dataset.class_label(k)}: {formats.proportion(float(recalls[d, k]))} "
            f"of {images[d, k]:,.0f} images"
        ),
        link=lambda d, k: "../" + images_url(variant=name, driver=drivers[d], class_=ids[k]),
    )


def _change_row(
    report: ReportData, name: str, k: int, found: list[tuple[str, float]], axis: dot_plots.Axis
) -> dict[str, Any]:
    reference, class_id = report.reference(name), report.dataset.class_ids[k]
    title = f"What {report.title(name)} changed in the recall of {report.dataset.class_label(k)}, by driver"
    return {
        "k": k,
        "figure": dot_plots.strip(
            found,
            axis=axis,
            reference=0,
            title=title,
            luck=together(luck_of_driver(report, name, k), luck_of_driver(report, reference, k)),
            link=lambda driver: "../" + images_url(variant=name, class_=class_id, driver=driver, flip="both"),
        ),
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
            luck=lift.luck,
        )

    return {
        "lifts": [(lift, figure(lift), _evidence(lift)) for lift in found],
        "lift_luck": any(lift.luck is not None for lift in found),
        "ratio_scale": dot_plots.scale(axis),
    }


def _evidence(lift: Lift) -> str:
    """Return what the ratio of a lift to that of permuted CAMs says, by its interval alone."""
    if lift.ratio_low is None or lift.ratio_high is None:
        return formats.NONE
    if lift.ratio_low > 1:
        return "more than place explains"
    return "less than place explains" if lift.ratio_high < 1 else "no evidence"


def _runs(report: ReportData, name: str) -> dict[str, dict[str, Any]]:
    """Return what is shown of each training; of each fold's first one also its curves, all on the same axes."""
    first = {fold: runs[0] for fold, runs in report.runs[name].items()}
    losses = {fold: _losses(run) for fold, run in first.items()}
    recalls = {fold: _recalls(run) for fold, run in first.items()}
    drawn = {fold: (_drawn(losses, fold, first), _drawn(recalls, fold, first)) for fold in first}
    found = {}
    for fold, runs in report.runs[name].items():
        said = f"{report.title(name)}, fold {fold}"
        for i, run in enumerate(runs):
            loss, of_recall = drawn[fold] if i == 0 else (None, None)
            found[f"{fold}, training {i + 1} of {len(runs)}"] = {
                **{key: run.get(key) for key in ("best_epoch", "seconds", "mlflow_run_id", "dagster_run_id")},
                "epochs": len(run.get("history") or []),
                "losses": loss and loss(f"Loss by epoch: {said}"),
                "recall": of_recall and of_recall(f"Macro recall on the validation drivers: {said}"),
            }
    return found


def _drawn(
    lines: dict[str, list[curves.Course]], fold: str, runs: dict[str, dict[str, Any]]
) -> Callable[[str], Markup] | None:
    """Return what draws the lines of one fold under a title, on the axes of all folds; None where there are none."""
    if not lines[fold]:
        return None
    every = [line for found in lines.values() for line in found]
    longest = max(len(line.values) for line in every)
    best = runs[fold].get("best_epoch")
    return lambda title: curves.courses(
        lines[fold], best, title=title, limits=curves.value_range(every), epochs=longest
    )


def _losses(run: dict[str, Any]) -> list[curves.Course]:
    history = run.get("history") or []
    return [curves.Course(words, kind, values) for key, words, kind in _LOSSES if (values := _values(history, key))]


def _recalls(run: dict[str, Any]) -> list[curves.Course]:
    values = _values(run.get("history") or [], _RECALL)
    return [curves.Course("validation", "up", values)] if values else []


def _values(history: list[dict[str, Any]], key: str) -> list[float]:
    values = [line.get(key) for line in history]
    if not all(isinstance(value, int | float) and math.isfinite(value) for value in values):
        return []
    return [float(value) for value in values if value is not None]
