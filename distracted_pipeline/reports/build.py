"""A report: read, choose, draw, write, publish.

The site is built in a temporary folder and renamed when it is whole, so a reader never meets half a
report and a killed build leaves the last one alone. What pages say belongs to `pages`.
"""

import csv
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.figures import formats
from distracted_pipeline.files import locked, write_text
from distracted_pipeline.reports.facts import leaderboard_markdown, verdict_line
from distracted_pipeline.reports.findings import ClassScore, Findings
from distracted_pipeline.reports.pages import SUMMARY, write_pages
from distracted_pipeline.reports.pictures import WIDTH, Pictures, draw_pictures, sample_strip
from distracted_pipeline.reports.reading import read_findings
from distracted_pipeline.reports.selection import MOST, select
from distracted_pipeline.reports.site import Site
from distracted_pipeline.settings import Settings

LATEST = "latest"
KEPT = 5
"""Reports that stay beside each other; older ones make room."""

PAGE_BUDGET = 2_000_000
"""Bytes of one page that the site promises not to exceed."""

SITE_BUDGET = 60_000_000
"""Bytes of a whole site that it promises not to exceed."""

_PART = ".part"
_REPORT_ID = re.compile(r"\d{4}-\d{2}-\d{2}-[0-9a-f]{8}")


@dataclass(frozen=True)
class ReportResult:
    """A published report.

    Attributes:
        path: Its index.html.
        summary: Its single-file summary.
        report_id: Name of its folder.
        pages: HTML files.
        bytes: Size of the whole site.
        missing: Sentences that say what it lacks; empty for a full report.
        variants: Variants with results in it.
        absent: Variants of the catalogue that are not in it.
        verdict: The sentence at its top.
        table: Its leaderboard in Markdown.
        sample: One picture of it as a `data:` address; empty where there are no Grad-CAMs.
    """

    path: Path
    summary: Path
    report_id: str
    pages: int
    bytes: int
    missing: list[str]
    variants: list[str]
    absent: list[str]
    verdict: str
    table: str
    sample: str


def build_report(settings: Settings, log: Callable[[str], object] = print) -> ReportResult:
    """Write a report on whatever has been evaluated, publish it, and return where it is.

    The same results on the same day replace their report; `latest` always leads to the newest. The newest `KEPT`
    reports stay; an older one stays where its folder has been renamed.

    Raises:
        DistractedError: Nothing has been evaluated, a frame is gone, or the disk is full.
    """
    findings = read_findings(settings)
    report_id = f"{datetime.now(UTC):%Y-%m-%d}-{_digest(settings)}"
    with locked(settings.reports / ".lock", what="the report"), temporary_site(settings.reports, report_id) as folder:
        site, pages, size = write_site(findings, folder, report_id, log=log)
        sample = sample_strip(folder, site.example_pictures())
        published = publish_site(folder, settings.reports / report_id)
        _point_latest(settings.reports, report_id)
        _remove_old(settings.reports, report_id, log)
    log(f"{published / 'index.html'}: {pages} pages, {formats.size(size)}")
    return ReportResult(
        path=published / "index.html",
        summary=published / SUMMARY,
        report_id=report_id,
        pages=pages,
        bytes=size,
        missing=site.missing,
        variants=findings.variants,
        absent=findings.absent,
        verdict=verdict_line(findings),
        table=leaderboard_markdown(findings),
        sample=sample,
    )


def write_site(
    findings: Findings,
    folder: Path,
    report_id: str,
    *,
    most: int = MOST,
    width: int = WIDTH,
    log: Callable[[str], object] = print,
) -> tuple[Site, int, int]:
    """Write every page and picture of a report into an empty folder.

    Args:
        findings: What has been measured.
        folder: Gets the site.
        report_id: Its name.
        most: Images with a page of their own.
        width: Of frames and masks, in pixels.
        log: Receives progress lines.

    Returns:
        The site, its pages, and its bytes.

    Raises:
        DistractedError: A frame is gone, or the site is larger than promised.
    """
    selection = select(findings, most)
    log(f"report on {len(findings.variants)} variants, {len(selection.images)} images with pages of their own")
    pictures = draw_pictures(findings, selection.images, folder, width=width, log=log)
    site = Site(
        folder=folder,
        report_id=report_id,
        written=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        findings=findings,
        selection=selection,
        pictures=pictures,
        problems=_problems(findings.settings),
        missing=_missing(findings, pictures),
    )
    pages = write_pages(site)
    _write_table(folder / "class_accuracy.csv", findings)
    return site, pages, _within_budget(folder)


def _digest(settings: Settings) -> str:
    """Return 8 hex digits over everything that the evaluation wrote, and over the settings that pages show."""
    digest = hashlib.sha256(repr((settings.baseline, settings.synthetic, settings.notes)).encode())
    for path in sorted(p for p in settings.evaluation.rglob("*") if p.is_file() and not p.name.startswith(".")):
        digest.update(path.relative_to(settings.evaluation).as_posix().encode("utf-8", "surrogateescape"))
        digest.update(path.read_bytes())
    return digest.hexdigest()[:8]


def _missing(findings: Findings, pictures: Pictures) -> list[str]:
    lines = list(findings.missing)
    without = [findings.title(name) for name in findings.variants if name not in findings.cams]
    if without:
        lines.append(f"no Grad-CAMs of {formats.listing(without)}")
    unmasked = len(pictures.frames) - len(pictures.masks)
    if unmasked:
        why = f": {pictures.no_masks}" if pictures.no_masks else ""
        lines.append(f"no cached masks for {unmasked} of the {len(pictures.frames)} images shown{why}")
    return lines


def _problems(settings: Settings) -> list[dict[str, Any]]:
    from distracted_pipeline.images.ingest import PROBLEMS_NAME

    path = settings.data / PROBLEMS_NAME
    if not path.is_file():
        return []
    try:
        problems: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DistractedError(f"cannot read {path} ({error}). Delete it, then type `distracted run`.") from error
    return problems


def _write_table(path: Path, findings: Findings) -> None:
    """Write the class-wise table of every scope, one row per scope, variant and class."""
    names = [field.name for field in fields(ClassScore)]
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(("scope", *names))
        for scope in findings.scopes.values():
            for scores in scope.classes.values():
                writer.writerows((scope.name, *(getattr(score, name) for name in names)) for score in scores)


def _within_budget(folder: Path) -> int:
    """Return the size of a site.

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
            "Take some variants out of the catalogue (DISTRACTED_VARIANTS) and type `distracted run` again."
        )
    return sum(sizes.values())


@contextmanager
def temporary_site(reports: Path, report_id: str) -> Iterator[Path]:
    """Yield an empty folder beside the reports; it is gone afterwards, published or not."""
    for stale in reports.glob(f".*{_PART}"):  # of a killed build: the lock says that none is alive
        shutil.rmtree(stale, ignore_errors=True)
    folder = reports / f".{report_id}.{os.getpid()}{_PART}"
    try:
        folder.mkdir(parents=True)
        yield folder
    except OSError as error:
        raise DistractedError(
            f"cannot write the report under {reports}: {error.strerror or error}. "
            "Free some space or make the folder writable, then type the same command again."
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def publish_site(folder: Path, target: Path) -> Path:
    """Rename a finished site to its place; an older one of the same name steps aside first."""
    aside = target.with_name(f".{target.name}.old{_PART}")
    if target.exists():
        target.replace(aside)
    folder.replace(target)
    shutil.rmtree(aside, ignore_errors=True)
    return target


def _point_latest(reports: Path, report_id: str) -> None:
    """Make `latest` lead to a report: a link where the file system has them, else a page that forwards."""
    latest = reports / LATEST
    if os.name != "nt" and (latest.is_symlink() or not latest.exists()):
        temporary = reports / f".{LATEST}.{os.getpid()}{_PART}"
        try:
            temporary.symlink_to(report_id, target_is_directory=True)
            temporary.replace(latest)
            return
        except OSError:  # exFAT and some network mounts have no links
            temporary.unlink(missing_ok=True)
    if latest.is_symlink():
        latest.unlink()
    place = f"../{report_id}/index.html"
    write_text(
        latest / "index.html",
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Latest report</title>'
        f'<meta http-equiv="refresh" content="0; url={place}"></head>'
        f'<body><p><a href="{place}">The latest report</a></p></body></html>\n',
    )


def _remove_old(reports: Path, newest: str, log: Callable[[str], object]) -> None:
    """Remove all but the newest reports; only folders that bear a report's name and hold its pages are ours."""
    found = [
        path
        for path in reports.iterdir()
        if _REPORT_ID.fullmatch(path.name)
        and not path.is_symlink()
        and all((path / page).is_file() for page in ("index.html", SUMMARY))
    ]
    found.sort(key=lambda path: (path.name == newest, (path / "index.html").stat().st_mtime_ns), reverse=True)
    for path in found[KEPT:]:
        aside = path.with_name(f".{path.name}.old{_PART}")  # a reader meets it whole or not at all
        path.replace(aside)
        shutil.rmtree(aside)
        log(f"removed the old report {path} (rename a report's folder to keep it)")
