"""Which folds there are, and which predictions are reported together.

Names only. Who is in a fold is `images.folds`, what is counted is `evaluation`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

ORIGINAL_FOLD: Final = "original"
"""The split of the data set's authors: train on their train drivers, choose the epoch on dev, report dev and test."""

CROSS_FOLDS: Final[tuple[str, ...]] = ("0", "1", "2", "3", "4")
"""Folds that share no driver; their held-out parts together cover every driver once."""

FOLDS: Final[tuple[str, ...]] = (ORIGINAL_FOLD, *CROSS_FOLDS)

_FORMER_NAME: Final = "seed"
"""What versions before called the original fold; their files and partition keys are still read."""


@dataclass(frozen=True)
class Scope:
    """Predictions that are reported together.

    Attributes:
        name: As in the tables' column `scope`.
        folds: Whose predictions.
        words: What they are, in a sentence.
    """

    name: str
    folds: tuple[str, ...]
    words: str


SCOPES: Final[dict[str, Scope]] = {
    scope.name: scope
    for scope in (
        Scope("oof", CROSS_FOLDS, "out-of-fold predictions over all drivers"),
        Scope("test", (ORIGINAL_FOLD,), "the original split's test drivers"),
        Scope("dev", (ORIGINAL_FOLD,), "the original split's dev drivers, which also chose the epoch"),
    )
}
"""The three scopes, the most telling first."""


def canonical_fold(name: str) -> str:
    """Return a fold's name as it is today: what used to be `seed` is `original`."""
    return ORIGINAL_FOLD if name == _FORMER_NAME else name


def fold_path(parent: Path, fold: str, suffix: str = "") -> Path:
    """Return where a fold's file or folder lies in `parent`; one that an earlier version named is taken as it is."""
    path, former = parent / f"{fold}{suffix}", parent / f"{_FORMER_NAME}{suffix}"
    return former if fold == ORIGINAL_FOLD and former.exists() and not path.exists() else path
