"""What the Dagster UI shows of the evaluation: plain floats that it plots over time, a table, a picture.

The numbers are those of `tables` and `gradcam`; nothing is computed here but means for display.
"""

from typing import TYPE_CHECKING, Any

import dagster as dg
import numpy as np

from distracted_pipeline.evaluation.pictures import cam_strip, inline, recall_heatmap
from distracted_pipeline.evaluation.tables import ClassAccuracy, main_scope, rows_of, verdict_sentence
from distracted_pipeline.settings import Settings
from distracted_pipeline.vocabulary import CLASS_IDS

if TYPE_CHECKING:
    from distracted_pipeline.evaluation.gradcam import GradcamResult

_TILES = 10


def class_accuracy_metadata(result: ClassAccuracy) -> dict[str, Any]:
    """Return the metadata of `class_accuracy`; `recall_c0` ... `recall_c9` are those of the best macro recall."""
    scope = main_scope(result.variants)
    variants = rows_of(result.variants, scope)
    best = max(variants, key=lambda row: row["macro_recall"])
    rows = rows_of(result.classes, scope, best["variant"])
    recalls = {f"recall_{CLASS_IDS[row['class_id']]}": row["recall"] for row in rows if row["n"]}
    alt = "Recall by variant and class; blue above the baseline, orange below, a star where the test confirms it"
    return {
        "scope": scope,
        "best_variant": best["variant"],
        "macro_recall": best["macro_recall"],
        "worst_class_recall": best["worst_class_recall"],
        "log_loss": best["log_loss"],
        **recalls,
        "variants": len(variants),
        "table": dg.MetadataValue.md(class_table(result, scope)),
        "picture": dg.MetadataValue.md(inline(recall_heatmap(result, scope), alt)),
        "missing": dg.MetadataValue.md("\n".join(f"- {line}" for line in result.missing) or "nothing"),
    }


def class_table(result: ClassAccuracy, scope: str) -> str:
    """Return recall by variant and class as a Markdown table, with the verdict in words."""
    lines = [
        "| variant | " + " | ".join((*CLASS_IDS, "macro", "against the baseline")) + " |",
        "|" + " --- |" * (len(CLASS_IDS) + 3),
    ]
    for variant in rows_of(result.variants, scope):
        rows = rows_of(result.classes, scope, variant["variant"])
        cells = " | ".join(f"{row['recall']:.2f}" if row["n"] else "–" for row in rows)
        name = variant["variant"].replace("|", "\\|")
        words = verdict_sentence(result.classes, variant["variant"], scope)
        lines.append(f"| {name} | {cells} | {variant['macro_recall']:.3f} | {words} |")
    return "\n".join(lines)


def gradcam_metadata(settings: Settings, result: "GradcamResult") -> dict[str, Any]:
    """Return the metadata of `gradcam`: mean lifts of right predictions, share of zero CAMs, ten of them drawn."""
    rows = result.rows.to_pylist()
    right = [row for row in rows if row["kind"] == "correct"]
    lifts = {}
    for column in (name for name in result.rows.column_names if name.startswith("lift_")):
        values = [row[column] for row in right if row[column] is not None]
        if values:
            lifts[column] = float(np.mean(values))
    return {
        "cams": len(rows),
        "all_zero_share": float(np.mean([row["all_zero"] for row in rows])),
        **lifts,
        "path": dg.MetadataValue.path(result.folder),
        "picture": dg.MetadataValue.md(_first_of_each_class(settings, result, rows)),
        "missing": dg.MetadataValue.md("\n".join(f"- {line}" for line in result.missing) or "nothing"),
    }


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
