"""How large a study must be to see a change: power of the test of `inference`, from noises measured on this data.

Pure functions; no simulation, no table, no picture. The test and its variances are `inference`.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cache, lru_cache
from typing import Literal

import numpy as np

from distracted_pipeline.evaluation.spread import Rates, of_recall
from distracted_pipeline.evaluation.statistics import ratio
from distracted_pipeline.testability import ALPHA, smallest_p

Knob = Literal["drivers", "frames", "replicates"]

MOST: dict[Knob, int] = {"drivers": 100_000, "frames": 1_000_000, "replicates": 10_000}
"""What is tried before a knob is said to be of no use: far more than anybody has."""


@dataclass(frozen=True)
class Sources:
    """What the difference of two variants varies by, and the study it was measured on; each array is [class].

    Attributes:
        driver: Standard deviation between drivers of a fold of what the variant changes, trainings averaged out.
        training: Standard deviation between the variant's trainings of a fold, common to the fold's drivers.
        reference_training: That of its reference.
        residual: Standard deviation of driver x training of the variant.
        reference_residual: That of its reference.
        frame_share: Share of the squares of `driver` and the residuals that independent frames would explain. Frames of
            a driver are near-duplicates, so it is an assumption, and what more frames could give at most.
        drivers: Drivers with the class.
        frames: Images of the class for each of them, on average.
        replicates: Trainings of each fold, of the variant that has fewer.
        folds: Folds with the class.
        unevenness: `drivers` times the sum of their squared shares of the images; 1 where all have as many.
    """

    driver: np.ndarray
    training: np.ndarray
    reference_training: np.ndarray
    residual: np.ndarray
    reference_residual: np.ndarray
    frame_share: np.ndarray
    drivers: np.ndarray
    frames: np.ndarray
    replicates: np.ndarray
    folds: np.ndarray
    unevenness: np.ndarray

    def of(self, index: int) -> "Sources":
        """Return the sources of one class, as arrays of one."""
        return Sources(**{field.name: getattr(self, field.name)[index : index + 1] for field in fields(self)})


@dataclass(frozen=True)
class Plan:
    """What it takes to see a change of one class; None: that alone never does.

    Attributes:
        driver: Standard deviation of the change between drivers; NaN where it could not be measured.
        training: Of a training of a fold, the larger of the two variants'.
        residual: Of driver x training, the larger of the two variants'.
        power: Of the study as it is.
        drivers: Fewest drivers, at the present frames and trainings.
        frames: Fewest images of the class for each driver, at the present drivers and trainings, if frames were
            independent; near-duplicates do less.
        replicates: Fewest trainings of each fold, at the present drivers and frames.
        smallest: Smallest change that the study as it is sees with the power asked for; None if not even 1.
    """

    driver: float
    training: float
    residual: float
    power: float
    drivers: int | None
    frames: int | None
    replicates: int | None
    smallest: float | None


def measure(a: Rates, b: Rates, folds: np.ndarray) -> Sources:
    """Return what the difference of two variants varies by; NaN where either was trained once in some fold.

    Args:
        a: The variant.
        b: Its reference, over the same images.
        folds: The fold that held each driver out, int [driver]; -1 for none.
    """
    share, trained = of_recall([a, b], folds, macro=False)
    pulls = trained[0].pulls - trained[1].pulls
    double = np.sum([x.double for x in trained], axis=0)
    squares = share.squares.sum(-1)
    driver = np.maximum(ratio(share.between(pulls**2 @ share.member) - double, squares), 0)
    counted = share.k > 0
    training = [ratio(x.variance - x.double, ratio(share.fold**2, x.count).sum(-1, where=counted)) for x in trained]
    residual = [ratio(x.double, ratio(share.squares, x.count).sum(-1, where=counted)) for x in trained]
    drivers = share.k.sum(-1)
    frames = ratio(np.where(share.driver > 0, a.n, 0).sum(-1), drivers)
    binomial = np.sum([ratio(x.estimate * (1 - x.estimate), frames) for x in trained], axis=0)
    count = np.min([np.where(counted, x.count, np.inf).min(-1) for x in trained], axis=0)
    return Sources(
        driver=np.sqrt(driver),
        training=np.sqrt(np.maximum(training[0], 0)),
        reference_training=np.sqrt(np.maximum(training[1], 0)),
        residual=np.sqrt(residual[0]),
        reference_residual=np.sqrt(residual[1]),
        frame_share=np.minimum(np.nan_to_num(ratio(binomial, driver + residual[0] + residual[1])), 1),
        drivers=drivers,
        frames=frames,
        replicates=np.where(np.isfinite(count), count, 0),
        folds=counted.sum(-1),
        unevenness=drivers * squares,
    )


def power(
    sources: Sources,
    delta: float | np.ndarray,
    questions: int = 1,
    drivers: float | np.ndarray | None = None,
    frames: float | np.ndarray | None = None,
    replicates: float | np.ndarray | None = None,
) -> np.ndarray:
    """Return how likely a change is seen if the corrected p must be below `ALPHA`, [class].

    The five estimated variances are taken as independent multiples of chi-squares; given them, the power is one of the
    normal distribution, and it is averaged over them. A noncentral t with the expected degrees of freedom is up to .2
    too high where trainings are few, because the degrees of freedom are estimated as well.

    Nothing is seen where swapping all drivers could not reach the corrected level, where folds have one driver, or with
    one training. Correction by the number of questions, as Holm asks of the first: where more is found, each is found
    more easily.

    Args:
        sources: As measured.
        delta: The change of recall, of all classes or [class].
        questions: How many are asked together.
        drivers: Of the study to plan, of all classes or [class]; the present ones by default.
        frames: Images of the class for each driver; likewise.
        replicates: Trainings of each fold; likewise.
    """
    from scipy import special

    k = np.asarray(sources.drivers if drivers is None else drivers, float)
    r = np.asarray(sources.replicates if replicates is None else replicates, float)
    more = 1.0 if frames is None else sources.frames / frames
    fewer = 1 - sources.frame_share + sources.frame_share * more
    possible = (k > sources.folds) & (r > 1) & (np.vectorize(smallest_p)(k) * questions < ALPHA)
    spare_drivers, spare_trainings = np.maximum(k - sources.folds, 1), np.maximum(r - 1, 1)
    each, of_fold = ratio(sources.unevenness, k), ratio(np.ones(1), sources.folds * np.maximum(r, 1))
    double = [each * fewer * sd**2 / np.maximum(r, 1) for sd in (sources.residual, sources.reference_residual)]
    trained = [of_fold * sd**2 for sd in (sources.training, sources.reference_training)]
    terms = [(each * fewer * sources.driver**2 + sum(double), ratio(spare_drivers, sources.unevenness))]
    terms += [
        (common + single, sources.folds * spare_trainings) for common, single in zip(trained, double, strict=True)
    ]
    terms += [(single, spare_drivers * spare_trainings) for single in double]
    # What a study would estimate, [draw, class], and its own degrees of freedom.
    seen = [
        value * np.stack([_chi_square(term, float(each)) for each in df], -1) / df
        for term, (value, df) in enumerate(terms)
    ]
    doubts = [estimate**2 / df for estimate, (_, df) in zip(seen, terms, strict=True)]
    excess = seen[1] + seen[2] - seen[3] - seen[4]
    estimate = seen[0] + np.maximum(excess, 0)
    df = ratio(estimate**2, doubts[0] + np.where(excess > 0, sum(doubts[1:]), 0))
    variance = terms[0][0] + sum(trained)
    critical = _critical(df, ALPHA / questions) * np.sqrt(ratio(estimate, variance))
    shift = np.sqrt(ratio(np.asarray(delta**2), variance))
    found = (special.ndtr(shift - critical) + special.ndtr(-shift - critical)).mean(0)
    return np.where(possible | np.isnan(variance), found, 0.0)


def _critical(df: np.ndarray, level: float) -> np.ndarray:
    """Return the two-sided critical values of t, within .0002 of each: thousands of exact ones take most of a plan."""
    logs, values = _critical_table(level)
    return np.exp(np.interp(np.log(df), logs, values))


@lru_cache(maxsize=64)
def _critical_table(level: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the logarithms of degrees of freedom from .1 to a billion, and of their critical values."""
    from scipy import special

    df = np.geomspace(0.1, 1e9, 4096)
    return np.log(df), np.log(special.stdtrit(df, 1 - level / 2))


@lru_cache(maxsize=4096)
def _chi_square(term: int, df: float) -> np.ndarray:
    """Return draws of a chi-square for one of the five variances, [draw]; kept, since a search asks for them again."""
    from scipy import special

    found: np.ndarray = special.chdtri(df, _quantiles()[term])
    return found


@cache
def _quantiles() -> np.ndarray:
    """Return probabilities that fill the cube of the five variances evenly, [variance, draw].

    Korobov's lattice of 512 points, by a generator of small discrepancy. Sobol's points come no nearer to the power by
    many draws, and `scipy.stats`, which has them, takes longer to import than all planning does.
    """
    steps = np.array([pow(325, k, 512) for k in range(5)])
    return (np.outer(steps, np.arange(512)) % 512 + 0.5) / 512


def needed(
    sources: Sources, knob: Knob, delta: float | np.ndarray, questions: int = 1, reach: float = 0.8
) -> list[int | None]:
    """Return the fewest drivers, frames or replicates that see a change with the power `reach`, for each class.

    None if none do: infinitely many trainings leave the luck of drivers, and infinitely many drivers that of the folds'
    trainings.

    Args:
        sources: As measured.
        knob: Which of the three is changed; the others stay as they are.
        delta: The change of recall, of all classes or [class].
        questions: How many are asked together.
        reach: Power to be reached.
    """

    def enough(values: np.ndarray) -> np.ndarray:
        sees = {"drivers": (values, None, None), "frames": (None, values, None), "replicates": (None, None, values)}
        return power(sources, delta, questions, *sees[knob]) >= reach

    return _fewest(enough, MOST[knob], len(sources.drivers))


def smallest_change(
    sources: Sources,
    questions: int = 1,
    reach: float = 0.8,
    drivers: np.ndarray | None = None,
    replicates: float | None = None,
) -> list[float | None]:
    """Return the smallest change that is seen with the power `reach`, to .001, for each class; None if not even 1.

    Args:
        sources: As measured.
        questions: How many are asked together.
        reach: Power to be reached.
        drivers: Of the studies to plan, [class], or several of one class; the present ones by default.
        replicates: Trainings of each fold; likewise.
    """

    def enough(milles: np.ndarray) -> np.ndarray:
        return power(sources, milles / 1000, questions, drivers, None, replicates) >= reach

    count = len(sources.drivers if drivers is None else drivers)
    return [None if found is None else found / 1000 for found in _fewest(enough, 1000, count)]


def plan(sources: Sources, questions: int, delta: float = 0.05, reach: float = 0.8) -> list[Plan]:
    """Return what it takes to see a change, for each class.

    Args:
        sources: As measured, [class].
        questions: How many are asked together, usually the classes of all variants that a report shows.
        delta: The change of recall.
        reach: Power to be reached.
    """
    now = power(sources, delta, questions)
    drivers, frames, replicates = (
        needed(sources, knob, delta, questions, reach) for knob in ("drivers", "frames", "replicates")
    )
    smallest = smallest_change(sources, questions, reach)
    training = np.maximum(sources.training, sources.reference_training)
    residual = np.maximum(sources.residual, sources.reference_residual)
    return [
        Plan(
            driver=float(sources.driver[k]),
            training=float(training[k]),
            residual=float(residual[k]),
            power=float(now[k]),
            drivers=drivers[k],
            frames=frames[k],
            replicates=replicates[k],
            smallest=smallest[k],
        )
        for k in range(len(now))
    ]


def _fewest(enough: Callable[[np.ndarray], np.ndarray], most: int, count: int) -> list[int | None]:
    """Return the smallest numbers that are enough, `count` of them, from 1 to `most`; more is never less."""
    low, high = np.zeros(count, int), np.full(count, most)
    possible = enough(high)
    while (high - low > 1).any():
        middle = (low + high) // 2
        found = enough(np.maximum(middle, 1))
        low, high = np.where(found, low, middle), np.where(found, middle, high)
    return [int(number) if able else None for number, able in zip(high, possible, strict=True)]
