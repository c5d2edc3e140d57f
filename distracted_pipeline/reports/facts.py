"""What pages say beyond single numbers: which variant heads the report, what is confused with what.

Pure functions of the findings; they return values and words, never markup.
"""

from pathlib import Path

import numpy as np

from distracted_pipeline.evaluation.comparison import ABSENT, IMPROVED, NOT_TESTABLE, UNDETERMINED, WORSENED
from distracted_pipeline.figures import formats
from distracted_pipeline.masks.identity import masks_are_given
from distracted_pipeline.reports.findings import ClassScore, Findings, Move, VariantScore
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


def leaderboard(f: Findings) -> list[VariantScore]:
    """Return the variants of the main scope, best macro recall first."""
    return sorted(f.main.variants.values(), key=lambda v: -(v.macro_recall or 0))


def leaderboard_markdown(f: Findings) -> str:
    """Return the leaderboard in Markdown: variant, macro recall, its difference, and the classes it changed."""
    lines = ["| variant | macro recall | Δ | classes |", "| --- | --- | --- | --- |"]
    for v in leaderboard(f):
        title = f.title(v.variant).replace("|", "\\|").replace("<", "&lt;")
        delta = formats.difference(v.macro_delta)
        lines.append(f"| {title} | {formats.proportion(v.macro_recall)} | {delta} | {f.main.verdict(v.variant)} |")
    return "\n".join(lines)


def tally(f: Findings, variant: str) -> list[tuple[str, int]]:
    """Return how many classes have each verdict, empty for the baseline: improved, worsened and undetermined always."""
    verdicts = [score.verdict for score in f.main.classes[variant]]
    if variant == f.baseline or set(verdicts) <= {NOT_TESTABLE, ABSENT}:
        return []
    always = (IMPROVED, WORSENED, UNDETERMINED)
    return [(word, verdicts.count(word)) for word in (*always, NOT_TESTABLE, ABSENT) if word in (*always, *verdicts)]


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


def change_by_driver(f: Findings, variant: str, k: int) -> list[tuple[str, float]]:
    """Return what a variant changed in the recall of one class, for every driver that both predict."""
    if variant == f.baseline or f.baseline not in f.main.confusion:
        return []
    before = dict(recall_by_driver(f, f.baseline, k))
    return [(driver, after - before[driver]) for driver, after in recall_by_driver(f, variant, k) if driver in before]


def moves(f: Findings, variant: str, most: int) -> tuple[list[Move], list[Move]]:
    """Return the confusions that a variant made rarer, and those it made commoner, the largest change first."""
    known = [(move.delta_share, move) for move in f.main.moves.get(variant, {}).values() if move.delta_share]
    known.sort(key=lambda pair: (-abs(pair[0]), pair[1].true, pair[1].predicted))
    rarer, commoner = ([move for delta, move in known if (delta < 0) == down][:most] for down in (True, False))
    return rarer, commoner


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
