"""How much of a fused variant's answer comes from the image and how much from the masks.

Each branch has a CAM, and which of the two to look at depends on how much it says. What a branch gives to the logits is
`gradcam.contributions`; here it is counted up.
"""

from dataclasses import dataclass, field

import numpy as np


@dataclass
class LogitSpread:
    """What both branches give to the logits, image by image.

    What a branch adds to all logits of an image alike changes no answer, and what it adds to a logit in every image the
    bias could add as well; so what counts is the spread over images of the differences between classes. It holds both
    how a branch tells classes apart and how it wavers within one.
    """

    _sums: dict[str, np.ndarray] = field(default_factory=dict)

    def add(self, fold: str, contributions: np.ndarray) -> None:
        """Add one image, explained by a fold's networks: what image and masks gave to its logits, [2, class].

        Contributions are averaged over the fold's trainings, as answers are.
        """
        own = contributions - contributions.mean(-1, keepdims=True)
        one = np.stack([np.ones(own.shape), own, own**2])
        self._sums[fold] = self._sums.get(fold, 0) + one

    def shares(self) -> tuple[float, float] | None:
        """Return the shares of image and masks in the spread, adding up to 1; None where nothing was added or varies.

        The spread of a branch is the standard deviation over images, around each fold's mean of each logit.
        """
        if not self._sums:
            return None
        n, total, squares = np.stack(list(self._sums.values()), 1)  # [fold, 2, class] each
        spread = np.sqrt((squares - total**2 / n).sum((0, 2)).clip(0) / n.sum((0, 2)))
        if not spread.sum() > 0:
            return None
        image, masks = spread / spread.sum()
        return float(image), float(masks)
