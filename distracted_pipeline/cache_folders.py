"""What a folder of cached results holds, in its `about.json`: written once, so that nothing else is ever added.

Belongs here: that file, for masks and taps alike. What a cache's fingerprint covers is the rooms' business.

Precision is no part of a fingerprint, for readers of a cache cannot know what `auto` was on another machine. So the
first writer decides it for the whole folder.
"""

from pathlib import Path
from typing import Any, Final

from distracted_pipeline.checksums import is_whole
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.files import locked, read_json, write_json
from distracted_pipeline.parquet import read_notes

ABOUT: Final = "about.json"
PRECISION: Final = "precision"


def read_about(root: Path) -> dict[str, Any]:
    """Return what a cache folder says of itself; empty where nobody has written to it, or where that is damaged."""
    return read_json(root / ABOUT) or {}


def precision_of(root: Path) -> str:
    """Return the precision of everything in a cache folder; empty where it has none, or is yet to be decided.

    Where `about.json` is lost, it is what the tables in the folder note.
    """
    about = read_about(root)
    return str(about[PRECISION] if PRECISION in about else _noted_precision(root))


def _noted_precision(root: Path) -> str:
    for path in sorted(root.glob("subject=*/*.parquet")):
        noted = read_notes(path).get(PRECISION) if is_whole(path) else None
        if noted:
            return noted
    return ""


def claim(root: Path, about: dict[str, Any], *, what: str, next_command: str) -> None:
    """Write what a cache folder is about to hold, unless that stands there already.

    Args:
        root: The cache folder.
        about: JSON values, `precision` among them; those that an earlier version did not record are added to its file.
        what: What the folder holds, in the plural, e.g. `masks`.
        next_command: What to type after the remedy.

    Raises:
        DistractedError: The folder holds results of another precision.
    """
    with locked(root / ".about.lock", what=f"the cache {root}"):
        found = read_about(root)
        mine = about[PRECISION]
        there = found[PRECISION] if PRECISION in found else _noted_precision(root) or mine
        if there != mine:
            raise DistractedError(
                f"{root} holds {what} made in {there}, so none in {mine} are added: they would differ a little. "
                f"Set precision to auto or {there}, or delete that folder to begin anew; then type: {next_command}"
            )
        if about.keys() - found.keys():
            write_json(root / ABOUT, about | found)
