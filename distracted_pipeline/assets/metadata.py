"""What the Dagster UI shows of the evaluation: plain floats that it plots over time, a table, a picture.

The numbers are those of `tables` and `explain`; nothing is computed here.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg
import numpy as np

from distracted_pipeline.evaluation.comparison_tables import SCOPE_WORDS
from distracted_pipeline.evaluation.tables import ClassAccuracy, main_scope, rows_of, verdict_sentence
from distracted_pipeline.explanation.maps import LIFTS
from distracted_pipeline.explanation.means import EVERY_CLASS
from distracted_pipeline.explanation.overlays import cam_strip, inline, recall_heatmap
from distracted_pipeline.settings import Settings
from distracted_pipeline.vocabulary import CLASS_IDS

if TYPE_CHECKING:
    from distracted_pipeline.explanation.explain import GradcamResult
    from distracted_pipeline.training.train import TrainResult

_TILES = 10


def training_metadata(settings: Settings, result: "TrainResult") -> dict[str, Any]:
    """Return what the asset's page shows: the curve, sizes, scores, and where everything is."""
    from distracted_pipeline.training.figures import curve_markdown
    from distracted_pipeline.training.tracking import run_url

    meta, run = result.meta, result.meta["mlflow_run_id"]
    return {
        "curve": dg.MetadataValue.md(curve_markdown(meta["history"], meta["best_epoch"])),
        "reused": result.reused,
        "trainable_parameters": meta["trainable_parameters"],
        "total_parameters": meta["total_parameters"],
        "seconds": round(meta["seconds"], 2),
        "best_epoch": meta["best_epoch"],
        "validation_macro_recall": meta["validation_macro_recall"],
        "validation_accuracy": meta["validation_accuracy"],
        "train_images": meta["train_images"],
        "mlflow_run": dg.MetadataValue.url(run_url(settings, run)) if run else "not sent yet: distracted sync",
        "folder": dg.MetadataValue.path(result.folder),
    }


def class_accuracy_metadata(result: ClassAccuracy) -> dict[str, Any]:
    """Return the metadata of `class_accuracy`; `recall_c0` ... `recall_c9` are those of the best macro recall."""
    scope = main_scope(result.variants)
    variants = rows_of(result.variants, scope)
    best = max(variants, key=lambda row: row["macro_recall"])
    rows = rows_of(result.classes, scope, best["variant"])
    recalls = {f"recall_{CLASS_IDS[row['class_id']]}": round(row["recall"], 4) for row in rows if row["n"]}
    words = [f"- {row['variant']}: {verdict_sentence(result.classes, row['variant'], scope)}" for row in variants]
    alt = "Recall by variant and class; blue above the baseline, orange below, a star where the test confirms it"
    return {
        "scope": f"{scope}: {SCOPE_WORDS[scope]}",
        "best_variant": best["variant"],
        "macro_recall": round(best["macro_recall"], 4),
        "worst_class_recall": round(best["worst_class_recall"], 4),
        "log_loss": round(best["log_loss"], 4),
        **recalls,
        "variants": len(variants),
        "against_the_baseline": dg.MetadataValue.md("\n".join(words)),
        "recall_by_class": dg.MetadataValue.md(class_table(result, scope)),
        "picture": dg.MetadataValue.md(inline(recall_heatmap(result, scope), alt)),
        "missing": dg.MetadataValue.md("\n".join(f"- {line}" for line in result.missing) or "nothing"),
    }


def class_table(result: ClassAccuracy, scope: str) -> str:
    """Return recall by variant and class as a Markdown table."""
    lines = [
        "| variant | " + " | ".join((*CLASS_IDS, "macro")) + " |",
        "|" + " --- |" * (len(CLASS_IDS) + 2),
    ]
    for variant in rows_of(result.variants, scope):
        rows = rows_of(result.classes, scope, variant["variant"])
        cells = " | ".join(f"{row['recall']:.2f}".removeprefix("0") if row["n"] else "–" for row in rows)
        name = variant["variant"].replace("|", "\\|")
        lines.append(f"| {name} | {cells} | {variant['macro_recall']:.2f} |")
    return "\n".join(lines)


def gradcam_metadata(settings: Settings, result: "GradcamResult") -> dict[str, Any]:
    """Return the metadata of `gradcam`: lifts over drivers, share of zero CAMs, ten of them drawn."""
    rows = result.rows.to_pylist()
    overall = [row for row in result.means.lifts().to_pylist() if row["class_id"] == EVERY_CLASS]
    lifts = {LIFTS[row["category"]]: round(row["lift"], 4) for row in overall if row["lift"] is not None}
    return {
        "cams": len(rows),
        "all_zero_share": round(float(np.mean([row["all_zero"] for row in rows])), 4),
        **lifts,
        "lifts": dg.MetadataValue.md(lift_lines(overall)),
        "averaged": result.averaged,
        "path": dg.MetadataValue.path(result.folder),
        "picture": dg.MetadataValue.md(_first_of_each_class(settings, result, rows)),
        "missing": dg.MetadataValue.md("\n".join(f"- {line}" for line in result.missing) or "nothing"),
    }


def lift_lines(rows: Sequence[dict[str, Any]]) -> str:
    """Return lifts of the mask categories as a Markdown table; 1 is chance."""
    lines = ["| category | lift | 95% over drivers | drivers | images |", "|" + " --- |" * 5]
    for row in rows:
        lift = "–" if row["lift"] is None else f"{row['lift']:.2f}"
        interval = "–" if row["low"] is None else f"{row['low']:.2f} to {row['high']:.2f}"
        lines.append(f"| {row['category']} | {lift} | {interval} | {row['drivers']} | {row['images']:,} |")
    return "\n".join(lines)


def _first_of_each_class(settings: Settings, result: "GradcamResult", rows: list[dict[str, Any]]) -> str:
    from distracted_pipeline.images.decode import ImageReader
    from distracted_pipeline.images.manifest import read_manifest

    first: dict[int, int] = {}
    for i, row in enumerate(rows):
        if row["target"] == "predicted":
            first.setdefault(row["true"], i)
    shown = list(first.values())[:_TILES]
    manifest = read_manifest(settings)
    paths = dict(zip(manifest["img"].to_pylist(), manifest["path"].to_pylist(), strict=True))
    with ImageReader(settings.data) as reader:
        frames = [reader.rgb(paths[rows[i]["img"]]) for i in shown]
    labels = [f"{CLASS_IDS[rows[i]['true']]}, said {CLASS_IDS[rows[i]['predicted']]}" for i in shown]
    return inline(cam_strip(frames, [result.cams[i] for i in shown], labels), "Grad-CAM of one image per class")
