"""The page on which a person decides about labels in doubt; `images.decisions` reads what was decided."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from distracted_pipeline.evaluation.label_errors import find_label_errors
from distracted_pipeline.fingerprints import fingerprint
from distracted_pipeline.images.decisions import decisions_file, read_decisions
from distracted_pipeline.images.decode import ImageReader
from distracted_pipeline.images.manifest import labelled, read_manifest
from distracted_pipeline.images.problems import ImageProblem
from distracted_pipeline.reports.standalone import picture, write_page
from distracted_pipeline.settings import Settings

REVIEW_NAME: Final = "review.html"
MOST: Final = 100
"""Labels on a page: some 2 MB."""


@dataclass(frozen=True)
class Review:
    """A page that was written.

    Attributes:
        path: Where.
        shown: Labels on it.
        in_doubt: Labels in doubt in all.
        decided: Those of them that people have decided about already; they are not shown again.
    """

    path: Path
    shown: int
    in_doubt: int
    decided: int


def write_review(settings: Settings, most: int = MOST) -> Review:
    """Write the page of labels in doubt, the most doubted first, without those that are decided.

    Args:
        settings: Names the data root.
        most: Labels on the page.

    Raises:
        DistractedError: No variant has predicted every fold, or the file of decisions is not valid.
    """
    found = find_label_errors(settings)
    decided = {one.img: one for one in read_decisions(decisions_file(settings), settings.dataset)}
    rows = found.to_pylist()
    open_rows = [row for row in rows if row["img"] not in decided or not decided[row["img"]].is_about(row["sha256"])]
    with ImageReader(settings.data) as reader:
        cases = [_case(settings, reader, row) for row in open_rows[:most]]
    ids = settings.dataset.class_ids
    said = {
        "title": f"Labels in doubt: {settings.dataset.name}",
        "cases": cases,
        "in_doubt": len(rows),
        "images": labelled_images(settings),
        "decided": len(rows) - len(open_rows),
        "classes": [(name, settings.dataset.class_label(k)) for k, name in enumerate(ids)],
        "key": fingerprint(str(settings.data)),  # a browser keeps what all pages from disk remember in one place
    }
    path = write_page(settings.reports / REVIEW_NAME, "review.html.jinja", said, "review.js")
    return Review(path, len(cases), len(rows), len(rows) - len(open_rows))


def labelled_images(settings: Settings) -> int:
    """Return how many images have a label."""
    table: pa.Table = labelled(read_manifest(settings))
    return int(table.num_rows)


def _case(settings: Settings, reader: ImageReader, row: dict[str, Any]) -> dict[str, Any]:
    """Return a label in doubt as the page shows it."""
    ids = settings.dataset.class_ids
    try:
        shown = picture(reader.bytes(row["path"]), row["path"])
    except ImageProblem:
        shown = ""
    return {
        **row,
        "picture": shown,
        "given": ids[row["true"]],
        "suggested": ids[row["suggested"]],
        "label": settings.dataset.class_label(row["true"]),
        "suggested_label": settings.dataset.class_label(row["suggested"]),
    }
