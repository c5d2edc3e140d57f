"""Tables whose columns are the fields of a dataclass: their Arrow schema, and rows to and from Parquet.

Which tables there are belongs to `table_schemas` and to `explanation.tables`. A number that is not defined is None in
a row and null on disk.
"""

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar, get_args, get_type_hints

import numpy as np
import pyarrow as pa

from distracted_pipeline.advice import RUN
from distracted_pipeline.checksums import all_as_listed, digests_in, file_digest
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.files import write_parquet
from distracted_pipeline.parquet import read_notes, read_table

T = TypeVar("T")

_LISTED = "listed"

_ARROW: dict[Any, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
    list[str]: pa.list_(pa.string()),
}


def schema_of(kind: type, further: Sequence[str] = ()) -> pa.Schema:
    """Return the columns of a table.

    Args:
        kind: A dataclass; `Annotated[int, "int8"]` names another Arrow type than the usual one. A field that is a
            mapping stands for `further`.
        further: Float columns that only the data know, such as one for each mask category.
    """
    fields, mapping = _fields(kind)
    return pa.schema([*fields.items(), *((name, pa.float64()) for name in (further if mapping else ()))])


def made(kind: type[T], values: Mapping[str, Any]) -> T:
    """Return a row from NumPy's values or Python's; NaN becomes None."""
    return kind(**{name: _plain(value) for name, value in values.items()})


def to_table(kind: type[T], rows: Iterable[T], further: Sequence[str] = ()) -> pa.Table:
    """Return rows as an Arrow table in the columns of `schema_of`."""
    _, mapping = _fields(kind)
    plain = [{**vars(row), **(getattr(row, mapping) if mapping else {})} for row in rows]
    return pa.Table.from_pylist(plain, schema=schema_of(kind, further))


def write_table(path: Path, table: pa.Table, notes: Mapping[str, str] | None = None) -> None:
    """Write a table atomically; `notes` go into the file's metadata."""
    write_parquet(path, table, notes)


def listed(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Return the note in which a table says how files beside it are, which cannot say so themselves."""
    return {_LISTED: json.dumps({name: file_digest(folder / name) for name in names})}


def listed_are_whole(path: Path) -> bool:
    """Tell whether the files that a table lists are as they were; False for tables that list none."""
    noted = digests_in(read_notes(path).get(_LISTED, ""))
    return noted is not None and all_as_listed(path.parent, noted)


def check_listed(path: Path) -> None:
    """Fail where a file that a table lists is not as it was; tables of earlier versions list none.

    Raises:
        ValueError: Says so.
    """
    if _LISTED in read_notes(path) and not listed_are_whole(path):
        raise ValueError(f"a file that {path.name} lists is not as it was written")


def read_rows(path: Path, kind: type[T]) -> list[T]:
    """Return the rows of a table, none where there is no such file.

    Columns that other versions write are ignored (or go into the row's mapping, where it has one), and those that
    other versions did not write yet keep the field's default.

    Raises:
        DistractedError: The file cannot be read, or lacks a column without which a row says nothing.
    """
    if not path.is_file():
        return []
    try:
        found = read_table(path).to_pylist()
        fields, mapping = _fields(kind)
        return [_row(kind, fields, mapping, values) for values in found]
    except (pa.ArrowException, OSError, TypeError) as error:
        what = str(error).splitlines()[0]
        raise DistractedError(f"{path} cannot be read ({what}). Delete it, then: {RUN}") from error


def _row(kind: type[T], fields: Mapping[str, pa.DataType], mapping: str, values: dict[str, Any]) -> T:
    known = {name: values[name] for name in fields if values.get(name) is not None}
    if mapping:
        known[mapping] = {name: _plain(value) for name, value in values.items() if name not in fields}
    return made(kind, known)


def _fields(kind: type) -> tuple[dict[str, pa.DataType], str]:
    """Return the Arrow type of each field, and the name of the field that is a mapping, empty where none is."""
    hints = get_type_hints(kind, include_extras=True)
    names = [field.name for field in dataclasses.fields(kind)]
    mapping = next((name for name in names if _bare(hints[name]) == dict[str, float | None]), "")
    return {name: _arrow(hints[name]) for name in names if name != mapping}, mapping


def _arrow(hint: Any) -> pa.DataType:
    bare = _bare(hint)
    alias = getattr(bare, "__metadata__", ())
    return pa.type_for_alias(alias[0]) if alias else _ARROW[bare]


def _bare(hint: Any) -> Any:
    """Return `X` for `X | None`."""
    options = [option for option in get_args(hint) if option is not NoneType]
    return options[0] if NoneType in get_args(hint) else hint


def _plain(value: Any) -> Any:
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and math.isnan(value) else value
