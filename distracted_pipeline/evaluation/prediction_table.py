"""The table of one prediction file: its columns, and what makes it unusable.

All is judged from the table and the rows of the manifest that are passed in. Where the files lie, and how they are
written and read, belongs to `predictions`.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from distracted_pipeline.dataset import Dataset
from distracted_pipeline.images.manifest import class_positions
from distracted_pipeline.scopes import canonical_fold

REPLICATE = "replicate"
"""Column that numbers a variant's trainings from 0. Files of earlier versions lack it: they hold one training."""

_SUM_TOLERANCE = 1e-2


def probability_columns(class_ids: Sequence[str]) -> list[str]:
    """Return the columns of the probabilities, in the order of the class ids."""
    return [f"p_{class_id}" for class_id in class_ids]


def predictions_schema(class_ids: Sequence[str]) -> pa.Schema:
    """Return the columns of a prediction file."""
    columns = [(name, pa.float32()) for name in probability_columns(class_ids)]
    first = [("img", pa.string()), ("subject", pa.string()), ("true", pa.int8()), (REPLICATE, pa.int8())]
    return pa.schema([*first, *columns])


def probabilities_of(table: pa.Table) -> np.ndarray:
    """Return the probabilities of a prediction file, a row for each of its rows."""
    names = [name for name in table.column_names if name.startswith("p_")]
    return np.stack([table[name].to_numpy() for name in names], axis=1)


def strings(table: pa.Table, column: str) -> np.ndarray:
    """Return a column of words, str [N]."""
    return table[column].to_numpy(zero_copy_only=False).astype(str)


def fault_of_origin(
    table: pa.Table, meta: Mapping[str, str], variant: str, fold: str, data: str, columns: Sequence[str]
) -> str:
    """Return what a file says of itself that does not fit: variant, fold, data, a column it lacks; or nothing."""
    if (meta.get("variant"), canonical_fold(meta.get("fold", ""))) != (variant, fold):
        return f"says it is {meta.get('variant')!r}, fold {meta.get('fold')!r}"
    if meta.get("data_fingerprint") != data:
        return f"was made from other data (fingerprint {meta.get('data_fingerprint')}, the manifest has {data})"
    absent = [name for name in columns if name not in table.column_names]
    return f"lacks the columns {', '.join(absent)}" if absent else ""


def numbered(table: pa.Table) -> pa.Table:
    """Return a table with the column `REPLICATE`: one without it holds a single training."""
    if REPLICATE in table.column_names:
        return table
    return table.append_column(REPLICATE, pa.array(np.zeros(table.num_rows, np.int8)))


def fault_within(table: pa.Table) -> str:
    """Return what is wrong with a table by itself, or nothing."""
    if table.num_rows == 0:
        return "has no rows"
    if any(column.null_count for column in table.columns):
        return "has empty cells"
    fault = _fault_of_trainings(table)
    if fault:
        return fault
    probabilities = probabilities_of(table)
    bad = ~np.isfinite(probabilities).all(1)
    if bad.any():
        return f"has NaN or infinite probabilities in {bad.sum()} of {len(bad)} rows, {_first(table, bad)} first"
    bad = (probabilities < 0).any(1) | (abs(probabilities.sum(1) - 1) > _SUM_TOLERANCE)
    if bad.any():
        return f"has {bad.sum()} rows that are no probabilities summing to 1, {_first(table, bad)} first"
    return ""


def _fault_of_trainings(table: pa.Table) -> str:
    """Return whether the trainings of a table do not predict the same images once each, or nothing."""
    replicate, names = table[REPLICATE].to_numpy(), table["img"].combine_chunks().dictionary_encode()
    trainings = np.unique(replicate)
    if trainings.tolist() != list(range(len(trainings))):
        return f"numbers its trainings {', '.join(map(str, trainings))} instead of from 0 on"
    rows = np.zeros((len(trainings), len(names.dictionary)), np.int64)
    np.add.at(rows, (replicate, names.indices.to_numpy()), 1)
    if (rows > 1).any():
        twice = names.dictionary[int((rows > 1).any(0).argmax())]
        return f"has {(rows - 1).clip(0).sum()} images twice, {twice} first"
    lacking = (rows == 0).any(0)
    if lacking.any():
        image, training = int(lacking.argmax()), int((rows == 0).any(1).argmax()) + 1
        return (
            f"has trainings of different images: {lacking.sum()} are not in all {len(trainings)} of them, "
            f"{names.dictionary[image]} first (training {training} lacks some)"
        )
    return ""


def fault_of_rows(table: pa.Table, rows: pa.Array, images: pa.Table, expected: np.ndarray, dataset: Dataset) -> str:
    """Return what the manifest objects to, or nothing."""
    if rows.null_count:
        unknown = rows.is_null().to_numpy(zero_copy_only=False)
        what = "images that the manifest does not label"
        return f"predicts {_images(table, unknown)} {what}, {_first(table, unknown)} first"
    leaked = ~expected[rows.to_numpy()]
    if leaked.any():
        what = "images that the fold does not hold out"
        return f"predicts {_images(table, leaked)} {what}, {_first(table, leaked)} first"
    matched = images.take(rows)
    classes = class_positions(matched, dataset)
    differs = (table["true"].to_numpy() != classes) | (strings(table, "subject") != strings(matched, "subject"))
    if differs.any():
        what = "disagrees with the manifest on driver or class"
        return f"{what} of {_images(table, differs)} images, {_first(table, differs)} first"
    return ""


def _first(table: pa.Table, chosen: np.ndarray) -> str:
    """Return the image of the first of some rows."""
    return str(table["img"][int(chosen.argmax())])


def _images(table: pa.Table, chosen: np.ndarray) -> int:
    """Return how many images some rows are of."""
    return len(pc.unique(table["img"].filter(pa.array(chosen))))
