"""What the pages about one thing say: one variant, one class, one image.

Values and figures only; wording and layout are the templates'. Pages about the whole are `overviews`.
"""

import json
import math
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from distracted_pipeline.figures import curves, dot_plots, formats, matrices
from distracted_pipeline.reports import facts
from distracted_pipeline.reports.findings import Findings, Image, Lift
from distracted_pipeline.reports.site import Pair, Site
from distracted_pipeline.variants.config import TRAINS, VariantConfig
from distracted_pipeline.vocabulary import CLASS_IDS, MASK_CATEGORIES

STRIPS_PER_CLASS = 2
"""Correct, and as many confused, Grad-CAM rows per class on a variant's page; image pages have all."""

MOVES_SHOWN = 6
NEIGHBOURS = 3
"""Images of the same driver shown on each side of an image."""

_LOSSES = (("train_loss", "training", "even"), ("validation_loss", "validation", "down"))
_RECALL = "validation_macro_recall"
_READS = {
    "pixels": "images",
    "pooled": "the backbone's pooled embedding",
    "last_block": "the backbone's last block",
    "fractions": "mask fractions",
}
_NO_PARAMETERS = frozenset({"name", "label", "description"})


def variant(site: Site, name: str) -> dict[str, Any]:
    """Return what the page of a variant says."""
    f, scope = site.findings, site.findings.main
    config = f.catalogue.get(name)
    reference = [score.recall for score in scope.classes.get(f.baseline, [])] or [None] * len(CLASS_IDS)
    pairs = site.cam_pairs(name)
    cams = {kind: _few_per_class([p for p in pairs if p.kind == kind]) for kind in ("correct", "confused")}
    bins = scope.reliability.get(name, [])
    changes = [_changes(f, name, k) for k in range(len(CLASS_IDS))]
    axis = dot_plots.difference_axis(value for found in changes for _, value in found)
    return {
        "title": f.title(name),
        "variant": name,
        "config": config,
        "trains": TRAINS[config.kind] if config else "",
        "reads": [_READS.get(name, f"the backbone's {name}") for name in config.inputs] if config else [],
        "parameters": _parameters(config),
        "score": scope.variants.get(name),
        "rows": list(zip(scope.classes.get(name, []), reference, strict=False)),
        "changes": [_change_row(f, name, k, found, axis) for k, found in enumerate(changes) if found],
        "change_scale": dot_plots.scale(axis),
        "moves": facts.moves(f, name, MOVES_SHOWN),
        "confusion": matrices.confusion(
            scope.confusion[name].sum(0), title=f"Confusion matrix of {f.title(name)}, {scope.words}"
        )
        if name in scope.confusion
        else None,
        "bins": bins,
        "reliability": curves.reliability(bins, title=f"Accuracy by confidence of {f.title(name)}") if bins else None,
        "cams": cams if pairs else None,
        "more_cams": len(pairs) - sum(len(shown) for shown in cams.values()),
        "lifts": [
            (category, *(facts.mean_lift(f, name, category, kind) for kind in cams)) for category in MASK_CATEGORIES
        ],
        "lifts_tested": _lifts(f, name),
        "runs": {fold: _run(f, name, fold, run) for fold, run in f.runs[name].items()},
    }


def of_class(site: Site, k: int) -> dict[str, Any]:
    """Return what the page of a class says."""
    f, scope = site.findings, site.findings.main
    rows = facts.class_rows(f, k)
    by_verdict = {
        word: [f.title(score.variant) for score, _ in rows if score.verdict == word]
        for word in ("improved", "worsened")
    }
    found = [image for image in f.images.values() if image.true == k]
    return {
        "title": formats.class_label(k),
        "k": k,
        "n": len(found),
        "class_drivers": len({image.subject for image in found}),
        "rows": rows,
        **by_verdict,
        "confusions": [(name, *facts.confused(scope.confusion[name].sum(0), k)) for name in scope.confusion],
        "moved": scope.moves,
        "strips": [row for name in scope.confusion if (row := _strip(f, name, k)) is not None],
        "means": [
            (name, site.pictures.means[name, k], int(drivers[k]))
            for name in f.variants
            if (name, k) in site.pictures.means and (drivers := f.cams[name].drivers) is not None
        ],
        "hardest": [site.shown[img] for img in site.selection.hardest[k] if img in site.shown],
        "suspects": [(site.shown[suspect.img], suspect) for suspect in site.selection.suspects[k]],
        "samples": [site.shown[img] for img in site.selection.masks[k] if img in site.pictures.masks],
    }


def image(site: Site, image: Image) -> dict[str, Any]:
    """Return what the page of an image says."""
    own = site.by_driver[image.subject]
    at, place = own.index(image), site.place[image.img]
    values = site.findings.predictions.probabilities[:, place].tolist()
    return {
        "title": image.img,
        "image": image,
        "before": own[at - 1] if at else None,
        "after": own[at + 1] if at + 1 < len(own) else None,
        "neighbours": own[max(at - NEIGHBOURS, 0) : at] + own[at + 1 : at + 1 + NEIGHBOURS],
        "probabilities": list(zip(site.findings.variants, values, site.predicted[:, place].tolist(), strict=True)),
        "cams": site.explained.get(image.img, {}),
        "compared": any((name, image.img) in site.pictures.changes for name in site.findings.variants),
    }


def _parameters(config: VariantConfig | None) -> list[tuple[str, str]]:
    if config is None:
        return []
    shown = config.model_dump(mode="json", exclude=set(_NO_PARAMETERS), exclude_none=True)
    return [(name, json.dumps(value).strip('"[]')) for name, value in shown.items() if value != []]


def _lifts(f: Findings, name: str) -> list[Lift]:
    return f.cams[name].lifts if name in f.cams else []


def _changes(f: Findings, name: str, k: int) -> list[tuple[str, float]]:
    return facts.change_by_driver(f, name, k) if name in f.main.confusion else []


def _change_row(f: Findings, name: str, k: int, found: list[tuple[str, float]], axis: dot_plots.Axis) -> dict[str, Any]:
    title = f"What {f.title(name)} changed in the recall of {formats.class_label(k)}, by driver"
    score = f.main.classes[name][k]
    return {
        "k": k,
        "figure": dot_plots.strip(found, axis=axis, reference=0, title=title),
        "better": sum(value > 0 for _, value in found),
        "worse": sum(value < 0 for _, value in found),
        "lowest": min(found, key=lambda pair: pair[1]),
        "highest": max(found, key=lambda pair: pair[1]),
        "drivers": len(found),
        "i2": score.i2,
    }


def _run(f: Findings, name: str, fold: str, run: dict[str, Any]) -> dict[str, Any]:
    """Return what is shown of one training; curves only where every epoch has the number."""
    history = run.get("history") or []
    best = run.get("best_epoch")
    said = f"{f.title(name)}, fold {fold}"
    losses = [curves.Course(words, kind, values) for key, words, kind in _LOSSES if (values := _values(history, key))]
    recall = _values(history, _RECALL)
    return {
        **{key: run.get(key) for key in ("best_epoch", "seconds", "mlflow_run_id", "dagster_run_id")},
        "epochs": len(history),
        "losses": curves.courses(losses, best, title=f"Loss by epoch: {said}") if losses else None,
        "recall": _recall_curve(recall, best, said) if recall else None,
    }


def _recall_curve(values: list[float], best: int | None, said: str) -> Markup:
    return curves.courses(
        [curves.Course("validation", "up", values)], best, title=f"Macro recall on the validation drivers: {said}"
    )


def _values(history: list[dict[str, Any]], key: str) -> list[float]:
    values = [line.get(key) for line in history]
    if not all(isinstance(value, int | float) and math.isfinite(value) for value in values):
        return []
    return [float(value) for value in values if value is not None]


def _strip(f: Findings, name: str, k: int) -> dict[str, Any] | None:
    values = facts.recall_by_driver(f, name, k)
    if not values:
        return None
    return {
        "variant": name,
        "figure": dot_plots.strip(values, title=f"Recall of {formats.class_label(k)} by driver, {f.title(name)}"),
        "lowest": min(values, key=lambda pair: pair[1]),
        "below": sum(value < 0.5 for _, value in values),
        "drivers": len(values),
    }


def _few_per_class(pairs: Sequence[Pair]) -> list[Pair]:
    kept: list[Pair] = []
    for pair in pairs:
        if sum(other.true == pair.true for other in kept) < STRIPS_PER_CLASS:
            kept.append(pair)
    return kept
