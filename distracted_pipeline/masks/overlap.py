"""How far two sets of class maps agree, category by category.

Belongs here: the count of pixels and what follows from it. Whose maps are compared, and how good is good enough, is
for others to say (`agreement`: two precisions; `demo.mask_quality`: a model and the drawing).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


class Overlap:
    """Counts pixels of pairs of class maps; those of all frames are pooled.

    Args:
        categories: Names of the categories with ids 1, 2, …
    """

    def __init__(self, categories: Sequence[str]) -> None:
        self._names = tuple(categories)
        self._pairs = np.zeros((len(self._names) + 1,) * 2, np.int64)

    def add(self, right: NDArray[np.uint8], found: NDArray[np.uint8]) -> None:
        """Count one frame: two maps of category ids, of one shape."""
        side = len(self._pairs)
        pairs = right.astype(np.int64) * side + found
        self._pairs += np.bincount(pairs.ravel(), minlength=side**2).reshape(side, side)

    def iou(self) -> dict[str, float]:
        """Return intersection over union of every category that either side has."""
        both = self._pairs.diagonal()
        either = self._pairs.sum(0) + self._pairs.sum(1) - both
        return {name: float(both[k] / either[k]) for k, name in enumerate(self._names, start=1) if either[k]}

    def same(self) -> float:
        """Return the share of pixels with the same category; 0 where nothing was counted."""
        return float(self._pairs.trace() / max(self._pairs.sum(), 1))
