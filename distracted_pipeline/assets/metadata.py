"""What Dagster is told of a finished asset: checks, content fingerprints, numbers it plots over time, tables, pictures.

Nothing is computed here; each room says what it found. Rooms load inside the functions, for every Dagster process
imports this module.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import dagster as dg

from distracted_pipeline.checks import Check
from distracted_pipeline.dataset import Dataset
from distracted_pipeline.fingerprints import file_digest, fingerprint
from distracted_pipeline.settings import Settings

if TYPE_CHECKING:
    import numpy as np

    from distracted_pipeline.evaluation.tables import ClassAccuracy
    from distracted_pipeline.explanation.explain import GradcamResult
    from distracted_pipeline.explanation.tables import CamRow, Lift
    from distracted_pipeline.features.plan import Filled
    from distracted_pipeline.images.ingest import IngestResult
    from distracted_pipeline.masks.fill import FillResult
    from distracted_pipeline.training.train import TrainResult

DATA_VERSION_TAG: Final = "dagster/data_version"
"""Carries the content fingerprint of a materialisation that an op logs for another asset."""

_TILES = 10


def check_result(check: Check) -> dg.AssetCheckResult:
    """Return a room's check as Dagster's."""
    return dg.AssetCheckResult(
        check_name=check.name,
        passed=check.passed,
        severity=dg.AssetCheckSeverity(check.severity),
        description=check.description,
        metadata={key: _fact(value) for key, value in check.facts.items()},
    )


def _fact(value: Any) -> Any:
    """Return a fact as Dagster shows it: a list of records as a table, a list of names as a line, else as it is.

    Dagster hides any other list behind a button, an empty one too.
    """
    if not isinstance(value, list):
        return value
    if value and all(isinstance(record, dict) for record in value):
        return _table(value, dict.fromkeys(value[0], "string"))
    return ", ".join(map(str, value)) or "none"


def version(*facts: object) -> dg.DataVersion:
    """Return a content fingerprint, so that making the same again leaves what was made from it up to date."""
    return dg.DataVersion(fingerprint(*facts))


def version_of_files(*paths: Path) -> dg.DataVersion:
    """Return the content fingerprint of files."""
    return version(*(file_digest(path) for path in paths))


def bullets(lines: Iterable[object], none: str = "nothing") -> dg.MarkdownMetadataValue:
    """Return lines as a Markdown list, or a word where there are none."""
    return dg.MetadataValue.md("\n".join(f"- {line}" for line in lines) or none)


def images_metadata(settings: Settings, result: "IngestResult") -> dict[str, Any]:
    """Return counts, a table by driver and class, what is wrong, and what to know."""
    from distracted_pipeline.images.checks import counts_markdown

    return {
        **result.counts,
        "bad_share": result.bad_share,
        "seconds": round(result.seconds, 2),
        "manifest": dg.MetadataValue.path(settings.manifest),
        "by_driver_and_class": dg.MetadataValue.md(counts_markdown(result.table, settings.dataset)),
        "problems": bullets(result.problems[:20], "none"),
        "notes": bullets((*settings.notes, *result.notes), "none"),
    }


def masks_metadata(settings: Settings, subjects: Sequence[str]) -> tuple[dict[str, Any], list[Check], str]:
    """Return what the cache holds of `subjects`: metadata, checks, and its content fingerprint."""
    import pyarrow as pa

    from distracted_pipeline.images.manifest import of_subject, read_manifest
    from distracted_pipeline.masks.agreement import recorded
    from distracted_pipeline.masks.cache import open_cache
    from distracted_pipeline.masks.overlays import as_markdown, previews
    from distracted_pipeline.masks.summary import checks, summarise

    manifest, cache = read_manifest(settings), open_cache(settings)
    summary = summarise(cache, manifest, subjects, settings.dataset.categories)
    rows = pa.concat_tables([of_subject(manifest, subject) for subject in subjects])
    precision, agreement = cache.about().get("precision"), recorded(cache.root)
    metadata = {
        "segmenter": settings.segmenter,
        "fingerprint": cache.fingerprint,
        "path": dg.MetadataValue.path(cache.folder(subjects[0]) if len(subjects) == 1 else cache.root),
        "masks": summary.images,
        "coverage": _table(
            summary.coverage(),
            {"category": "string", "images": "int", "share_of_images": "float", "share_of_pixels": "float"},
        ),
        "coverage_by_subject": _table(
            summary.coverage_by_subject(),
            {"subject": "string", **dict.fromkeys(settings.dataset.category_names, "float")},
        ),
        "overlays": dg.MetadataValue.md(as_markdown(previews(settings, cache, rows), summary.categories)),
        **({"precision": str(precision)} if precision else {}),  # maps that were given have none
        **({"agreement_with_fp32": f"{agreement.text()}. {agreement.warning(cache.root)}"} if agreement else {}),
    }
    return metadata, checks(summary), cache.content(subjects)


def fill_metadata(results: "Iterable[FillResult]") -> dict[str, Any]:
    """Return how many masks were made now, and where their time went."""
    results = list(results)
    done, seconds = sum(result.done for result in results), sum(result.seconds for result in results)
    metadata: dict[str, Any] = {
        "images_made": done,
        "images_reused": sum(result.reused for result in results),
        "images_failed": sum(len(result.failed) for result in results),
        "images_per_second": round(done / seconds, 2) if done else 0.0,
    }
    stages = sorted({stage for result in results for stage in result.cpu})
    if done and stages:
        spent = {stage: sum(result.cpu.get(stage, 0.0) for result in results) for stage in stages}
        metadata["cpu_ms_per_image"] = {stage: round(1e3 * cpu / done, 3) for stage, cpu in spent.items()}
        metadata["share_of_time_in_model"] = round(sum(result.model_seconds for result in results) / seconds, 3)
    return metadata


def training_metadata(settings: Settings, result: "TrainResult") -> dict[str, Any]:
    """Return what the asset's page shows: curves, sizes, scores, and where everything is.

    Scores are means over the trainings, the curves and the run those of the first.
    """
    from distracted_pipeline.training.tracking import run_url

    metas, first = result.metas, result.metas[0]
    run = first["mlflow_run_id"]

    def mean(name: str) -> float:
        return sum(float(meta[name]) for meta in metas) / len(metas)

    return {
        "curve": dg.MetadataValue.md(_curves(first["history"], first["best_epoch"])),
        "reused": result.reused,
        "trainings": len(metas),
        "trainable_parameters": first["trainable_parameters"],
        "total_parameters": first["total_parameters"],
        "seconds": round(sum(meta["seconds"] for meta in metas), 2),
        "best_epoch": first["best_epoch"],
        "validation_macro_recall": mean("validation_macro_recall"),
        "validation_accuracy": mean("validation_accuracy"),
        "train_images": first["train_images"],
        "mlflow_run": dg.MetadataValue.url(run_url(settings, run)) if run else "not sent yet: distracted sync",
        "folder": dg.MetadataValue.path(result.folder),
    }


def class_accuracy_metadata(dataset: Dataset, result: "ClassAccuracy") -> dict[str, Any]:
    """Return the metadata of `class_accuracy`; `recall_<class>` are those of the variant that ranks first."""
    from distracted_pipeline.evaluation.tables import main_scope, ranked, rows_of, verdict_sentence
    from distracted_pipeline.scopes import SCOPES

    scope = main_scope(result.variants)
    variants = rows_of(result.variants, scope)
    best = ranked(variants)[0]
    rows = rows_of(result.classes, scope, best["variant"])
    recalls = {f"recall_{dataset.class_ids[row['class_id']]}": round(row["recall"], 4) for row in rows if row["n"]}
    words = [f"{row['variant']}: {verdict_sentence(result.classes, row['variant'], scope)}" for row in variants]
    return {
        "scope": f"{scope}: {SCOPES[scope].words}",
        "best_variant": best["variant"],
        "macro_recall": round(best["macro_recall"], 4),
        "worst_class_recall": round(best["worst_class_recall"], 4),
        "log_loss": round(best["log_loss"], 4),
        **recalls,
        "variants": len(variants),
        "against_the_reference": bullets(words),
        "recall_by_class": dg.MetadataValue.md(class_table(dataset, result, scope)),
        "picture": dg.MetadataValue.md(_heatmap(dataset, result, scope)),
        "missing": bullets(result.missing),
    }


def class_table(dataset: Dataset, result: "ClassAccuracy", scope: str) -> str:
    """Return recall by variant and class as a Markdown table."""
    from distracted_pipeline.evaluation.tables import rows_of

    lines = [
        "| variant | " + " | ".join((*dataset.class_ids, "macro")) + " |",
        "|" + " --- |" * (len(dataset.class_ids) + 2),
    ]
    for variant in rows_of(result.variants, scope):
        rows = rows_of(result.classes, scope, variant["variant"])
        cells = " | ".join(f"{row['recall']:.2f}".removeprefix("0") if row["n"] else "–" for row in rows)
        name = variant["variant"].replace("|", "\\|")
        lines.append(f"| {name} | {cells} | {variant['macro_recall']:.2f} |")
    return "\n".join(lines)


def features_metadata(filled: "Filled") -> dict[str, Any]:
    """Return the metadata of `features`: what was computed, what was there, and how fast."""
    return {
        "images": filled.images,
        "computed": ", ".join(filled.computed) or "nothing",
        "reused": ", ".join(filled.reused) or "nothing",
        "skipped_variants": bullets(filled.skipped, "none"),
        "size": f"{filled.bytes / 2**20:.1f} MiB",
        "seconds": filled.seconds,
        "images_per_second": filled.images / filled.seconds if filled.computed else 0.0,
    }


def gradcam_metadata(settings: Settings, result: "GradcamResult") -> dict[str, Any]:
    """Return the metadata of `gradcam`: lifts over drivers, share of zero CAMs, ten of them drawn."""
    from distracted_pipeline.explanation.tables import EVERY_CLASS, lift_column

    rows = result.rows
    overall = [row for row in result.means.lifts() if row.class_id == EVERY_CLASS]
    lifts = {lift_column(row.category): round(row.lift, 4) for row in overall if row.lift is not None}
    shares = {"image_share": result.image_share, "mask_share": result.mask_share}
    return {
        "cams": len(rows),
        "all_zero_share": round(sum(row.all_zero for row in rows) / len(rows), 4),
        **lifts,
        **{name: round(share, 4) for name, share in shares.items() if share is not None},
        "lifts": dg.MetadataValue.md(lift_lines(overall)),
        "averaged": result.averaged,
        "path": dg.MetadataValue.path(result.folder),
        "picture": dg.MetadataValue.md(_first_of_each_class(settings, rows, result.cams, "Grad-CAM")),
        **_mask_picture(settings, result),
        "missing": bullets(result.missing),
    }


def lift_lines(rows: "Sequence[Lift]") -> str:
    """Return lifts of the mask categories beside those of permuted CAMs as a Markdown table; the ratio is evidence."""
    lines = ["| category | lift | permuted | ratio | 95% | drivers | images |", "|" + " --- |" * 7]
    for row in rows:
        numbers = " | ".join("–" if x is None else f"{x:.2f}" for x in (row.lift, row.permuted, row.ratio))
        interval = "–" if row.ratio_low is None else f"{row.ratio_low:.2f} to {row.ratio_high:.2f}"
        lines.append(f"| {row.category} | {numbers} | {interval} | {row.drivers} | {row.images:,} |")
    return "\n".join(lines)


def _table(records: Iterable[Mapping[str, Any]], columns: Mapping[str, str]) -> dg.TableMetadataValue:
    schema = dg.TableSchema([dg.TableColumn(name, kind) for name, kind in columns.items()])
    return dg.TableMetadataValue([dg.TableRecord(dict(record)) for record in records], schema)


def _curves(history: Sequence[Mapping[str, Any]], best_epoch: int) -> str:
    """Return losses and validation macro recall by epoch as two figures."""
    from distracted_pipeline.figures.curves import Course, courses
    from distracted_pipeline.figures.svg import as_markdown_image, standalone

    def drawn(title: str, **lines: str) -> str:
        found = [Course(key, kind, [line[key] for line in history]) for key, kind in lines.items()]
        return as_markdown_image(standalone(courses(found, best_epoch, title=title)), title)

    losses = drawn("loss by epoch: training solid, validation dashed", train_loss="up", validation_loss="down")
    return f"{losses} {drawn('macro recall on the validation drivers by epoch', validation_macro_recall='down')}"


def _heatmap(dataset: Dataset, result: "ClassAccuracy", scope: str) -> str:
    """Return the differences of recall to what each variant is compared with, by class, as a figure."""
    from distracted_pipeline.evaluation.comparison import IMPROVED, WORSENED
    from distracted_pipeline.evaluation.tables import rows_of
    from distracted_pipeline.figures.matrices import HeatCell, heatmap
    from distracted_pipeline.figures.svg import as_markdown_image, standalone

    marks = {IMPROVED: "▲", WORSENED: "▼"}
    rows: dict[str, list[HeatCell]] = {}
    for row in rows_of(result.classes, scope):
        mark = marks.get(row["verdict"], "")
        title = f"{row['variant']}, {dataset.class_label(row['class_id'])}: {row['verdict']}"
        rows.setdefault(row["variant"], []).append(HeatCell(row["delta_recall"], title, mark, bool(mark)))
    title = "Recall minus the reference's, by variant and class; ▲ and ▼ where the test confirms it"
    columns = [(class_id, None) for class_id in dataset.class_ids]
    figure = heatmap([(variant, None) for variant in rows], columns, list(rows.values()), title=title)
    return as_markdown_image(standalone(figure), title)


def _mask_picture(settings: Settings, result: "GradcamResult") -> dict[str, Any]:
    """Return the CAMs of a fused variant's mask branch for the same images; nothing for other variants."""
    if result.mask_cams is None:
        return {}
    drawn = _first_of_each_class(settings, result.rows, result.mask_cams, "Grad-CAM of the mask branch")
    return {"picture_of_mask_branch": dg.MetadataValue.md(drawn)}


def _first_of_each_class(settings: Settings, rows: "Sequence[CamRow]", cams: "np.ndarray", what: str) -> str:
    from distracted_pipeline.explanation.overlays import cam_strip, inline
    from distracted_pipeline.images.decode import ImageReader
    from distracted_pipeline.images.manifest import read_manifest

    first: dict[int, int] = {}
    for i, row in enumerate(rows):
        if row.target == "predicted":
            first.setdefault(row.true, i)
    shown, class_ids = list(first.values())[:_TILES], settings.dataset.class_ids
    manifest = read_manifest(settings)
    paths = dict(zip(manifest["img"].to_pylist(), manifest["path"].to_pylist(), strict=True))
    with ImageReader(settings.data) as reader:
        frames = [reader.rgb(paths[rows[i].img]) for i in shown]
    labels = [f"{class_ids[rows[i].true]}, said {class_ids[rows[i].predicted]}" for i in shown]
    return inline(cam_strip(frames, [cams[i] for i in shown], labels), f"{what} of one image per class")
