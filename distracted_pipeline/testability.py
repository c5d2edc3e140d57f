"""How many drivers it takes before a difference between two variants can be decided at all.

A formula only, for every room that has to say so; the test itself is `evaluation.statistics`.
"""

from typing import Final

ALPHA: Final = 0.05
"""How often a report may decide something where there is nothing."""


def smallest_p(drivers: int) -> float:
    """Return the smallest two-sided p that swapping whole drivers can reach: 2 of the 2^K swaps, nothing and all."""
    return min(1.0, 2.0 ** (1 - drivers))


def needed_drivers(questions: int) -> int:
    """Return the fewest drivers with which one of `questions` asked together can be decided, each p times as large.

    Six for one question, nine for ten.
    """
    drivers = 1
    while smallest_p(drivers) * questions >= ALPHA:
        drivers += 1
    return drivers
