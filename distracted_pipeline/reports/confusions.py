"""Which classes are taken for which, and which confusions a variant made rarer or commoner.

Pure functions; they return values, never markup.
"""

import numpy as np

from distracted_pipeline.evaluation.table_schemas import Move
from distracted_pipeline.reports.report_data import ReportData

COMMONEST = 3
"""Confusions named for each class and direction."""

Share = tuple[int, float, int]
"""A class, a share, and the count behind it."""


def confused(matrix: np.ndarray, k: int) -> tuple[list[Share], list[Share]]:
    """Return what images of class k are called (share of them), and whose images are called k (share of theirs).

    Args:
        matrix: Counts, averaged over trainings, [true, predicted].
        k: Position of the class.

    Returns:
        The commonest of each, wrong answers only.
    """
    totals = matrix.sum(1)

    def commonest(counts: np.ndarray, of: np.ndarray) -> list[Share]:
        order = sorted((j for j in range(len(counts)) if j != k and counts[j] >= 0.5), key=lambda j: (-counts[j], j))
        return [(j, float(counts[j] / of[j]), round(counts[j])) for j in order[:COMMONEST]]

    return commonest(matrix[k], np.full(len(matrix), totals[k])), commonest(matrix[:, k], totals)


def moves(report: ReportData, variant: str, most: int) -> tuple[list[Move], list[Move]]:
    """Return the confusions that a variant made rarer, and those it made commoner, the largest change first."""
    found = report.main.moves.get(variant, {}).values()
    known = [(move.delta_share, move) for move in found if move.delta_share]
    known.sort(key=lambda pair: (-abs(pair[0]), pair[1].true, pair[1].predicted))
    rarer, commoner = ([move for delta, move in known if (delta < 0) == down][:most] for down in (True, False))
    return rarer, commoner
