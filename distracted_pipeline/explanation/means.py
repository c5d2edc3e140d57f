"""Class activation maps averaged by driver and class, and what share of them falls on each mask category.

Images of one driver are near-duplicates, so each driver's images are averaged first and every driver then counts
once. Making the maps is `gradcam`; which images are averaged is `explain`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from distracted_pipeline.evaluation.statistics import mean_interval, ratio, t_quantile
from distracted_pipeline.evaluation.tables_io import made, to_table, write_table
from distracted_pipeline.explanation.maps import as_bytes, normalised, share_of, weights
from distracted_pipeline.explanation.tables import EVERY_CLASS, Lift
from distracted_pipeline.files import atomic_path
from distracted_pipeline.fingerprints import INPUTS

MEANS_FILE = "driver_means.npz"
LIFT_FILE = "lift.parquet"


@dataclass(frozen=True)
class Sums:
    """What is added up of maps, those of the mean over trainings or those of one training.

    Attributes:
        maps: Each with sum 1, [driver, class, h, w].
        counts: Maps, [driver, class].
        energy: On each mask id, background first, [driver, class, id].
        area: Of each mask id in the same images, likewise.
        images: Images that show it, likewise.
    """

    maps: np.ndarray
    counts: np.ndarray
    energy: np.ndarray
    area: np.ndarray
    images: np.ndarray

    @classmethod
    def none(cls, cells: tuple[int, int], shape: tuple[int, int], ids: int) -> "Sums":
        """Return sums of nothing, for drivers x classes."""
        energy, area, images = (np.zeros((*cells, ids)) for _ in range(3))
        return cls(np.zeros((*cells, *shape)), np.zeros(cells, np.int64), energy, area, images)

    def add(self, cell: tuple[int, int], cam: np.ndarray, on_mask: tuple[np.ndarray, np.ndarray] | None) -> None:
        """Add one image's map, unless it is zero everywhere, and what `maps.weights` says of its mask."""
        if not cam.any():
            return
        self.maps[cell] += normalised(cam)
        self.counts[cell] += 1
        if on_mask is not None:
            of_cell, area = on_mask
            self.energy[cell] += share_of(of_cell, cam)
            self.area[cell] += area
            self.images[cell] += area > 0

    def with_drivers(self, chosen: np.ndarray, other: "Sums") -> "Sums":
        """Return these sums with the drivers `chosen`, bool [driver], as they are in others."""
        pairs = [(getattr(other, name), getattr(self, name)) for name in self.__dataclass_fields__]
        return Sums(*(np.where(chosen.reshape(-1, *[1] * (mine.ndim - 1)), new, mine) for new, mine in pairs))

    def driver_means(self) -> np.ndarray:
        """Return the mean map of each driver and class, each map counted with sum 1, float64 [driver, class, h, w]."""
        return self.maps / np.maximum(self.counts, 1)[..., None, None]


class CamMeans:
    """Sums of one variant's CAMs of the true class; maps that are zero everywhere are left out.

    Args:
        drivers: Names, sorted.
        shape: Height and width of the maps.
        classes: How many classes the data set has.
        categories: Names of its mask categories.
    """

    def __init__(self, drivers: Sequence[str], shape: tuple[int, int], classes: int, categories: Sequence[str]) -> None:
        self._cells, self._shape, self._ids = (len(drivers), classes), shape, 1 + len(categories)
        self.drivers = tuple(drivers)
        self.categories = tuple(categories)
        self._place = {driver: i for i, driver in enumerate(drivers)}
        self._mean = self._no_sums()
        self._weights = np.zeros((*self._cells, self._ids, *shape))
        self._each: dict[str, list[Sums]] = {}
        self._fold_of: dict[str, str] = {}

    @property
    def counts(self) -> np.ndarray:
        """How many maps were added, int [driver, class]."""
        return self._mean.counts

    def add(
        self,
        driver: str,
        true: int,
        cam: np.ndarray,
        mask: np.ndarray | None,
        each: Sequence[np.ndarray] | np.ndarray = (),
        fold: str = "",
    ) -> None:
        """Add one image.

        Args:
            driver: Who is in it.
            true: Position of its class.
            cam: Its CAM, the mean over trainings, not negative.
            mask: uint8 [H, W], where it has one.
            each: Its CAM by each training of the fold; without them nothing is known of the luck of trainings.
            fold: That held the driver out.
        """
        if not cam.any():
            return
        cell = self._place[driver], true
        on_mask = None if mask is None else weights(mask, cam.shape, self._ids)
        if on_mask is not None:
            self._weights[cell] += on_mask[0]
        self._mean.add(cell, cam, on_mask)
        self._fold_of[driver] = fold
        of_fold = self._each.setdefault(fold, [self._no_sums() for _ in each])
        for sums, one in zip(of_fold, each, strict=True):
            sums.add(cell, one, on_mask)

    def driver_means(self) -> np.ndarray:
        """Return the mean map of each driver and class, each map counted with sum 1, float64 [driver, class, h, w]."""
        return self._mean.driver_means()

    def class_means(self) -> np.ndarray:
        """Return the mean over the drivers that have the class, float64 [class, h, w]."""
        drivers = np.maximum((self.counts > 0).sum(0), 1)
        return self.driver_means().sum(0) / drivers[:, None, None]

    def lifts(self) -> list[Lift]:
        """Return the lift of each mask category, over all classes and by class.

        A driver's lift is the CAM energy on the category over all their images that show it, divided by its area
        there; then come the mean and the t interval over drivers. The same for permuted CAMs, and for each driver's
        ratio of the two, which alone is evidence: its interval counts the luck of trainings too.
        """
        found = []
        by_driver, permuted = self._by_driver(self._mean)
        luck, half = self._luck()
        for key, (class_id, chosen) in enumerate(self._selections()):
            mean, interval = mean_interval(by_driver[key].T)
            permuted_mean, _ = mean_interval(permuted[key].T)
            ratio_mean, ratio_interval = mean_interval(ratio(by_driver[key], permuted[key]).T)
            ends = np.hypot(ratio_interval[:, 1] - ratio_mean, np.nan_to_num(half[key]))
            for i, category in enumerate(self.categories, start=1):
                columns = {
                    "class_id": class_id,
                    "category": category,
                    "lift": mean[i],
                    "low": interval[i, 0].clip(0),
                    "high": interval[i, 1],
                    "permuted": permuted_mean[i],
                    "ratio": ratio_mean[i],
                    "ratio_low": (ratio_mean[i] - ends[i]).clip(0),
                    "ratio_high": ratio_mean[i] + ends[i],
                    "luck": luck[key, i],
                    "drivers": np.isfinite(by_driver[key][:, i]).sum(),
                    "images": int(self._mean.images[:, chosen, i].sum()),
                }
                found.append(made(Lift, columns))
        return found

    def _no_sums(self) -> Sums:
        return Sums.none(self._cells, self._shape, self._ids)

    def _selections(self) -> list[tuple[str, slice]]:
        """Return what lifts are asked of: all classes together, and each."""
        return [(EVERY_CLASS, slice(None)), *((str(c), slice(c, c + 1)) for c in range(self._cells[1]))]

    def _by_driver(self, sums: Sums) -> tuple[np.ndarray, np.ndarray]:
        """Return each driver's lifts and those of permuted CAMs, both [selection, driver, id]."""
        permuted = self._permuted_energy(sums)
        pairs = [
            [ratio(energy[:, chosen].sum(1), sums.area[:, chosen].sum(1)) for energy in (sums.energy, permuted)]
            for _, chosen in self._selections()
        ]
        return np.stack([own for own, _ in pairs]), np.stack([other for _, other in pairs])

    def _luck(self) -> tuple[np.ndarray, np.ndarray]:
        """Return what trainings move in the ratios, both [selection, id]; NaN where a fold has just one training.

        One training after the other takes the place of its fold's mean, and the ratio is measured anew, its permuted
        CAMs too. Folds are trained apart, so their variances add up.

        Returns:
            Standard deviation of the ratio if every fold were trained once; half the 95% interval of its mean over
            trainings.
        """
        once = mean = np.zeros((len(self._selections()), self._ids))
        spare = 0
        for fold, trainings in self._each.items():
            if len(trainings) < 2:
                return np.full_like(once, np.nan), np.full_like(mean, np.nan)
            held_out = np.array([self._fold_of.get(driver) == fold for driver in self.drivers])
            pairs = (self._by_driver(self._mean.with_drivers(held_out, one)) for one in trainings)
            ratios = np.stack([mean_interval(np.swapaxes(ratio(*pair), 1, 2))[0] for pair in pairs])
            variance = ratios.var(0, ddof=1)
            once, mean, spare = once + variance, mean + variance / len(trainings), spare + len(trainings) - 1
        return np.sqrt(once), t_quantile(spare) * np.sqrt(mean)

    def _permuted_energy(self, sums: Sums) -> np.ndarray:
        """Return the energy as it would be if each image had the mean CAM of other drivers and other classes.

        Every driver and class counts once in that mean. Energy is linear in a CAM, so sums of weights suffice. NaN
        where there is no other driver with another class.
        """
        others = _without_own(sums.driver_means())
        cells = _without_own((sums.counts > 0).astype(float))
        found = np.einsum("dckhw,dchw->dck", self._weights, ratio(others, cells[..., None, None]))
        images = sums.energy.sum(-1, keepdims=True)
        return np.where(images > 0, ratio(found, found.sum(-1, keepdims=True)) * images, 0)

    def write(self, folder: Path, note: str, inputs: str = "") -> None:
        """Write both files into `folder`.

        Args:
            folder: Of the variant.
            note: Which images were averaged, in words.
            inputs: Fingerprint of what they were made from.
        """
        means = self.driver_means().reshape(-1, *self._shape)
        with atomic_path(folder / MEANS_FILE) as temporary, temporary.open("wb") as handle:
            np.savez_compressed(
                handle,
                means=np.stack([as_bytes(mean) for mean in means]).reshape(*self._cells, *self._shape),
                class_means=np.stack([as_bytes(mean) for mean in self.class_means()]),
                counts=self.counts,
                drivers=np.array(self.drivers, dtype=str),
            )
        write_table(folder / LIFT_FILE, to_table(Lift, self.lifts()), {"averaged": note, INPUTS: inputs})


def _without_own(values: np.ndarray) -> np.ndarray:
    """Return for each driver and class the sum over other drivers and other classes, [driver, class, ...]."""
    of_driver, of_class = values.sum(1, keepdims=True), values.sum(0, keepdims=True)
    return values.sum((0, 1)) - of_driver - of_class + values
