"""What pages say beyond single numbers: which variant heads the report, what is confused with what.

Pure functions of the findings; they return values and words, never markup.
"""

from pathlib import Path

import numpy as np

from distracted_pipeline.masks.segmenter import masks_are_given
from distracted_pipeline.reports.reading import ClassScore, Findings, VariantScore
from distracted_pipeline.settings import FOLDER_PREFIX
from distracted_pipeline.vocabulary import CLASS_IDS

SEED_QUOTED = (("Top only", 0.68), ("Adapters", 0.68), ("Masks + embedding", 0.45), ("Masks only", 0.42))
"""Dev accuracy of the seed's own runs (github:Ispanicus/Distracted-Drivers), corrected for its mistakes."""

Share = tuple[int, float, int]
"""A class, a share, and the count behind it."""


def why_not_comparable(f: Findings) -> str:
    """Return why nothing is compared with the baseline, empty where it is."""
    if f.baseline not in f.main.variants:
        return f"the baseline, {f.title(f.baseline)}, has no {f.main.words} yet."
    if len(f.main.variants) < 2:
        return f"only the baseline, {f.title(f.baseline)}, has {f.main.words} so far."
    return ""


def compared(f: Findings) -> list[str]:
    """Return the variants that are compared with the baseline, in catalogue order."""
    return [] if why_not_comparable(f) else [n for n in f.variants if n in f.main.variants and n != f.baseline]


def headline(f: Findings) -> str | None:
    """Return the variant with the most decided classes, then the largest difference of macro recall."""

    def weight(name: str) -> tuple[int, float]:
        decided = sum(score.verdict in ("improved", "worsened") for score in f.main.classes[name])
        return decided, abs(f.main.variants[name].macro_delta or 0)

    return max(compared(f), key=weight, default=None)


def verdict_line(f: Findings) -> str:
    """Return the report's result in one plain sentence."""
    best = headline(f)
    if best is None:
        return f"Nothing can be compared yet: {why_not_comparable(f)}"
    return f"{f.title(best)}, compared with {f.title(f.baseline)}: {f.main.verdict(best)}."


def class_rows(f: Findings, k: int) -> list[tuple[ClassScore, float | None]]:
    """Return the score of every variant on one class, each with the baseline's recall."""
    classes = f.main.classes
    reference = classes[f.baseline][k].recall if f.baseline in classes else None
    return [(classes[name][k], reference) for name in f.variants if name in classes]


def seed_rows(f: Findings) -> list[tuple[str, VariantScore | None, VariantScore | None]]:
    """Return variant, dev score and test score of those that the seed's split has predictions of."""
    dev, test = (f.scopes[part].variants if part in f.scopes else {} for part in ("dev", "test"))
    return [(name, dev.get(name), test.get(name)) for name in f.variants if name in dev or name in test]


def confused(matrix: np.ndarray, k: int) -> tuple[list[Share], list[Share]]:
    """Return what images of class k are called (share of them), and whose images are called k (share of theirs).

    Args:
        matrix: Counts, int [true, predicted].
        k: Position of the class.

    Returns:
        The three commonest of each, wrong answers only.
    """
    totals = matrix.sum(1)

    def three(counts: np.ndarray, of: np.ndarray) -> list[Share]:
        order = sorted((j for j in range(len(CLASS_IDS)) if j != k and counts[j]), key=lambda j: (-counts[j], j))
        return [(j, float(counts[j] / of[j]), int(counts[j])) for j in order[:3]]

    return three(matrix[k], np.full(len(CLASS_IDS), totals[k])), three(matrix[:, k], totals)


def recall_by_driver(f: Findings, variant: str, k: int) -> list[tuple[str, float]]:
    """Return the recall of one class for every driver that has images of it."""
    rows = f.main.confusion[variant][:, k]
    return [(driver, float(row[k] / row.sum())) for driver, row in zip(f.drivers, rows, strict=True) if row.sum()]


def mean_lift(f: Findings, variant: str, category: str, kind: str) -> tuple[float | None, int]:
    """Return the mean lift of a mask category over a variant's correct or confused images, and how many they are."""
    rows = f.cams[variant].rows if variant in f.cams else []
    values = [
        row.lifts[category] for row in rows if row.kind == kind and row.target == "predicted" and category in row.lifts
    ]
    return (float(np.mean(values)) if values else None), len(values)


def masks_from(f: Findings) -> str:
    """Return where the masks come from, in words."""
    name = model_shown(f.settings.segmenter)
    if not masks_are_given(f.settings):
        return f"predicted by {name}"
    drawn = (
        "the exact label maps that the scenes were drawn from" if f.settings.synthetic else "label maps made elsewhere"
    )
    return f"given, not predicted: {drawn}, read from the folder {name}; no segmentation model ran"


def model_shown(name: str) -> str:
    """Return a hub id, or the last part of a local folder: reports travel, home directories should not."""
    bare = name.removeprefix(FOLDER_PREFIX)
    return Path(bare).name if Path(bare).is_absolute() else bare
