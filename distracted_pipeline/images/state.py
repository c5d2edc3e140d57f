"""What the last ingest saw in every file, so that unchanged files are not read again.

A cache and nothing more: deleting `images_state.parquet` costs one full ingest.
"""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

import pyarrow as pa

from distracted_pipeline.checksums import is_whole
from distracted_pipeline.files import write_parquet
from distracted_pipeline.images.problems import OK
from distracted_pipeline.parquet import read_notes, read_table

STATE_NAME: Final = "images_state.parquet"

_VERSION: Final = "3"
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
        ("look", pa.string()),  # of `likeness`; empty where the image cannot be decoded
    ],
)


@dataclass(frozen=True, slots=True)
class Content:
    """What is in one file: upright size, hash, status with the reason where it is not ok, and what it looks like."""

    width: int = 0
    height: int = 0
    sha256: str = ""
    status: str = OK
    what: str = ""
    look: str = ""


UNSEEN: Final = Content()
"""The content of a row that has no file."""


def state_is_whole(folder: Path) -> bool:
    """Tell whether there is a state of this version, as it was written."""
    path = folder / STATE_NAME
    return read_notes(path).get("version") == _VERSION and is_whole(path)


def read_state(folder: Path) -> dict[str, tuple[str, Content]]:
    """Return stamp and content by path; empty where there is no state of this version."""
    if not state_is_whole(folder):
        return {}
    try:
        table = read_table(folder / STATE_NAME)
    except (OSError, pa.ArrowException):  # went away meanwhile: everything is read again
        return {}
    if not table.schema.equals(_SCHEMA) or any(column.null_count for column in table.columns):
        return {}
    columns = [table[name].to_pylist() for name in _SCHEMA.names]
    return {path: (stamp, Content(*rest)) for path, stamp, *rest in zip(*columns, strict=True)}


def write_state(folder: Path, seen: dict[str, tuple[str, Content]]) -> None:
    """Write stamp and content by path."""
    columns: dict[str, list[object]] = {"path": list(seen), "stamp": [stamp for stamp, _ in seen.values()]}
    for field in fields(Content):
        columns[field.name] = [getattr(content, field.name) for _, content in seen.values()]
    table = pa.table(columns, schema=_SCHEMA)
    write_parquet(folder / STATE_NAME, table, {"version": _VERSION})
