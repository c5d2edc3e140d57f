"""The one rule of staleness: an output records the fingerprint of its inputs, and is current while they still have it.

Times of change never count. Each room says what its inputs are; this module makes a fingerprint of them, says where an
output records it (key `inputs` of a Parquet file's metadata or of a JSON object), and reads it back.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from distracted_pipeline.checksums import file_digest, is_whole
from distracted_pipeline.parquet import read_notes

__all__ = ["INPUTS", "file_digest", "fingerprint", "is_current", "recorded_inputs"]

INPUTS: Final = "inputs"
"""Key under which an output records the fingerprint of what it was made from."""

_DIGITS: Final = 12


def fingerprint(*facts: object) -> str:
    """Return 12 hex digits over facts that JSON can write; the order of keys in mappings changes nothing."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:_DIGITS]


def recorded_inputs(path: Path) -> str:
    """Return the fingerprint that an output records of its inputs.

    Empty where the file is absent, is damaged, or records none because an earlier version wrote it: in each case the
    output has to be made again.
    """
    if not is_whole(path):
        return ""
    try:
        if path.suffix != ".json":
            return read_notes(path).get(INPUTS, "")
        found = json.loads(path.read_text(encoding="utf-8"))
        return str(found.get(INPUTS, "")) if isinstance(found, dict) else ""
    except (OSError, ValueError, RecursionError):
        return ""


def is_current(outputs: Iterable[Path], inputs: str) -> bool:
    """Tell whether all of an asset's files are there and were made from these inputs; the first one records them."""
    files = list(outputs)
    return all(path.is_file() for path in files) and recorded_inputs(files[0]) == inputs != ""
