"""The manifest `images.parquet`: one row per image, good or bad, and the views that later stages read.

`ingest` makes it; `folds` says who is held out.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from distracted_pipeline.advice import RUN
from distracted_pipeline.checksums import all_as_listed, digests_in, file_digest, is_whole
from distracted_pipeline.dataset import DATASET_FILE, Dataset
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.files import write_parquet
from distracted_pipeline.images.problems import OK
from distracted_pipeline.parquet import read_notes, read_table
from distracted_pipeline.settings import Settings

SCHEMA: Final = pa.schema(
    [
        ("img", pa.string()),  # what an image is known by everywhere: its file name, or its path with __ for /
        ("subject", pa.string()),  # driver, or test-000 … for unlabelled images
        ("classname", pa.string()),  # a class id, empty for unlabelled images
        ("split", pa.string()),  # train, dev, test: the original split's; empty for unlabelled and bad images
        ("fold", pa.int8()),  # driver-disjoint fold, -1 for unlabelled and bad images
        ("path", pa.string()),  # relative to the data root, archive.zip::member in a zip, empty without a file
        ("bytes", pa.int64()),
        ("width", pa.int32()),  # of the upright image, 0 where it cannot be decoded
        ("height", pa.int32()),
        ("sha256", pa.string()),  # of the file's bytes, empty where it cannot be read
        ("status", pa.string()),  # ok, or why the image cannot be used
        ("camera", pa.string()),  # empty where nobody says
        ("session", pa.string()),  # of the driver; empty where nobody says
    ]
)

NO_FOLD: Final = -1

_LATER: Final = ("camera", "session")
"""Columns that earlier versions did not write."""

_NEEDED: Final = ("img", "subject", "classname", "split", "fold", "sha256", "status")
"""Columns whose cells every reader counts on."""

_SOURCE_KEY: Final = "distracted_source"
_BESIDE: Final = "distracted_beside"


def read_manifest(settings: Settings) -> pa.Table:
    """Return the manifest, bad rows included, in its order: subject, classname, img.

    Raises:
        DistractedError: There is none yet, or neither this version nor an earlier one wrote it.
    """
    path = settings.manifest
    try:
        table = read_table(path)
    except FileNotFoundError as error:
        raise DistractedError(f"{path} does not exist yet. Write it with: {RUN}") from error
    except (pa.ArrowException, OSError) as error:
        raise DistractedError(f"{path} cannot be read ({error}). Write it anew with: {RUN}") from error
    for name in _LATER:
        if name not in table.schema.names:
            table = table.append_column(name, pa.repeat(pa.scalar(""), len(table)))
    if table.schema.names != SCHEMA.names:
        raise DistractedError(f"{path} has other columns than this version writes. Write it anew with: {RUN}")
    try:
        table = table.cast(SCHEMA)
    except pa.ArrowException as error:
        raise DistractedError(
            f"{path} holds other things than its columns are for. Write it anew with: {RUN}"
        ) from error
    if any(table[name].null_count for name in _NEEDED):
        raise DistractedError(f"{path} has empty cells. Write it anew with: {RUN}")
    return table


def labelled(table: pa.Table) -> pa.Table:
    """Return the usable images with a class, in the manifest's order: the table that fold rows index."""
    return table.filter(pc.and_(pc.equal(table["status"], OK), pc.not_equal(table["classname"], "")))


def of_subject(table: pa.Table, subject: str) -> pa.Table:
    """Return the usable images of one driver, or of one shard of unlabelled images, in the manifest's order."""
    return table.filter(pc.and_(pc.equal(table["status"], OK), pc.equal(table["subject"], subject)))


def class_positions(table: pa.Table, dataset: Dataset) -> np.ndarray:
    """Return the position of every row's class in the data set's order, int64 `[N]`.

    Raises:
        DistractedError: The manifest holds a class that the data set does not have.
    """
    positions = {name: position for position, name in enumerate(dataset.class_ids)}
    names = table["classname"].to_pylist()
    foreign = next((name for name in names if name not in positions), None)
    if foreign is not None:
        raise DistractedError(
            f"the manifest holds the class {foreign!r}, which {dataset.name} does not have: {DATASET_FILE} is another "
            f"than when the manifest was written. Write it anew with: {RUN}"
        )
    return np.array([positions[name] for name in names], np.int64)


def data_fingerprint(table: pa.Table) -> str:
    """Return 12 hex digits that change with the usable images of `table`, their drivers, classes or bytes.

    Cameras and sessions are left out: nothing is trained or computed from them.
    """
    usable = table.filter(pc.equal(table["status"], OK))
    columns = [usable[name].to_pylist() for name in ("img", "subject", "classname", "sha256")]
    digest = hashlib.sha256()
    for row in sorted(zip(*columns, strict=True)):
        digest.update("\0".join(row).encode() + b"\n")
    return digest.hexdigest()[:12]


def rows_digest(table: pa.Table) -> str:
    """Return a digest of all rows and columns: the same rows read in from touched files are the same manifest."""
    sink = pa.BufferOutputStream()
    table = table.replace_schema_metadata(None).combine_chunks()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return hashlib.sha256(sink.getvalue()).hexdigest()


def write_manifest(settings: Settings, table: pa.Table, source_key: str, beside: Sequence[Path] = ()) -> None:
    """Publish the manifest.

    Args:
        settings: Names the data root.
        table: In the columns of `SCHEMA`.
        source_key: Digest of the raw data that it describes.
        beside: Files in the data root that were made with it.
    """
    digests = json.dumps({path.name: file_digest(path) for path in beside})
    write_parquet(settings.manifest, table, {_SOURCE_KEY: source_key, _BESIDE: digests})


def read_source_key(settings: Settings) -> str:
    """Return the digest of the raw data that the manifest describes.

    Empty where there is none, or where it, or a file that was made with it, is not as it was written.
    """
    if not is_whole(settings.manifest):
        return ""
    notes = read_notes(settings.manifest)
    beside = digests_in(notes.get(_BESIDE, "{}"))
    return notes.get(_SOURCE_KEY, "") if beside is not None and all_as_listed(settings.data, beside) else ""
