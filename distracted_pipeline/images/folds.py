"""Who is trained on, who chooses the epoch, who is reported: always whole drivers.

Near-duplicate frames of one driver on both sides would turn memory into accuracy, so every function
here moves drivers, never images. Where the rows come from is `manifest`; statistics over the folds
are `evaluation`'s.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.vocabulary import CROSS_FOLDS, FOLDS, SEED_FOLD, SEED_SPLIT

VALIDATION_SHARE = 0.15
"""Images of the drivers that are not held out which choose the epoch."""

KAGGLE_FOLDS: tuple[tuple[str, ...], ...] = (
    ("p002", "p015", "p021", "p047", "p050"),
    ("p014", "p022", "p035", "p039", "p075"),
    ("p024", "p045", "p051", "p056", "p081"),
    ("p026", "p042", "p049", "p052", "p064", "p072"),
    ("p012", "p016", "p041", "p061", "p066"),
)
"""`assign_folds` of Kaggle's full list, written down: any part of those frames has the same folds."""


@dataclass(frozen=True)
class FoldRows:
    """Row indices into the labelled table; the three parts share no driver (`seed`: predict holds validation).

    Attributes:
        fold: Name of the fold.
        train: Rows to fit on.
        validation: Rows that choose the epoch.
        predict: Rows that are reported.
    """

    fold: str
    train: np.ndarray
    validation: np.ndarray
    predict: np.ndarray


def assign_folds(subjects: Sequence[str], classes: Sequence[str], k: int = len(CROSS_FOLDS)) -> dict[str, int]:
    """Return the fold of every driver, balanced over drivers, images and classes.

    Greedy, largest driver first, into the fold that has least of what the driver brings. The result depends
    only on the counts, never on the order of the rows. Kaggle's 26 drivers have fixed folds, so a part of the
    frames, or a damaged file, does not move anyone. With fewer than `k` drivers the last folds stay empty.

    Args:
        subjects: Driver of every image.
        classes: Class of every image, parallel to `subjects`.
        k: Number of folds.
    """
    names, counts = _class_counts(subjects, classes)
    if k == len(KAGGLE_FOLDS) and set(names) == {name for fold in KAGGLE_FOLDS for name in fold}:
        return {name: fold for fold, members in enumerate(KAGGLE_FOLDS) for name in sorted(members)}
    # Images in all count as one more class, so that folds balance even where drivers share no class.
    wants = np.hstack([counts, counts.sum(1, keepdims=True)]).astype(float)
    wants /= np.maximum(wants.sum(0), 1)
    has = np.zeros((k, wants.shape[1]))
    drivers = np.zeros(k, int)
    most = -(-len(names) // k)
    folds: dict[str, int] = {}
    for driver in sorted(range(len(names)), key=lambda i: (-int(counts[i].sum()), names[i])):
        overlap = np.round(has @ wants[driver], 12)
        fold = min((f for f in range(k) if drivers[f] < most), key=lambda f: (overlap[f], drivers[f], f))
        has[fold] += wants[driver]
        drivers[fold] += 1
        folds[names[driver]] = fold
    return dict(sorted(folds.items()))


def assign_split(subjects: Iterable[str]) -> dict[str, str]:
    """Return the part of the seed's split (`train`, `dev`, `test`) for every driver.

    Kaggle's drivers have the part that the seed gave them. Other drivers, in the order of the SHA-256 of
    their names, fill `test` and then `dev` up to the seed's share (4 of 26 drivers, at least one where there
    are three drivers); the rest train. So the parts depend on the set of names alone.
    """
    known = {subject: part for part, members in SEED_SPLIT.items() for subject in members}
    names = sorted(set(subjects))
    split = {name: known[name] for name in names if name in known}
    others = sorted(set(names) - split.keys(), key=lambda name: hashlib.sha256(name.encode()).digest())
    share = len(SEED_SPLIT["test"]) / len(known)
    quota = max(1, round(len(names) * share)) if len(names) >= 3 else 0
    for part in ("test", "dev"):
        take = max(0, min(quota - sum(p == part for p in split.values()), len(others)))
        split |= dict.fromkeys(others[:take], part)
        others = others[take:]
    split |= dict.fromkeys(others, "train")
    return dict(sorted(split.items()))


def fold_rows(labelled: pa.Table, fold: str) -> FoldRows:
    """Return who trains, who chooses the epoch and who is reported in `fold`.

    `seed`: train on the seed's train drivers, choose on dev, report dev and test. `0` … `4`: report that
    fold's drivers, choose on a few drivers of the rest (`validation_drivers`), train on the others.

    Args:
        labelled: `manifest.labelled(...)`; the indices are into this table.
        fold: One of `vocabulary.FOLDS`.

    Raises:
        DistractedError: No such fold, too few drivers for it, or a driver or a byte-identical image on both sides.
    """
    rows = _choose(labelled, fold)
    check_disjoint(labelled, rows)
    return rows


def check_disjoint(labelled: pa.Table, rows: FoldRows) -> None:
    """Fail when a driver or a byte-identical image is on both sides of a fold.

    For `seed` the sides are train against the rest, otherwise all three parts pairwise.

    Raises:
        DistractedError: Names the driver, or the images.
    """
    train, validation, predict = ("train", rows.train), ("validation", rows.validation), ("predict", rows.predict)
    pairs = [(train, validation), (train, predict)]
    if rows.fold != SEED_FOLD:
        pairs.append((validation, predict))
    subjects, hashes = _column(labelled, "subject"), _column(labelled, "sha256")
    for (left, a), (right, b) in pairs:
        drivers = sorted(set(subjects[a]) & set(subjects[b]))
        if drivers:
            raise DistractedError(
                f"fold {rows.fold}: driver {', '.join(drivers)} is in {left} and in {right}. "
                "Write the manifest anew with: dagster asset materialize --select images"
            )
        twins = set(hashes[a]) & set(hashes[b])
        if twins:
            names, twin = _column(labelled, "path"), min(twins)
            raise DistractedError(
                f"fold {rows.fold}: {len(twins):,} byte-identical images are in {left} and in {right}, e.g. "
                f"{names[a][hashes[a] == twin][0]} and {names[b][hashes[b] == twin][0]}. Find out whose frame each is, "
                "delete the other file and its csv row, then: distracted run"
            )


def examine_folds(labelled: pa.Table) -> tuple[list[str], list[str]]:
    """Return what is wrong with the folds: leaks, and folds that this data set is too small for."""
    leaks, missing = [], []
    for fold in FOLDS:
        try:
            rows = _choose(labelled, fold)
        except DistractedError as error:
            missing.append(str(error))
            continue
        try:
            check_disjoint(labelled, rows)
        except DistractedError as error:
            leaks.append(str(error))
    return leaks, missing


def validation_drivers(
    subjects: Sequence[str], classes: Sequence[str], folds: Mapping[str, int], fold: int
) -> list[str]:
    """Return the drivers, of those not held out, that choose the epoch.

    Adds one driver at a time: first for classes that validation lacks, never taking a class away from training
    where that can be helped, then towards `VALIDATION_SHARE` of every class. The following fold's drivers come
    first, so that not every fold chooses by the same people.

    Args:
        subjects: Driver of every image outside the held-out fold.
        classes: Class of every image, parallel to `subjects`.
        folds: Fold of every driver.
        fold: The fold that is held out.
    """
    names, counts = _class_counts(subjects, classes)
    total = counts.sum(0)
    k = max(folds.values()) + 1

    def rank(chosen: list[int]) -> tuple[int, int, float]:
        part = counts[chosen].sum(0)
        distance = np.square((part - VALIDATION_SHARE * total) / np.maximum(total, 1)).sum()
        return int((part == total).sum()), int((part == 0).sum()), round(float(distance), 12)

    chosen: list[int] = []
    best: tuple[int, int, float] | None = None
    while len(chosen) < len(names) - 1:
        candidates = [i for i in range(len(names)) if i not in chosen]
        ranks = {i: rank([*chosen, i]) for i in candidates}
        driver = min(candidates, key=lambda i: (ranks[i][:2], (folds[names[i]] - fold) % k, ranks[i][2], names[i]))
        if best is not None and ranks[driver] >= best:
            break
        chosen.append(driver)
        best = ranks[driver]
    return sorted(names[i] for i in chosen)


def _choose(labelled: pa.Table, fold: str) -> FoldRows:
    if fold not in FOLDS:
        raise DistractedError(f"no fold is called {fold!r}. Use one of: {', '.join(FOLDS)}")
    subjects = _column(labelled, "subject")
    drivers = len(set(subjects))
    if fold == SEED_FOLD:
        split = _column(labelled, "split")
        parts = {part: np.flatnonzero(split == part) for part in SEED_SPLIT}
        empty = [part for part, rows in parts.items() if not len(rows)]
        if empty:
            raise DistractedError(
                f"fold {SEED_FOLD}: none of the {drivers} drivers in the manifest belongs to its "
                f"{' or '.join(empty)} part. Add frames of {', '.join(SEED_SPLIT[empty[0]])}, or use the folds "
                f"{', '.join(CROSS_FOLDS)}."
            )
        return FoldRows(fold, parts["train"], parts["dev"], np.sort(np.concatenate([parts["dev"], parts["test"]])))
    number = np.asarray(labelled["fold"].to_numpy())
    held_out = number == int(fold)
    rest = len(set(subjects[~held_out]))
    if not held_out.any() or rest < 2:
        raise DistractedError(
            f"fold {fold}: the manifest has {drivers} drivers, too few to hold some out, choose the epoch on others "
            f"and train on the rest. Folds that can be used: {_usable(number, drivers)}. Add drivers to "
            "driver_imgs_list.csv, then: distracted run"
        )
    folds = dict(zip(subjects.tolist(), number.tolist(), strict=True))
    choosers = validation_drivers(
        subjects[~held_out].tolist(), _column(labelled, "classname")[~held_out].tolist(), folds, int(fold)
    )
    validation = np.isin(subjects, choosers)
    return FoldRows(fold, np.flatnonzero(~held_out & ~validation), np.flatnonzero(validation), np.flatnonzero(held_out))


def _usable(number: np.ndarray, drivers: int) -> str:
    return ", ".join(map(str, sorted(set(number.tolist())))) if drivers >= 3 else "none"


def _class_counts(subjects: Sequence[str], classes: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """Return the sorted drivers and images per driver and class, `[drivers, classes]`."""
    names, rows = np.unique(np.asarray(subjects, dtype=str), return_inverse=True)
    kinds, columns = np.unique(np.asarray(classes, dtype=str), return_inverse=True)
    counts = np.zeros((len(names), len(kinds)), int)
    np.add.at(counts, (rows, columns), 1)
    return names.tolist(), counts


def _column(table: pa.Table, name: str) -> np.ndarray:
    return np.asarray(table[name].to_numpy(zero_copy_only=False)).astype(str)
