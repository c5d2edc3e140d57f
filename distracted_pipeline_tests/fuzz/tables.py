"""Parquet: the manifest, shards of masks, predictions, what ingest saw; and the tensor of counts, an NPZ."""

import io
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

from distracted_pipeline.dataset import STATE_FARM
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.evaluation.confusion import Confusion, read_confusion, write_confusion
from distracted_pipeline.evaluation.predictions import (
    predictions_path,
    predictions_schema,
    read_predictions,
    recorded_facts,
)
from distracted_pipeline.images import state
from distracted_pipeline.images.manifest import (
    SCHEMA,
    class_positions,
    data_fingerprint,
    labelled,
    read_manifest,
    read_source_key,
    write_manifest,
)
from distracted_pipeline.masks.cache import MaskCache
from distracted_pipeline.masks.rle import encode
from distracted_pipeline.masks.shards import shard_schema
from distracted_pipeline.scopes import SCOPES
from distracted_pipeline.settings import Settings
from distracted_pipeline_tests.fuzz.mutations import Draw, mutated, one_of
from distracted_pipeline_tests.fuzz.reader import Reader, fresh
from distracted_pipeline_tests.fuzz.zips import bomb

_MARKS = (b"PAR1", b"img", b"list", b"element", b"ARROW:schema", b"checksum", b"distracted_beside")
IMGS = [f"img_{k}.jpg" for k in range(4)]


def manifest() -> pa.Table:
    """Return a manifest of four frames of two drivers."""
    columns: dict[str, list[Any]] = {name: [""] * 4 for name in SCHEMA.names}
    columns |= {
        "img": IMGS,
        "subject": ["p1", "p1", "p2", "p2"],
        "classname": ["c0", "c1", "c0", "c1"],
        "status": ["ok"] * 4,
    }
    columns |= {
        "fold": [0, 0, 1, 1],
        "split": ["train", "train", "test", "test"],
        "sha256": [f"{k:064x}" for k in range(4)],
    }
    columns |= {"path": [f"imgs/train/c{k % 2}/{img}" for k, img in enumerate(IMGS)]}
    columns |= {name: [64] * 4 for name in ("bytes", "width", "height")}
    return pa.table(columns, SCHEMA)


def shard() -> pa.Table:
    """Return four masks of 6 x 8 pixels."""
    mask = np.arange(48, dtype=np.uint8).reshape(6, 8) // 7
    runs, values, areas = encode(mask, 6)
    rows = {"img": IMGS, "source": ["ab"] * 4, "height": [6] * 4, "width": [8] * 4}
    return pa.table({**rows, "runs": [runs] * 4, "values": [values] * 4, "areas": [areas] * 4}, shard_schema(6))


def predictions() -> pa.Table:
    """Return the answers of two trainings to the frames of the second driver."""
    schema = predictions_schema(STATE_FARM.class_ids)
    columns: dict[str, list[Any]] = {name: [0.1] * 4 for name in schema.names}
    columns |= {"img": [*IMGS[2:], *IMGS[2:]], "subject": ["p2"] * 4, "true": [0, 1, 0, 1], "replicate": [0, 0, 1, 1]}
    meta = {"variant": "top_only", "fold": "1", "data_fingerprint": data_fingerprint(labelled(manifest()))}
    return pa.table(columns, schema.with_metadata(meta))


def seen() -> pa.Table:
    """Return a state of ingest."""
    columns: dict[str, list[Any]] = {name: ["a", "b"] for name in ("path", "stamp", "sha256", "status", "what", "look")}
    return pa.table(
        {**columns, "width": [1, 2], "height": [1, 2]}, state._SCHEMA.with_metadata({"version": state._VERSION})
    )


def written(table: pa.Table, **options: Any) -> bytes:
    """Return a table's file."""
    file = io.BytesIO()
    pq.write_table(table, file, **options)
    return file.getvalue()


_TYPES = (
    pa.int8(),
    pa.int64(),
    pa.uint8(),
    pa.float64(),
    pa.float16(),
    pa.bool_(),
    pa.string(),
    pa.large_string(),
    pa.binary(),
    pa.null(),
    pa.timestamp("ns"),
    pa.list_(pa.int32()),
    pa.list_(pa.int64(), 7),
    pa.large_list(pa.uint8()),
    pa.struct([("a", pa.int8())]),
    pa.dictionary(pa.int8(), pa.string()),
    pa.decimal128(38, 2),
    pa.map_(pa.string(), pa.int8()),
)
_CELLS = (
    None,
    0,
    -1,
    1,
    7,
    255,
    2**31 - 1,
    -(2**31),
    2**40,
    0.5,
    float("nan"),
    float("inf"),
    "",
    "p1",
    "\0",
    b"\xff\xfe",
    "x" * 70_000,
    [],
    [2**31 - 1] * 4,
    [-5, 53],
    [48],
    [None, 48],
    [0] * 7,
    True,
    {"a": 1},
)


@st.composite
def retabled(draw: Draw, table: pa.Table) -> bytes:
    """Return a sound Parquet file in which one or two columns are of other types, hold other things, or are gone."""
    for _ in range(draw(st.integers(1, 2))):
        name = one_of(draw, table.column_names) if table.column_names else "img"
        how = one_of(draw, ("cells", "cells", "type", "drop", "twice", "rows", "words"))
        at = table.schema.get_field_index(name)
        try:
            if how == "cells":
                kind = table.schema.field(at).type if draw(st.booleans()) else one_of(draw, _TYPES)
                values = table[name].to_pylist()
                for k in draw(st.sets(st.integers(0, max(0, len(values) - 1)))):
                    values[k:k] = [one_of(draw, _CELLS)]
                    del values[k + 1 : k + 2]
                table = table.set_column(at, name, pa.array(values, kind))
            elif how == "type":
                table = table.set_column(at, name, table[name].cast(one_of(draw, _TYPES)))
            elif how == "drop":
                table = table.drop_columns([name])
            elif how == "twice":
                table = table.append_column(name, table[name])
            elif how == "rows":
                table = table.slice(0, draw(st.integers(0, 3)))
            else:
                word = one_of(draw, (b"\xff", b"{}", b"[1]", b"null", b"NaN", b"9" * 5_000, b"[" * 5_000))
                kept = dict(table.schema.metadata or {b"distracted_beside": b"{}"})
                table = table.replace_schema_metadata(dict.fromkeys(kept, word))
        except (pa.ArrowException, TypeError, ValueError, OverflowError, KeyError):
            continue  # pyarrow itself cannot make that
    try:
        return written(table)
    except (pa.ArrowException, ValueError):
        return written(table.slice(0, 0).select([]))


def _manifest(folder: Path, case: bytes) -> None:
    settings = Settings(data=fresh(folder))
    settings.manifest.write_bytes(case)
    read_source_key(settings)
    table = labelled(read_manifest(settings))
    data_fingerprint(table)
    class_positions(table, STATE_FARM)


def _shard(folder: Path, case: bytes) -> None:
    cache = MaskCache(folder / "masks", "ab", 6)
    path = fresh(cache.folder("p1")) / "part-00000.parquet"
    path.write_bytes(case)
    cache.sources(path)
    cache.shard_areas("p1")
    for _ in cache.masks("p1"):
        pass
    imgs = cache.imgs("p1")
    cache.areas(imgs)
    cache.fractions(imgs, (3, 4))


def _predictions(folder: Path, case: bytes) -> None:
    settings = Settings(data=folder)
    path = predictions_path(settings, "top_only", "1")
    if not settings.manifest.exists():
        fresh(folder)
        write_manifest(settings, manifest(), "ab")
    fresh(path.parent)
    path.write_bytes(case)
    recorded_facts(path)
    read_predictions(settings, ["top_only"])


def _state(folder: Path, case: bytes) -> None:
    (fresh(folder) / state.STATE_NAME).write_bytes(case)
    state.read_state(folder)


def _cases(table: Callable[[], pa.Table]) -> Callable[[], st.SearchStrategy[bytes]]:
    def made() -> st.SearchStrategy[bytes]:
        kinds: tuple[Mapping[str, Any], ...] = (
            {},
            {"use_dictionary": False, "compression": "none"},
            {"compression": "zstd", "version": "1.0"},
        )
        seeds = [written(table(), **options) for options in kinds]
        return st.one_of(retabled(table()), mutated(seeds, _MARKS))

    return cache(made)


def _billions() -> dict[str, bytes]:
    cells = pa.nulls(2**25 + 1, pa.bool_())
    return {"more than 2**25 cells": written(pa.table({"img": cells}))}


def _of(table: Callable[[], pa.Table]) -> Callable[[], list[bytes]]:
    return lambda: [written(table())]


def _confusion(folder: Path, case: bytes) -> None:
    path = fresh(folder) / "confusion.npz"
    path.write_bytes(case)
    try:
        read_confusion(path)
    except (ValueError, KeyError, OSError) as error:  # as `read_class_accuracy` takes it
        raise DistractedError(str(error)) from error


@cache
def _tensor() -> bytes:
    counts, folds = np.ones((1, 2, 2, 3, 3), np.int64), np.array([0, 1])
    with TemporaryDirectory() as folder:
        path = Path(folder) / "confusion.npz"
        write_confusion(path, Confusion(("a",), ("x", "y"), *(dict.fromkeys(SCOPES, each) for each in (counts, folds))))
        return path.read_bytes()


READERS = [
    Reader("manifest", _manifest, _cases(manifest), _of(manifest), memory_mib=256, largest=_billions),
    Reader("mask_shard", _shard, _cases(shard), _of(shard), memory_mib=256, largest=_billions),
    Reader("predictions", _predictions, _cases(predictions), _of(predictions), memory_mib=256, largest=_billions),
    Reader("images_state", _state, _cases(seen), _of(seen), memory_mib=256),
    Reader(
        "confusion",
        _confusion,
        lambda: mutated([_tensor()], (b"PK\x01\x02", b"PK\x03\x04", b"T.npy", b"NUMPY", b"'<i8'", b"'|O'")),
        lambda: [_tensor()],
        memory_mib=192,
        made=lambda: {"256 MiB that claim to be 1,000 bytes": bomb(1_000, 2**28), "an empty file": b""},
    ),
]
