"""Which frames are altered: a few of each driver and class, the same ones for every variant.

By hashes of their names, so that neither order nor results have a say.
"""

import hashlib

import numpy as np

from distracted_pipeline.evaluation.predictions import Part


def seed_of(*names: object) -> int:
    """Return a seed that follows from names alone."""
    text = "\0".join(map(str, names)).encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.sha256(text).digest()[:8])


def few_frames(part: Part, wanted: int, shows: np.ndarray | None = None) -> tuple[list[int], np.ndarray]:
    """Return rows of a part, at most `wanted` of each driver and class for each thing that frames can show.

    Args:
        part: Which frames there are.
        wanted: Frames of each driver and class.
        shows: Which frame shows which thing, bool [row, thing]; None: the frames themselves are the one thing.

    Returns:
        The rows, sorted; and which of the things each is chosen for, bool [row, thing].
    """
    shows = np.ones((len(part.img), 1), bool) if shows is None else shows
    order = sorted(range(len(part.img)), key=lambda row: seed_of(part.img[row]))
    taken: dict[tuple[str, int, int], int] = {}
    chosen = np.zeros_like(shows)
    for row in order:
        for thing in np.flatnonzero(shows[row]).tolist():
            cell = (str(part.subject[row]), int(part.true[row]), thing)
            if taken.get(cell, 0) < wanted:
                taken[cell] = taken.get(cell, 0) + 1
                chosen[row, thing] = True
    return np.flatnonzero(chosen.any(1)).tolist(), chosen


def shown_categories(areas: np.ndarray, least: float) -> np.ndarray:
    """Return which masks show which category, bool [mask, category], from pixels by id; tiny specks do not count."""
    shown: np.ndarray = areas[:, 1:] >= least * areas.sum(1, keepdims=True)
    return shown
