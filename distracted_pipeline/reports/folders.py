"""The folder of reports: how a site appears in it whole, which one is the latest, and which old ones make room.

What is in a site is `build`'s business.
"""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from distracted_pipeline.checksums import file_digest
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.files import create_folder, read_json, write_json, write_text
from distracted_pipeline.progress import Log

LATEST: Final = "latest"
RECORD: Final = "report.json"
"""File in a report's folder that says what it was made from, and which files it has."""

FILES: Final = "files"
"""Key of the record under which each file of the site stands with its digest."""

KEPT: Final = 5
"""Reports that stay beside each other; older ones make room."""

_PART: Final = ".part"
_REPORT_ID: Final = re.compile(r"\d{4}-\d{2}-\d{2}-[0-9a-f]{8}")


@contextmanager
def temporary_site(reports: Path, report_id: str) -> Iterator[Path]:
    """Yield an empty folder beside the reports; it is gone afterwards, published or not."""
    for stale in reports.glob(f".*{_PART}"):  # of a killed build: the lock says that none is alive
        shutil.rmtree(stale, ignore_errors=True)
    folder = reports / f".{report_id}.{os.getpid()}{_PART}"
    try:
        create_folder(folder)
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


def point_latest(reports: Path, report_id: str) -> None:
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
    write_json(latest / RECORD, {"report_id": report_id})


def find_latest(reports: Path) -> Path | None:
    """Return the folder of the latest report; None where there is none, or where an earlier version wrote it."""
    report_id = read_record(reports / LATEST).get("report_id", "")
    folder = reports / str(report_id)
    return folder if report_id and folder.is_dir() else None


def list_files(folder: Path) -> dict[str, str]:
    """Return the digest of every file of a site, by its place."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): file_digest(path) for path in files}


def read_record(folder: Path) -> dict[str, object]:
    """Return what a report's folder says of it; nothing where there is no such file, or where it is damaged."""
    return read_json(folder / RECORD) or {}


def remove_old(reports: Path, newest: str, summary: str, log: Log) -> None:
    """Remove all but the newest reports; only folders that bear a report's name and hold its pages are ours.

    Args:
        reports: The folder of reports.
        newest: The report that has just been published.
        summary: Name of a page that every report has, beside `index.html`.
        log: Hears of what is removed.
    """
    found = [
        path
        for path in reports.iterdir()
        if _REPORT_ID.fullmatch(path.name)
        and not path.is_symlink()
        and all((path / page).is_file() for page in ("index.html", summary))
    ]
    found.sort(key=lambda path: (path.name == newest, (path / "index.html").stat().st_mtime_ns), reverse=True)
    for path in found[KEPT:]:
        aside = path.with_name(f".{path.name}.old{_PART}")  # a reader meets it whole or not at all
        path.replace(aside)
        shutil.rmtree(aside)
        log(f"removed the old report {path} (rename a report's folder to keep it)")
