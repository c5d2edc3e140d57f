"""How alike frames look: a perceptual hash of each, and all pairs that are closer than a threshold.

Belongs here: looks and distances, of any frames. Which of them may not be alike is for `neighbours` (drivers of a
manifest) and `audit` (sides of somebody's split) to say.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import Image

BITS: Final = 256

ALIKE: Final = 36
"""Bits of difference up to which two frames are called near-duplicates.

Measured on 1,030 State Farm frames of 26 drivers, about one frame in twenty: frames of different drivers differ in 45
bits or more (510,000 pairs; one pair in 100,000 in 48, in 1,000 in 57), while 75% of the frames have one of their own
driver and class within 34 bits, thin as the sample is: neighbours in the film are closer still. The tail loses a factor
of ten every 3 bits, so that among all 22,424 frames (240 million pairs) hardly a pair of different drivers is expected
within 36. A hash of 64 bits does not tell them apart: there the closest pair of different drivers differs in 4, as the
median frame does from its own driver's next.
"""

SHARP: Final = 34
"""Pixels on a side from which a picture holds all that its look is made of."""

_WORDS: Final = BITS // 64
_TALL, _WIDE = 64, 4096  # a block of distances stays in the processor's cache


@dataclass(frozen=True)
class Pair:
    """Two frames by position, and the bits in which they differ."""

    first: int
    second: int
    distance: int


def look(image: Image.Image) -> str:
    """Return a picture's difference hash, 64 hex digits: where it gets brighter from left to right on a 16 x 16 grid.

    Robust to brightness, contrast, scale and JPEG quality; not to shifts, crops or mirroring (N. Krawetz, "Kind of Like
    That", 2013, with 16 x 16 instead of 8 x 8).
    """
    grey = image if image.mode == "L" else image.convert("L")
    cells = np.asarray(grey.resize((17, 16), Image.Resampling.BOX))
    return np.packbits(cells[:, 1:] > cells[:, :-1]).tobytes().hex()


def as_words(looks: Sequence[str]) -> np.ndarray:
    """Return looks as numbers, uint64 `[N, 4]`."""
    return np.frombuffer(bytes.fromhex("".join(looks)), np.uint64).reshape(len(looks), _WORDS)


def blocks(one: np.ndarray, other: np.ndarray) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yield all distances of two sets of words in blocks: first row, first column, uint16 `[rows, columns]`.

    A block is overwritten by the next one.
    """
    rows, columns = ([np.ascontiguousarray(words[:, k]) for k in range(_WORDS)] for words in (one, other))
    bits, ones, found = (np.empty((_TALL, _WIDE), kind) for kind in (np.uint64, np.uint8, np.uint16))
    for top in range(0, len(one), _TALL):
        for left in range(0, len(other), _WIDE):
            tall, wide = rows[0][top : top + _TALL].size, columns[0][left : left + _WIDE].size
            here, count, total = (buffer[:tall, :wide] for buffer in (bits, ones, found))
            total.fill(0)
            for k in range(_WORDS):
                np.bitwise_xor(rows[k][top : top + tall, None], columns[k][None, left : left + wide], out=here)
                total += np.bitwise_count(here, out=count)
            yield top, left, total


def close_pairs(words: np.ndarray, groups: np.ndarray, most: int = ALIKE) -> list[Pair]:
    """Return the pairs of different groups that differ in at most `most` bits, closest first.

    Args:
        words: Of each frame, from `as_words`.
        groups: Whose frame it is, int `[N]`.
        most: Bits.
    """
    order = np.argsort(groups, kind="stable")
    sorted_words, sorted_groups = words[order], groups[order]
    found: list[Pair] = []
    starts = np.flatnonzero(np.diff(sorted_groups, prepend=-1))
    for start, stop in zip(starts, [*starts[1:], len(groups)], strict=True):
        for top, left, bits in blocks(sorted_words[start:stop], sorted_words[stop:]):
            for row, column in zip(*np.nonzero(bits <= most), strict=True):
                pair = sorted((int(order[start + top + row]), int(order[stop + left + column])))
                found.append(Pair(pair[0], pair[1], int(bits[row, column])))
    return sorted(found, key=lambda pair: (pair.distance, pair.first, pair.second))


def nearest(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return for each of `one` the position in `other` of the most alike, and in how many bits they differ, int `[N]`.

    Args:
        one: Words `[N, 4]`.
        other: Words `[M, 4]`, at least one.
    """
    place, least = np.zeros(len(one), np.int64), np.full(len(one), BITS, np.int64)
    for top, left, bits in blocks(one, other):
        rows = slice(top, top + len(bits))
        column = bits.argmin(1)
        closest = bits[np.arange(len(bits)), column]
        better = closest < least[rows]
        place[rows] = np.where(better, left + column, place[rows])
        least[rows] = np.where(better, closest, least[rows])
    return place, least
