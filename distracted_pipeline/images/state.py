"""What the last ingest saw in every file, so that unchanged files are not read again.

A cache and nothing more: deleting `images_state.parquet` costs one full ingest.
"""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from distracted_pipeline.files import atomic_path
from distracted_pipeline.images.problems import OK

STATE_NAME: Final = "images_state.parquet"

_VERSION: Final = b"2"
"""Raise it when `decode.verify` judges differently, so that every file is looked at again."""

_SCHEMA: Final = pa.schema(
    [
        ("path", pa.string()),
        ("stamp", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("sha256", pa.string()),
        ("status", pa.string()),
        ("what", pa.string()),
    ],
    metadata={"version": _VERSION},
)


@dataclass(frozen=True, slots=True)
class Content:
    """What is in one file: upright size, hash, and status with the reason where it is not ok."""

    width: int = 0
    height: int = 0
    sha256: str = ""
    status: str = OK
    what: str = ""


UNSEEN: Final = Content()
"""The content of a row that has no file."""


def read_state(folder: Path) -> dict[str, tuple[str, Content]]:
    """Return stamp and content by path; empty where there is no state of this version."""
    try:
        with pq.ParquetFile(folder / STATE_NAME) as file:
            table = file.read()
    except (OSError, pa.ArrowInvalid):
        return {}  # absent, or damaged: everything is read again
    if (table.schema.metadata or {}).get(b"version") != _VERSION or table.schema.names != _SCHEMA.names:
        return {}
    columns = [table[name].to_pylist() for name in _SCHEMA.names]
    return {path: (stamp, Content(*rest)) for path, stamp, *rest in zip(*columns, strict=True)}


def write_state(folder: Path, seen: dict[str, tuple[str, Content]]) -> None:
    """Write stamp and content by path."""
    columns: dict[str, list[object]] = {"path": list(seen), "stamp": [stamp for stamp, _ in seen.values()]}
    for field in fields(Content):
        columns[field.name] = [getattr(content, field.name) for _, content in seen.values()]
    table = pa.table(columns, schema=_SCHEMA)
    with atomic_path(folder / STATE_NAME) as temporary:
        pq.write_table(table, temporary)
