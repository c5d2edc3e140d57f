"""Class activation maps averaged by driver and class, and what share of them falls on each mask category.

Images of one driver are near-duplicates, so each driver's images are averaged first and every driver then counts
once. Making the maps is `gradcam`; which images are averaged is `explain`.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from distracted_pipeline.evaluation.statistics import mean_interval, ratio
from distracted_pipeline.explanation.maps import as_bytes, energy, normalised
from distracted_pipeline.files import atomic_path
from distracted_pipeline.vocabulary import CLASS_IDS, MASK_CATEGORIES, MASK_NAMES

MEANS_FILE = "driver_means.npz"
LIFT_FILE = "lift.parquet"
EVERY_CLASS = "all"

LIFT_SCHEMA = pa.schema(
    [
        ("class_id", pa.string()),
        ("category", pa.string()),
        *((name, pa.float64()) for name in ("lift", "low", "high")),
        ("drivers", pa.int64()),
        ("images", pa.int64()),
    ]
)


class CamMeans:
    """Sums of one variant's CAMs of the true class; maps that are zero everywhere are left out.

    Args:
        drivers: Names, sorted.
        shape: Height and width of the maps.
    """

    def __init__(self, drivers: Sequence[str], shape: tuple[int, int]) -> None:
        cells = (len(drivers), len(CLASS_IDS))
        self.drivers = tuple(drivers)
        self.counts = np.zeros(cells, np.int64)
        self._place = {driver: i for i, driver in enumerate(drivers)}
        self._sums = np.zeros((*cells, *shape))
        self._energy, self._area, self._images = (np.zeros((*cells, len(MASK_NAMES))) for _ in range(3))

    def add(self, driver: str, true: int, cam: np.ndarray, mask: np.ndarray | None) -> None:
        """Add one image: its CAM, not negative, and its mask, uint8 [H, W], where it has one."""
        if not cam.any():
            return
        cell = self._place[driver], true
        self._sums[cell] += normalised(cam)
        self.counts[cell] += 1
        if mask is not None:
            share, area = energy(cam, mask)
            present = area > 0
            self._energy[cell] += share
            self._area[cell] += area
            self._images[cell] += present

    def driver_means(self) -> np.ndarray:
        """Return the mean map of each driver and class, each map counted with sum 1, float64 [driver, 10, h, w]."""
        return self._sums / np.maximum(self.counts, 1)[..., None, None]

    def class_means(self) -> np.ndarray:
        """Return the mean over the drivers that have the class, float64 [10, h, w]."""
        drivers = np.maximum((self.counts > 0).sum(0), 1)
        return self.driver_means().sum(0) / drivers[:, None, None]

    def lifts(self) -> pa.Table:
        """Return the lift of each mask category, by class and over all of them, in the columns of `LIFT_SCHEMA`.

        A driver's lift is the CAM energy on the category over all his images that show it, divided by its area there;
        then come the mean and the t interval over drivers.
        """
        rows = []
        for key, classes in [(EVERY_CLASS, slice(None)), *((str(c), slice(c, c + 1)) for c in range(len(CLASS_IDS)))]:
            by_driver = ratio(self._energy[:, classes].sum(1), self._area[:, classes].sum(1))
            mean, interval = mean_interval(by_driver.T)
            for i, category in enumerate(MASK_CATEGORIES, start=1):
                drivers = int(np.isfinite(by_driver[:, i]).sum())
                values = [mean[i], interval[i, 0].clip(0), interval[i, 1]]
                lift, low, high = (None if np.isnan(value) else float(value) for value in values)
                images = int(self._images[:, classes, i].sum())
                rows.append(
                    {"class_id": key, "category": category, "lift": lift, "low": low, "high": high}
                    | {"drivers": drivers, "images": images}
                )
        return pa.Table.from_pylist(rows, schema=LIFT_SCHEMA)

    def write(self, folder: Path, note: str) -> None:
        """Write both files into `folder`; `note` says which images were averaged."""
        means = self.driver_means().reshape(-1, *self._sums.shape[2:])
        with atomic_path(folder / MEANS_FILE) as temporary, temporary.open("wb") as handle:
            np.savez_compressed(
                handle,
                means=np.stack([as_bytes(mean) for mean in means]).reshape(self._sums.shape),
                class_means=np.stack([as_bytes(mean) for mean in self.class_means()]),
                counts=self.counts,
                drivers=np.array(self.drivers, dtype=str),
            )
        with atomic_path(folder / LIFT_FILE) as temporary:
            pq.write_table(self.lifts().replace_schema_metadata({"averaged": note}), temporary, compression="zstd")
