"""Parquet as it is read: whole columns of what their types promise, and never more than a footer can honestly announce.

Belongs here: reading any room's tables. Writing them is `files.write_parquet`; what they hold is the rooms' business.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import pyarrow as pa

MOST_BYTES: Final = 2**30
"""Unpacked bytes of a file. The largest tables here take a twentieth of that."""

MOST_VALUES: Final = 2**25
"""Values in the columns that are read: a run of one value takes a few bytes in a file, however long it is."""


def read_table(path: Path, columns: Sequence[str] | None = None) -> "pa.Table":
    """Return the table of a file, or some columns of it.

    Raises:
        pa.ArrowException: It is damaged, holds other than its types say (as text that is not UTF-8), lacks a column, or
            would be too large.
        OSError: It is missing, or reading fails.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:  # `pq.read_table` would import pandas, half a second for every op
            lacking = set(columns or ()) - set(file.schema_arrow.names)
            if lacking:
                raise pa.ArrowInvalid(f"it lacks the columns {', '.join(sorted(lacking))}")
            _check_size(file.metadata, columns)
            table = file.read(columns=None if columns is None else list(columns), use_threads=False)
        table.validate(full=True)
        return table
    except (pa.ArrowException, OSError):
        raise
    except (ValueError, TypeError, LookupError, ArithmeticError) as error:  # names and metadata that are not UTF-8
        raise pa.ArrowInvalid(str(error)) from error


def read_notes(path: Path) -> dict[str, str]:
    """Return the texts in a file's metadata; empty where it is missing or damaged."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_schema(path).metadata or {}
        return {key.decode(): value.decode() for key, value in metadata.items()}
    except (pa.ArrowException, OSError, ValueError, TypeError):
        return {}


def _check_size(footer: "pa.parquet.FileMetaData", columns: Sequence[str] | None) -> None:
    import pyarrow as pa

    # Of the file and its row groups only: asked about a column, a damaged footer ends the whole process.
    groups = [footer.row_group(k) for k in range(footer.num_row_groups)]
    size = sum(max(0, group.total_byte_size) for group in groups)
    rows = max(footer.num_rows, sum(max(0, group.num_rows) for group in groups))
    values = rows * (footer.num_columns if columns is None else len(columns))
    if size > MOST_BYTES or values > MOST_VALUES:
        raise pa.ArrowInvalid(f"it says that it holds {values:,} values and {size:,} bytes, more than any table here")
