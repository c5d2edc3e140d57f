"""What a folder of class maps holds, as one digest: by content, so that a copy is the same and an edit is another.

Hashing tens of thousands of files takes seconds, so the digest of each is kept with the file's stamp, in the data root:
the folder may be anybody's. No tool sets back the time of the last change of status, which is part of a stamp.
"""

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from distracted_pipeline.advice import DOCTOR
from distracted_pipeline.checksums import stamp
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.files import read_json, write_json

NOTE_NAME: Final = ".given_maps.json"
SUFFIXES: Final = (".png", ".npz")

_known: dict[Path, dict[str, str]] = {}
"""Notes that this process has read or written."""


def maps_digest(folder: Path, note: Path) -> str:
    """Return a digest over the names and bytes of the class maps in a folder; only what has changed is read.

    Args:
        folder: Holds PNG and NPZ files.
        note: Keeps the digests; on a read-only disk they are computed by each process.

    Raises:
        DistractedError: A file cannot be read.
    """
    if note not in _known:
        _known[note] = {name: str(value) for name, value in (read_json(note) or {}).items()}
    found: dict[str, str] = {}
    listing = hashlib.sha256()
    for name in sorted(path.name for path in folder.iterdir() if path.suffix in SUFFIXES):
        path = folder / name
        try:
            found[str(path)] = noted = _noted(path, _known[note])
        except OSError as error:
            raise DistractedError(
                f"the class map {path} cannot be read ({error.strerror or error}). Put it right or move it away, then "
                f"type: {DOCTOR}"
            ) from error
        listing.update(f"{name}\0{noted.rpartition(' ')[2]}\n".encode(errors="surrogateescape"))
    if found != _known[note]:
        _known[note] = found
        with suppress(DistractedError):
            write_json(note, found)
    return listing.hexdigest()


def _noted(path: Path, known: Mapping[str, str]) -> str:
    """Return a file's stamp and digest, the latter from the last time where the former is the same."""
    now, before = "-".join(map(str, stamp(path))), known.get(str(path), "")
    if before.partition(" ")[0] == now:
        return before
    return f"{now} {hashlib.sha256(path.read_bytes()).hexdigest()}"
