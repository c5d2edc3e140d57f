"""What a folder of cached results holds, in its `about.json`: written once, so that nothing else is ever added.

Belongs here: that file, for masks and taps alike. What a cache's fingerprint covers is the rooms' business.

Precision is no part of a fingerprint, for readers of a cache cannot know what `auto` was on another machine. So the
first writer decides it for the whole folder.
"""

import json
from pathlib import Path
from typing import Any, Final

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.files import locked, write_json

ABOUT: Final = "about.json"
PRECISION: Final = "precision"


def read_about(root: Path) -> dict[str, Any]:
    """Return what a cache folder says of itself; empty where nobody has written to it, or where that is damaged."""
    try:
        found = json.loads((root / ABOUT).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def precision_of(root: Path) -> str:
    """Return the precision of everything in a cache folder; empty where it has none, or is yet to be decided."""
    return str(read_about(root).get(PRECISION) or "")


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
        there, mine = found.get(PRECISION, about[PRECISION]), about[PRECISION]
        if there != mine:
            raise DistractedError(
                f"{root} holds {what} made in {there}, so none in {mine} are added: they would differ a little. "
                f"Set precision to auto or {there}, or delete that folder to begin anew; then type: {next_command}"
            )
        if about.keys() - found.keys():
            write_json(root / ABOUT, about | found)
