"""Near-duplicates across drivers: frames of two drivers that look the same, which no driver-disjoint fold keeps apart.

Kept in `images_neighbours.parquet`, by the images that it was made from; the looks come from what ingest saw last.
"""

from typing import Final

import numpy as np
import pyarrow as pa

from distracted_pipeline.files import write_parquet
from distracted_pipeline.fingerprints import INPUTS, fingerprint, is_current
from distracted_pipeline.images.likeness import ALIKE, as_words, close_pairs
from distracted_pipeline.images.manifest import data_fingerprint, labelled
from distracted_pipeline.images.state import read_state
from distracted_pipeline.parquet import read_table
from distracted_pipeline.settings import Settings

NEIGHBOURS_NAME: Final = "images_neighbours.parquet"

MOST_KEPT: Final = 1_000
"""Pairs that are kept, the closest ones."""

SCHEMA: Final = pa.schema(
    [
        ("img", pa.string()),
        ("subject", pa.string()),
        ("classname", pa.string()),
        ("other", pa.string()),
        ("other_subject", pa.string()),
        ("other_classname", pa.string()),
        ("distance", pa.int16()),
    ]
)


def find_neighbours(settings: Settings, table: pa.Table) -> pa.Table:
    """Return the closest pairs of labelled frames that show two drivers and look alike, closest first.

    All pairs are compared, once for the same frames: 22,424 take a
    core 2.5 s, a twentieth of what reading them in takes.

    Args:
        settings: Names the data root.
        table: The manifest.
    """
    images = labelled(table)
    path, inputs = settings.data / NEIGHBOURS_NAME, fingerprint(data_fingerprint(images), ALIKE, MOST_KEPT)
    if is_current([path], inputs):
        return read_table(path).cast(SCHEMA)
    looks = looks_of(settings, images)
    known = np.flatnonzero([bool(one) for one in looks])
    _, driver = np.unique(images["subject"].to_numpy(zero_copy_only=False).astype(str), return_inverse=True)
    pairs = close_pairs(as_words([looks[i] for i in known]), driver[known])[:MOST_KEPT]
    found = {
        side: images.take(pa.array([int(known[getattr(pair, which)]) for pair in pairs], pa.int64()))
        for side, which in (("", "first"), ("other_", "second"))
    }
    columns = {"img": found[""]["img"], "other": found["other_"]["img"]}
    columns |= {f"{side}{name}": rows[name] for side, rows in found.items() for name in ("subject", "classname")}
    pairs_table = pa.table({**columns, "distance": pa.array([pair.distance for pair in pairs], pa.int16())})
    pairs_table = pairs_table.select(SCHEMA.names).cast(SCHEMA)
    write_parquet(path, pairs_table, {INPUTS: inputs})
    return pairs_table


def looks_of(settings: Settings, images: pa.Table) -> list[str]:
    """Return what each frame looks like, as ingest saw it last; empty for what it has not seen."""
    seen = read_state(settings.data)
    return [seen[path][1].look if path in seen else "" for path in images["path"].to_pylist()]
