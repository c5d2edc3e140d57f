"""Who is trained on, who chooses the epoch, who is reported: always whole drivers.

With near-duplicate frames of one driver on both sides, a model would score by memory; so every function
here moves drivers, never images. Where the rows come from is `manifest`; statistics over the folds
are `evaluation`'s.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from distracted_pipeline.advice import RUN, materialize
from distracted_pipeline.dataset import PARTS, Dataset, Part
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.scopes import CROSS_FOLDS, FOLDS, ORIGINAL_FOLD

VALIDATION_SHARE: Final = 0.15
"""Share of the images outside the held-out fold that is set aside to choose the epoch."""


@dataclass(frozen=True)
class FoldRows:
    """Row indices into the labelled table; the three parts share no driver.

    In the original fold, `predict` contains `validation`: its dev drivers are reported too.

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


def assign_folds(
    subjects: Sequence[str],
    classes: Sequence[str],
    k: int = len(CROSS_FOLDS),
    known: Sequence[Sequence[str]] = (),
) -> dict[str, int]:
    """Return the fold of every driver, balanced over drivers, images and classes.

    Greedy, largest driver first, into the fold that has least of what the driver brings. The result depends only on
    the counts, never on the order of the rows. With fewer than `k` drivers the last folds stay empty.

    Args:
        subjects: Driver of every image.
        classes: Class of every image, parallel to `subjects`.
        k: Number of folds.
        known: Folds that are fixed where the drivers are exactly these (`Dataset.folds`), so that a part of the
            frames, or a damaged file, moves no driver.
    """
    names, counts = _class_counts(subjects, classes)
    if k == len(known) and set(names) == {name for fold in known for name in fold}:
        return {name: fold for fold, members in enumerate(known) for name in sorted(members)}
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


def assign_split(subjects: Iterable[str], dataset: Dataset) -> dict[str, str]:
    """Return the part of the original split (`train`, `dev`, `test`) for every driver.

    Drivers whom the split names have the part that it gives them. The others, in the order of the SHA-256 of their
    names, fill `test` and then `dev` up to the share that the part has in the split (at least one driver where there
    are three); the rest train. A part for which the split names nobody is filled from its train drivers too. So the
    parts depend on the set of names alone.
    """
    names = sorted(set(subjects))
    split: dict[str, str] = {name: part for name in names if (part := dataset.part_of(name)) is not None}
    others = _by_hash(set(names) - split.keys())
    named = {part for part, members in dataset.split if members}
    to_fill: tuple[Part, ...] = ("test", "dev")
    for part in to_fill:
        quota = max(1, round(len(names) * dataset.share_of_part(part))) if len(names) >= 3 else 0
        missing = max(0, quota - sum(p == part for p in split.values()))
        chosen, others = others[:missing], others[missing:]
        if part not in named:
            trained = _by_hash(name for name, p in split.items() if p == "train")
            chosen += trained[: min(missing - len(chosen), len(trained) + len(others) - 1)]
        split |= dict.fromkeys(chosen, part)
    split |= dict.fromkeys(others, "train")
    return dict(sorted(split.items()))


def _by_hash(names: Iterable[str]) -> list[str]:
    return sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())


def fold_rows(labelled: pa.Table, fold: str) -> FoldRows:
    """Return who trains, who chooses the epoch and who is reported in `fold`.

    `original`: train on the train drivers of the original split, choose on dev, report dev and test. `0` … `4`:
    report that fold's drivers, choose on a few drivers of the rest (`validation_drivers`), train on the others.

    Args:
        labelled: `manifest.labelled(...)`; the indices are into this table.
        fold: One of `scopes.FOLDS`.

    Raises:
        DistractedError: No such fold, too few drivers for it, or a driver or a byte-identical image on both sides.
    """
    rows = _choose(labelled, fold)
    check_disjoint(labelled, rows)
    return rows


def check_disjoint(labelled: pa.Table, rows: FoldRows) -> None:
    """Fail when a driver or a byte-identical image is on both sides of a fold.

    In the original fold the sides are train and the rest, otherwise each two of the three parts.

    Raises:
        DistractedError: Names the driver, or the images.
    """
    train, validation, predict = ("train", rows.train), ("validation", rows.validation), ("predict", rows.predict)
    pairs = [(train, validation), (train, predict)]
    if rows.fold != ORIGINAL_FOLD:
        pairs.append((validation, predict))
    subjects, hashes = _column(labelled, "subject"), _column(labelled, "sha256")
    for (left, a), (right, b) in pairs:
        drivers = sorted(set(subjects[a]) & set(subjects[b]))
        if drivers:
            raise DistractedError(
                f"fold {rows.fold}: driver {', '.join(drivers)} is in {left} and in {right}. "
                f"Write the manifest anew with: {materialize('images')}"
            )
        twins = set(hashes[a]) & set(hashes[b])
        if twins:
            names, twin = _column(labelled, "path"), min(twins)
            raise DistractedError(
                f"fold {rows.fold}: {len(twins):,} byte-identical images are in {left} and in {right}, e.g. "
                f"{names[a][hashes[a] == twin][0]} and {names[b][hashes[b] == twin][0]}. Find out whose frame each is, "
                f"delete the other file and its row in the labels, then: {RUN}"
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
    first, so that different folds choose by different drivers.

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
    if fold == ORIGINAL_FOLD:
        split = _column(labelled, "split")
        parts = {part: np.flatnonzero(split == part) for part in PARTS}
        empty = [part for part, rows in parts.items() if not len(rows)]
        if empty:
            raise DistractedError(
                f"fold {ORIGINAL_FOLD}: none of the {drivers} drivers in the manifest belongs to the "
                f"{' or '.join(empty)} part of the original split. Add frames of drivers who do, or use the folds "
                f"{', '.join(CROSS_FOLDS)}."
            )
        return FoldRows(fold, parts["train"], parts["dev"], np.sort(np.concatenate([parts["dev"], parts["test"]])))
    number = np.asarray(labelled["fold"].to_numpy())
    held_out = number == int(fold)
    rest = len(set(subjects[~held_out]))
    if not held_out.any() or rest < 2:
        raise DistractedError(
            f"fold {fold}: the manifest has {drivers} drivers, too few to hold some out, choose the epoch on others "
            f"and train on the rest. Folds that can be used: {_usable(number, drivers)}. Add drivers, "
            f"then: {RUN}"
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
