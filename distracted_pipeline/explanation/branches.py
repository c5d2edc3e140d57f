"""How much of a fused variant's answer comes from the image and how much from the masks.

Its CAM shows the image branch alone, so it must say what share of the answer that is. What each branch gives to a
logit is `gradcam.contributions`; here it is counted up.
"""

from dataclasses import dataclass, field

import numpy as np


@dataclass
class LogitSpread:
    """Contributions of both branches to the true class's logit, image by image.

    Within a network and a class a branch's mean is a constant that the bias makes up for, so what counts is the
    spread around it.
    """

    _sums: dict[tuple[str, int], np.ndarray] = field(default_factory=dict)

    def add(self, fold: str, true: int, contributions: np.ndarray) -> None:
        """Add one image: what image and masks gave to the logit of its true class, [2]."""
        one = np.stack([np.ones(2), contributions, contributions**2])
        self._sums[fold, true] = self._sums.get((fold, true), 0) + one

    def shares(self) -> tuple[float, float] | None:
        """Return the shares of image and masks in the spread, adding up to 1; None where nothing was added or varies.

        The spread of a branch is the standard deviation of its contribution around the mean of its network and class.
        """
        if not self._sums:
            return None
        n, total, squares = np.stack(list(self._sums.values()), 1)
        spread = np.sqrt((squares - total**2 / n).sum(0).clip(0) / n.sum(0))
        if not spread.sum() > 0:
            return None
        image, masks = spread / spread.sum()
        return float(image), float(masks)
