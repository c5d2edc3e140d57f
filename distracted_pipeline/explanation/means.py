"""Class activation maps averaged by driver and class, and what share of them falls on each mask category.

Images of one driver are near-duplicates, so each driver's images are averaged first and every driver then counts
once. Making the maps is `gradcam`; which images are averaged is `explain`.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from distracted_pipeline.evaluation.statistics import mean_interval, ratio
from distracted_pipeline.evaluation.tables_io import made, to_table, write_table
from distracted_pipeline.explanation.maps import as_bytes, normalised, share_of, weights
from distracted_pipeline.explanation.tables import EVERY_CLASS, Lift
from distracted_pipeline.files import atomic_path
from distracted_pipeline.fingerprints import INPUTS

MEANS_FILE = "driver_means.npz"
LIFT_FILE = "lift.parquet"


class CamMeans:
    """Sums of one variant's CAMs of the true class; maps that are zero everywhere are left out.

    Args:
        drivers: Names, sorted.
        shape: Height and width of the maps.
        classes: How many classes the data set has.
        categories: Names of its mask categories.
    """

    def __init__(self, drivers: Sequence[str], shape: tuple[int, int], classes: int, categories: Sequence[str]) -> None:
        cells = (len(drivers), classes)
        self.drivers = tuple(drivers)
        self.categories = tuple(categories)
        self.counts = np.zeros(cells, np.int64)
        self._place = {driver: i for i, driver in enumerate(drivers)}
        self._sums = np.zeros((*cells, *shape))
        self._energy, self._area, self._images = (np.zeros((*cells, 1 + len(categories))) for _ in range(3))
        self._weights = np.zeros((*cells, 1 + len(categories), *shape))

    def add(self, driver: str, true: int, cam: np.ndarray, mask: np.ndarray | None) -> None:
        """Add one image: its CAM, not negative, and its mask, uint8 [H, W], where it has one."""
        if not cam.any():
            return
        cell = self._place[driver], true
        self._sums[cell] += normalised(cam)
        self.counts[cell] += 1
        if mask is not None:
            of_cell, area = weights(mask, cam.shape, 1 + len(self.categories))
            self._weights[cell] += of_cell
            self._energy[cell] += share_of(of_cell, cam)
            self._area[cell] += area
            self._images[cell] += area > 0

    def driver_means(self) -> np.ndarray:
        """Return the mean map of each driver and class, each map counted with sum 1, float64 [driver, class, h, w]."""
        return self._sums / np.maximum(self.counts, 1)[..., None, None]

    def class_means(self) -> np.ndarray:
        """Return the mean over the drivers that have the class, float64 [class, h, w]."""
        drivers = np.maximum((self.counts > 0).sum(0), 1)
        return self.driver_means().sum(0) / drivers[:, None, None]

    def lifts(self) -> list[Lift]:
        """Return the lift of each mask category, over all classes and by class.

        A driver's lift is the CAM energy on the category over all their images that show it, divided by its area
        there; then come the mean and the t interval over drivers. The same for permuted CAMs, and for each driver's
        ratio of the two, which alone is evidence.
        """
        found = []
        classes = self.counts.shape[1]
        permuted_energy = self._permuted_energy()
        for key, chosen in [(EVERY_CLASS, slice(None)), *((str(c), slice(c, c + 1)) for c in range(classes))]:
            by_driver = ratio(self._energy[:, chosen].sum(1), self._area[:, chosen].sum(1))
            permuted = ratio(permuted_energy[:, chosen].sum(1), self._area[:, chosen].sum(1))
            mean, interval = mean_interval(by_driver.T)
            permuted_mean, _ = mean_interval(permuted.T)
            ratio_mean, ratio_interval = mean_interval(ratio(by_driver, permuted).T)
            for i, category in enumerate(self.categories, start=1):
                columns = {
                    "class_id": key,
                    "category": category,
                    "lift": mean[i],
                    "low": interval[i, 0].clip(0),
                    "high": interval[i, 1],
                    "permuted": permuted_mean[i],
                    "ratio": ratio_mean[i],
                    "ratio_low": ratio_interval[i, 0].clip(0),
                    "ratio_high": ratio_interval[i, 1],
                    "drivers": np.isfinite(by_driver[:, i]).sum(),
                    "images": int(self._images[:, chosen, i].sum()),
                }
                found.append(made(Lift, columns))
        return found

    def _permuted_energy(self) -> np.ndarray:
        """Return `_energy` as it would be if each image had the mean CAM of other drivers and other classes.

        Every driver and class counts once in that mean. Energy is linear in a CAM, so sums of weights suffice. NaN
        where there is no other driver with another class.
        """
        others = _without_own(self.driver_means())
        cells = _without_own((self.counts > 0).astype(float))
        found = np.einsum("dckhw,dchw->dck", self._weights, ratio(others, cells[..., None, None]))
        images = self._energy.sum(-1, keepdims=True)
        return np.where(images > 0, ratio(found, found.sum(-1, keepdims=True)) * images, 0)

    def write(self, folder: Path, note: str, inputs: str = "") -> None:
        """Write both files into `folder`.

        Args:
            folder: Of the variant.
            note: Which images were averaged, in words.
            inputs: Fingerprint of what they were made from.
        """
        means = self.driver_means().reshape(-1, *self._sums.shape[2:])
        with atomic_path(folder / MEANS_FILE) as temporary, temporary.open("wb") as handle:
            np.savez_compressed(
                handle,
                means=np.stack([as_bytes(mean) for mean in means]).reshape(self._sums.shape),
                class_means=np.stack([as_bytes(mean) for mean in self.class_means()]),
                counts=self.counts,
                drivers=np.array(self.drivers, dtype=str),
            )
        write_table(folder / LIFT_FILE, to_table(Lift, self.lifts()), {"averaged": note, INPUTS: inputs})


def _without_own(values: np.ndarray) -> np.ndarray:
    """Return for each driver and class the sum over other drivers and other classes, [driver, class, ...]."""
    of_driver, of_class = values.sum(1, keepdims=True), values.sum(0, keepdims=True)
    return values.sum((0, 1)) - of_driver - of_class + values
