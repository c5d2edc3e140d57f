"""A csv that people or other programs wrote, row by row, by the names in its first line."""

import csv
import io
from pathlib import Path

from distracted_pipeline.errors import DistractedError


def named_rows(text: str, path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Return the names in a csv's first line, and of every row its line, from 1, and its cells; absent ones are empty.

    Args:
        text: The file's content.
        path: The file, for the message.

    Raises:
        DistractedError: It is no csv.
    """
    reader = csv.DictReader(io.StringIO(text), restval="")
    try:
        return list(reader.fieldnames or ()), [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise DistractedError(
            f"{path}, line {reader.line_num}: this is no csv ({error}). A quote that nothing closes may stand above it"
        ) from error
