"""From looks at altered frames to what an alteration does to a class, for other drivers and other trainings.

Both versions of a frame are judged by the same trainings, so the luck of a training that moves both alike cancels;
what it does to the difference counts. The inference is `evaluation.inference`, the test that swaps drivers
`evaluation.statistics`; which verdict follows for a report with many cells is its business (`holm_of_askable`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from distracted_pipeline.evaluation.inference import Contrast, Rates, p_value, paired_contrast
from distracted_pipeline.evaluation.predictions import Part
from distracted_pipeline.evaluation.statistics import ratio, swap_signs, swap_test
from distracted_pipeline.explanation.what_if.tables import ORIGINAL


@dataclass(frozen=True)
class Looks:
    """A variant's looks as arrays; what a row is about and its frame are found by name.

    Attributes:
        drivers: Sorted.
        folds: The fold that held each driver out, int [driver].
        classes: How many classes there are.
        driver: Position of each look's driver, int [look].
        true: Class, int [look].
        replicate: int [look].
        p_true: float [look].
        answer: int [look].
        on_objects: float [look]; NaN where there is none.
        at: Rows by (about, version), parallel to `original`: int [look of that version].
        original: Row of the same frame and training as it is, by (about, version).
    """

    drivers: tuple[str, ...]
    folds: np.ndarray
    classes: int
    driver: np.ndarray
    true: np.ndarray
    replicate: np.ndarray
    p_true: np.ndarray
    answer: np.ndarray
    on_objects: np.ndarray
    at: dict[tuple[str, str], np.ndarray]
    original: dict[tuple[str, str], np.ndarray]

    @classmethod
    def of(cls, table: pa.Table, parts: Sequence[Part], classes: int) -> "Looks":
        """Return the value from the table of all folds and the predictions that say who was held out where."""
        drivers = tuple(sorted({name for part in parts for name in part.subject.tolist()}))
        fold_of = {name: int(i) for i, part in enumerate(parts) for name in set(part.subject.tolist())}
        place = {name: i for i, name in enumerate(drivers)}
        img, about, version = (table[name].to_pylist() for name in ("img", "about", "version"))
        replicate = table["replicate"].to_numpy().astype(int)
        plain = {
            (i, r): row for row, (i, r, v) in enumerate(zip(img, replicate, version, strict=True)) if v == ORIGINAL
        }
        at: dict[tuple[str, str], list[int]] = {}
        for row, key in enumerate(zip(about, version, strict=True)):
            if key[1] != ORIGINAL:
                at.setdefault(key, []).append(row)
        return cls(
            drivers=drivers,
            folds=np.array([fold_of[name] for name in drivers]),
            classes=classes,
            driver=np.array([place[name] for name in table["subject"].to_pylist()]),
            true=table["true"].to_numpy().astype(int),
            replicate=replicate,
            p_true=table["p_true"].to_numpy(),
            answer=table["answer"].to_numpy().astype(int),
            on_objects=np.array([np.nan if x is None else x for x in table["on_objects"].to_pylist()]),
            at={key: np.array(rows) for key, rows in at.items()},
            original={key: np.array([plain[img[row], replicate[row]] for row in rows]) for key, rows in at.items()},
        )

    @property
    def right(self) -> np.ndarray:
        """Which looks are answered with the frame's class, bool [look]."""
        found: np.ndarray = self.answer == self.true
        return found

    def rates(self, rows: np.ndarray, values: np.ndarray) -> Rates:
        """Return sums of values by training, class and driver, and how many frames they are of.

        Args:
            rows: Looks, one of each frame and training.
            values: Parallel to them.
        """
        shape = (int(self.replicate.max()) + 1, self.classes, len(self.drivers))
        hits, n, seen = np.zeros(shape), np.zeros(shape), np.zeros((shape[0], shape[2]), bool)
        where = self.replicate[rows], self.true[rows], self.driver[rows]
        np.add.at(hits, where, values)
        np.add.at(n, where, 1)
        seen[where[0], where[2]] = True
        return Rates(np.where(seen[:, None], hits, np.nan), n.max(0))


@dataclass(frozen=True)
class Tested:
    """A mean change by class with its test.

    Attributes:
        contrast: As of `inference.paired_contrast`.
        p: See `inference.p_value`.
        frames: int [class].
        drivers: int [class].
    """

    contrast: Contrast
    p: np.ndarray
    frames: np.ndarray
    drivers: np.ndarray


def tested(looks: Looks, rows: np.ndarray, values: np.ndarray) -> Tested:
    """Return the mean over frames of a change, by class, with interval and p for other drivers and trainings."""
    change = looks.rates(rows, values)
    found = paired_contrast(change, looks.folds)
    known = np.isfinite(change.hits)
    mean = np.where(known, change.hits, 0).sum(0) / np.maximum(known.sum(0), 1)
    p_swap, _ = swap_test(mean, change.n, np.zeros_like(mean), change.n, swap_signs(looks.drivers))
    return Tested(found, p_value(found, p_swap), change.n.sum(-1).astype(int), (change.n > 0).sum(-1))


def means(looks: Looks, rows: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the mean of values by class, each training of a fold counting the same, float [class]."""
    rates = looks.rates(rows, values)
    known = np.isfinite(rates.hits)
    mean = np.where(known, rates.hits, 0).sum(0) / np.maximum(known.sum(0), 1)
    return ratio(mean.sum(-1), rates.n.sum(-1))


def fewest_trainings(looks: Looks) -> int:
    """Return how often the folds were trained, of which the least often."""
    seen = np.zeros((int(looks.replicate.max()) + 1, len(looks.drivers)), bool)
    seen[looks.replicate, looks.driver] = True
    return int(seen.sum(0).min())
