"""The page about somebody's split: what leaks, with pairs as pictures, so that the threshold can be judged by eye."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.images.audit import Audit
from distracted_pipeline.images.likeness import BITS, Pair
from distracted_pipeline.images.splits import TEST, TRAIN, Listed
from distracted_pipeline.reports.standalone import picture, write_page


def write_audit(path: Path, place: Path, listed: Sequence[Listed], found: Audit) -> Path:
    """Write the page and return its path.

    Args:
        path: Where to.
        place: The split.
        listed: Its frames.
        found: What was found.
    """
    said = {
        "title": f"Audit of the split {place.name}",
        "found": found,
        "bits": BITS,
        "train": TRAIN,
        "test": TEST,
        "pairs": [_pair(listed, pair) for pair in found.pairs],
        "beyond": [_pair(listed, pair) for pair in found.beyond],
        "steps": [
            (low, low + 7, int(found.histogram[low : low + 8].sum()))
            for low in range(0, BITS + 1, 8)
            if found.histogram[low : low + 8].any()
        ],
    }
    return write_page(path, "audit.html.jinja", said)


def _pair(listed: Sequence[Listed], pair: Pair) -> dict[str, Any]:
    return {
        "distance": pair.distance,
        "sides": [(listed[i], _shown(listed[i].path)) for i in (pair.first, pair.second)],
    }


def _shown(path: Path) -> str:
    try:
        return picture(path.read_bytes(), str(path), width=220)
    except OSError as error:
        raise DistractedError(f"{path} cannot be read any more ({error.strerror})") from error
