"""A report: read, choose, draw, write, publish; and whether the latest one still says what is on disk.

The site is built in a temporary folder and renamed when it is whole, so a reader never meets half a report and a
killed build leaves the last one alone (`folders`). What pages say belongs to `pages`.
"""

import csv
import dataclasses
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from distracted_pipeline.advice import RUN
from distracted_pipeline.checksums import all_as_listed
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.evaluation.table_schemas import ClassScore
from distracted_pipeline.evaluation.tables import CLASSES_FILE
from distracted_pipeline.explanation.explain import ROWS_FILE, gradcam_folder
from distracted_pipeline.figures import formats
from distracted_pipeline.files import locked, sweep_dead, write_json
from distracted_pipeline.fingerprints import INPUTS, file_digest, fingerprint, recorded_inputs
from distracted_pipeline.images.ingest import PROBLEMS_NAME, read_problems
from distracted_pipeline.images.manifest import labelled, read_manifest, rows_digest
from distracted_pipeline.masks.cache import open_cache
from distracted_pipeline.progress import Log
from distracted_pipeline.reports.data_card import model_shown, reviewed
from distracted_pipeline.reports.folders import (
    FILES,
    RECORD,
    find_latest,
    list_files,
    point_latest,
    publish_site,
    read_record,
    remove_old,
    temporary_site,
)
from distracted_pipeline.reports.page_parts import TEMPLATES
from distracted_pipeline.reports.pages.write import SUMMARY, write_pages
from distracted_pipeline.reports.pictures import WIDTH, Pictures, draw_pictures, sample_strip
from distracted_pipeline.reports.read_report_data import read_report_data
from distracted_pipeline.reports.report_data import ReportData
from distracted_pipeline.reports.selection import MOST, select
from distracted_pipeline.reports.site import Site
from distracted_pipeline.reports.verdict import leaderboard_markdown, verdict_line
from distracted_pipeline.reports.why.sections import shown_evidence
from distracted_pipeline.settings import Settings
from distracted_pipeline.variants.config import load_catalogue

CODE_VERSION: Final = "6"
"""Part of every report's inputs: raise it when the same files would give other pages, and no template changed."""

PAGE_BUDGET = 2_000_000
"""Bytes of one page that the site promises not to exceed."""

SITE_BUDGET = 60_000_000
"""Bytes of a whole site that it promises not to exceed."""


Sheets = dict[str, bytes]
"""A JPEG by variant."""


@dataclass(frozen=True)
class ReportResult:
    """A published report.

    Attributes:
        path: Its index.html.
        summary: Its single-file summary.
        report_id: Name of its folder.
        inputs: Fingerprint of what it was made from.
        pages: HTML files.
        bytes: Size of the whole site.
        missing: Sentences that say what it lacks; empty for a full report.
        variants: Variants with results in it.
        absent: Variants of the catalogue that are not in it.
        verdict: The sentence at its top.
        table: Its leaderboard in Markdown.
        sample: One picture of it as a `data:` address; empty where there are no Grad-CAMs.
        sheets: Grad-CAMs of each explained variant as one JPEG.
    """

    path: Path
    summary: Path
    report_id: str
    inputs: str
    pages: int
    bytes: int
    missing: list[str]
    variants: list[str]
    absent: list[str]
    verdict: str
    table: str
    sample: str
    sheets: Sheets


def build_report(settings: Settings, log: Log = print) -> ReportResult:
    """Write a report on whatever has been evaluated, publish it, and return where it is.

    The same results on the same day replace their report; `latest` always leads to the newest. The newest
    `folders.KEPT` reports stay; an older one stays where its folder has been renamed.

    Raises:
        DistractedError: Nothing has been evaluated, a frame is gone, the site is too large, or the disk is full.
    """
    inputs = report_inputs(settings)
    report = read_report_data(settings)
    report_id = f"{datetime.now(UTC):%Y-%m-%d}-{inputs[:8]}"
    with locked(settings.reports / ".lock", what="the report"), temporary_site(settings.reports, report_id) as folder:
        sweep_dead(settings.reports)
        site, pages = write_site(report, folder, report_id, log=log)
        write_json(folder / RECORD, {"report_id": report_id, INPUTS: inputs, FILES: list_files(folder)})
        size = within_budget(folder)
        sample = sample_strip(folder, site.example_pictures())
        sheets = {name: picture for name in report.variants if (picture := site.cam_sheet(name))}
        published = publish_site(folder, settings.reports / report_id)
        point_latest(settings.reports, report_id)
        remove_old(settings.reports, report_id, SUMMARY, log)
    log(f"{published / 'index.html'}: {len(pages)} pages, {formats.size(size)}")
    return ReportResult(
        path=published / "index.html",
        summary=published / SUMMARY,
        report_id=report_id,
        inputs=inputs,
        pages=len(pages),
        bytes=size,
        missing=site.missing,
        variants=report.variants,
        absent=report.absent,
        verdict=verdict_line(report),
        table=leaderboard_markdown(report),
        sample=sample,
        sheets=sheets,
    )


def report_inputs(settings: Settings) -> str:
    """Return the fingerprint of everything that a report shows, and of the templates that it is shown with.

    What the evaluation wrote is known by the inputs that its files carry, by its bytes where an earlier version wrote
    it without them.

    Raises:
        DistractedError: The catalogue cannot be read.
    """
    catalogue = load_catalogue(settings)
    cams = sorted(gradcam_folder(settings, "").glob(f"*/{ROWS_FILE}"))
    records = sorted(settings.models.glob("*/*/*/config.json"))
    models = [model_shown(name) for name in (settings.backbone, settings.segmenter)]
    return fingerprint(
        CODE_VERSION,
        {path.name: file_digest(path) for path in sorted(TEMPLATES.iterdir()) if path.is_file()},
        (settings.baseline, settings.synthetic, settings.notes, models, settings.mlflow),
        dataclasses.asdict(settings.dataset),
        {name: config.model_dump(mode="json") for name, config in catalogue.items()},
        rows_digest(read_manifest(settings)) if settings.manifest.is_file() else "",
        _content(settings.data / PROBLEMS_NAME),
        _content(settings.evaluation / CLASSES_FILE),
        {path.parent.name: _content(path) for path in cams},
        {path.parent.relative_to(settings.models).as_posix(): file_digest(path) for path in records},
        _masks(settings),
        shown_evidence(settings),
        reviewed(settings),
    )


def report_current(settings: Settings) -> bool:
    """Tell whether the latest report is whole and was made from what is there now."""
    folder = find_latest(settings.reports)
    if folder is None:
        return False
    record = read_record(folder)
    files = record.get(FILES)  # versions before listed pages, without digests
    whole = isinstance(files, dict) and all_as_listed(folder, files)
    return whole and record.get(INPUTS) == report_inputs(settings)


def _content(path: Path) -> str:
    """Return what identifies a file's content; empty where there is none."""
    return (recorded_inputs(path) or file_digest(path)) if path.is_file() else ""


def _masks(settings: Settings) -> str:
    """Return what identifies the masks of labelled images; empty where there are none."""
    if not settings.manifest.is_file():
        return ""
    try:
        cache = open_cache(settings)
    except DistractedError:  # no segmenter: the report says why there are no masks
        return ""
    return cache.content(sorted(set(labelled(read_manifest(settings))["subject"].to_pylist())))


def write_site(
    report: ReportData,
    folder: Path,
    report_id: str,
    *,
    most: int = MOST,
    width: int = WIDTH,
    log: Log = print,
) -> tuple[Site, list[str]]:
    """Write every page and picture of a report into an empty folder.

    Args:
        report: What it tells.
        folder: Gets the site.
        report_id: Its name.
        most: Images with pictures.
        width: Of frames and masks, in pixels.
        log: Receives progress lines.

    Returns:
        The site, and where its pages are.

    Raises:
        DistractedError: A frame is gone.
    """
    selection = select(report, most)
    log(f"report on {len(report.variants)} variants, {len(selection.images)} images with pictures")
    pictures = draw_pictures(report, selection.images, selection.strips, folder, width=width, log=log)
    site = Site(
        folder=folder,
        report_id=report_id,
        written=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        report=report,
        selection=selection,
        pictures=pictures,
        problems=[vars(problem) for problem in read_problems(report.settings)],
        missing=_missing(report, pictures),
    )
    pages = write_pages(site)
    _write_table(folder / "class_accuracy.csv", report)
    return site, pages


def _missing(report: ReportData, pictures: Pictures) -> list[str]:
    lines = list(report.missing)
    without = [report.title(name) for name in report.variants if name not in report.cams]
    if without:
        lines.append(f"no Grad-CAMs of {formats.listing(without)}")
    unmasked = len(pictures.frames) - len(pictures.masks)
    if unmasked:
        why = f": {pictures.no_masks}" if pictures.no_masks else ""
        lines.append(f"no cached masks for {unmasked} of the {len(pictures.frames)} images shown{why}")
    return lines


def _write_table(path: Path, report: ReportData) -> None:
    """Write the class-wise table of every scope, one row per scope, variant and class."""
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, [field.name for field in dataclasses.fields(ClassScore)])
        writer.writeheader()
        for scope in report.scopes.values():
            for scores in scope.classes.values():
                writer.writerows(vars(score) for score in scores)


def within_budget(folder: Path) -> int:
    """Return the size of a site in bytes.

    Raises:
        DistractedError: A page or the whole is larger than promised.
    """
    sizes = {path: path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    largest = max((path for path in sizes if path.suffix == ".html"), key=sizes.__getitem__)
    if sizes[largest] > PAGE_BUDGET or sum(sizes.values()) > SITE_BUDGET:
        raise DistractedError(
            f"the report is too large: {largest.name} has {formats.size(sizes[largest])} "
            f"(limit {formats.size(PAGE_BUDGET)}), the site {formats.size(sum(sizes.values()))} "
            f"(limit {formats.size(SITE_BUDGET)}). "
            f"Take some variants out of the catalogue (DISTRACTED_VARIANTS), then type: {RUN}"
        )
    return sum(sizes.values())
