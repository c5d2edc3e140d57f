"""What one variant changed against another, class by class, on the drivers that both predicted.

The rules that turn numbers into a verdict are here and nowhere else; the numbers come from `inference` and
`statistics`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from distracted_pipeline.evaluation.confusion import averaged
from distracted_pipeline.evaluation.inference import (
    Contrast,
    Rates,
    contrast,
    macro_contrast,
    p_value,
    score_contrast,
)
from distracted_pipeline.evaluation.statistics import (
    f1,
    hits,
    holm_of_askable,
    precision,
    recall,
    support,
    swap_test,
)
from distracted_pipeline.testability import ALPHA, needed_drivers

IMPROVED: Final = "improved"
WORSENED: Final = "worsened"
UNDETERMINED: Final = "undetermined"
NOT_TESTABLE: Final = "not testable"
BASELINE: Final = "baseline"
CONTROL: Final = "control"
ABSENT: Final = "absent"

NO_CLAIM: Final = (BASELINE, CONTROL, ABSENT)
"""Verdicts of what is no question."""

ONE_TRAINING: Final = "one training only"
FEW_DRIVERS: Final = "too few drivers"
LONE_DRIVERS: Final = "one driver a fold"
NOT_COMPARED: Final = "nothing to compare with"
"""Why a class is not testable, each in a word or two; `sentence` says more."""


@dataclass(frozen=True)
class Difference:
    """Variant minus its reference; arrays have one value per class, NaN where undefined.

    Attributes:
        drivers: Drivers compared.
        reference_recall: Recall of the reference on those drivers.
        recall: The difference of recall on those drivers, its interval and what its variance is made of.
        p: Of that difference, for other drivers and other trainings; see `inference.p_value`.
        p_own: The same, Holm-adjusted over the classes of this comparison.
        p_holm: Holm-adjusted over all questions that are asked together: the classes of this comparison, or of all
            that `together` was given.
        verdicts: One of the words above, by `p_holm`.
        obstacles: Why a class is not testable, one of the words above; empty for all others.
        macro_drivers: Drivers compared over all classes.
        macro: Of the mean of the difference over the present classes, as `recall`; scalars.
        macro_p: p of that mean.
        macro_p_holm: The same, Holm-adjusted over the means of all comparisons asked together.
        precision: As `recall`, of precision.
        f1: As `recall`, of F1.
        variant: Counts of the variant, [replicate, driver, true, predicted]; NaN where there is no such training, and
            for drivers that are not compared.
        reference: Counts of the reference, likewise.
        folds: The fold that held each driver out, int [driver].
    """

    drivers: np.ndarray
    reference_recall: np.ndarray
    recall: Contrast
    p: np.ndarray
    p_own: np.ndarray
    p_holm: np.ndarray
    verdicts: tuple[str, ...]
    obstacles: tuple[str, ...]
    macro_drivers: int
    macro: Contrast
    macro_p: float
    macro_p_holm: float
    precision: Contrast
    f1: Contrast
    variant: np.ndarray
    reference: np.ndarray
    folds: np.ndarray

    @property
    def asked(self) -> np.ndarray:
        """Drivers that each class's question rests on, int [class]; 0 where it is none, whatever was seen."""
        return np.where(np.isfinite(self.recall.p_training), self.drivers, 0)

    @property
    def macro_asked(self) -> int:
        """Drivers that the question about the mean rests on; 0 where it is none."""
        return self.macro_drivers if np.isfinite(self.macro.p_training) else 0


def rates(trainings: np.ndarray) -> Rates:
    """Return right images, [replicate, class, driver], from counts [replicate, driver, true, predicted].

    Every training of a driver's fold predicted the same images.
    """
    return Rates(np.moveaxis(hits(trainings), -1, -2), _images(trainings).T)


def difference(variant: np.ndarray, reference: np.ndarray, folds: np.ndarray, signs: np.ndarray) -> Difference:
    """Compare two variants, and ask about nothing but their classes.

    Compared are the drivers of whom both have predicted as many images of every class: a file that lacks images leaves
    its driver out.

    Args:
        variant: Counts of each training, [replicate, driver, true, predicted]; NaN where there is none.
        reference: Counts over the same drivers in the same order; not necessarily as many trainings.
        folds: The fold that held each driver out, int [driver].
        signs: Draws from `statistics.swap_signs` for those drivers.
    """
    a, b = on_common_drivers(variant, reference)
    mean_a, mean_b = averaged(a), averaged(b)
    counts = hits(mean_a).T, support(mean_a).T, hits(mean_b).T, support(mean_b).T
    found, macro = contrast(rates(a), rates(b), folds), macro_contrast(rates(a), rates(b), folds)
    p_swap, macro_swap = swap_test(*counts, signs)
    macro_p = float(p_value(macro, macro_swap))
    unasked = Difference(
        drivers=(counts[1] > 0).sum(-1),
        reference_recall=recall(mean_b.sum(0)),
        recall=found,
        p=p_value(found, p_swap),
        p_own=np.empty(0),
        p_holm=np.empty(0),
        verdicts=(),
        obstacles=(),
        macro_drivers=int(_images(a).any(1).sum()),
        macro=macro,
        macro_p=macro_p,
        macro_p_holm=macro_p,
        precision=score_contrast(a, b, folds, precision),
        f1=score_contrast(a, b, folds, f1),
        variant=a,
        reference=b,
        folds=folds,
    )
    own = holm_of_askable(unasked.p, unasked.asked, len(signs))
    return _answered(replace(unasked, p_own=own), own, macro_p)


def on_common_drivers(variant: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return both counts, NaN for the drivers of whom the two have not as many images of every class."""
    images = _images(variant), _images(reference)
    both = images[0].any(1) & (images[0] == images[1]).all(1)
    a, b = (np.where(both[:, None, None], x, np.nan) for x in (variant, reference))
    return a, b


def together(changes: Mapping[str, Difference], draws: int) -> dict[str, Difference]:
    """Return comparisons, each with its own reference, as answers to questions that one report asks together.

    Every class of every comparison is one question, and so is every mean over classes among the means; p and verdicts
    are corrected accordingly (Holm, which holds however the questions hang together), so that a report of variants
    that do nothing decides something in at most 5 of 100 cases, however many variants it shows.

    Args:
        changes: By variant.
        draws: Swaps that their p rest on.
    """
    if not changes:
        return {}
    found = list(changes.values())
    classes = holm_of_askable(np.stack([c.p for c in found]), np.stack([c.asked for c in found]), draws)
    means = holm_of_askable(np.array([c.macro_p for c in found]), np.array([c.macro_asked for c in found]), draws)
    return {
        name: _answered(change, adjusted, float(mean))
        for (name, change), adjusted, mean in zip(changes.items(), classes, means, strict=True)
    }


def _answered(change: Difference, adjusted: np.ndarray, macro: float) -> Difference:
    """Return a comparison with its verdicts, by p that are corrected for all questions asked together."""
    found = change.recall
    present = np.asarray(_images(change.variant).any(0))
    verdicts = tuple(_verdict(*row) for row in zip(present, found.delta, adjusted, strict=True))
    obstacles = tuple(
        _obstacle(*row) if verdict == NOT_TESTABLE else ""
        for verdict, *row in zip(verdicts, change.drivers, found.replicated, found.p_training, strict=True)
    )
    return replace(change, p_holm=adjusted, verdicts=verdicts, obstacles=obstacles, macro_p_holm=macro)


def _verdict(present: bool, delta: float, adjusted: float) -> str:
    if not present:
        return ABSENT
    if np.isnan(adjusted):
        return NOT_TESTABLE
    if adjusted >= ALPHA:
        return UNDETERMINED
    return IMPROVED if delta > 0 else WORSENED


def _obstacle(drivers: int, replicated: bool, p_training: float) -> str:
    if not replicated and drivers:
        return ONE_TRAINING
    return LONE_DRIVERS if drivers > 1 and np.isnan(p_training) else FEW_DRIVERS


def _images(trainings: np.ndarray) -> np.ndarray:
    """Return images by driver and true class, int [driver, class]; 0 where no training predicted the driver."""
    most: np.ndarray = np.nan_to_num(trainings).sum(-1).max(0)
    return most.astype(np.int64)


def sentence(verdicts: Sequence[str], obstacles: Sequence[str] = (), questions: int = 0) -> str:
    """Return verdicts in words: `2 of 10 classes improved, 1 worsened, 7 undetermined`.

    Args:
        verdicts: Of one variant's classes.
        obstacles: Of those that are not testable, why; empty for the others.
        questions: How many were asked together; by default these.
    """
    total = len(verdicts)
    if BASELINE in verdicts:
        return "the baseline that the others are compared with"
    if CONTROL in verdicts:
        return "a control that others are compared with"
    if set(verdicts) <= {NOT_TESTABLE, ABSENT}:
        questions = questions or total - verdicts.count(ABSENT)
        return f"not testable: {_why(obstacles, questions)}"
    words = [f"{verdicts.count(IMPROVED)} of {total} classes improved"]
    words += [f"{verdicts.count(word)} {word}" for word in (WORSENED, UNDETERMINED)]
    words += [f"{verdicts.count(word)} {word}" for word in (NOT_TESTABLE, ABSENT) if word in verdicts]
    return ", ".join(words)


def _why(obstacles: Sequence[str], questions: int) -> str:
    """Return why nothing is testable, the most fundamental reason first."""
    if NOT_COMPARED in obstacles:
        return "what it would be compared with has no predictions"
    if ONE_TRAINING in obstacles:
        return (
            "one training only, which says nothing of another; set `replicates` to 2 or more, "
            "here and in what it is compared with"
        )
    if LONE_DRIVERS in obstacles:
        return "no fold holds out two drivers in common, whose spread could be seen"
    return (
        f"fewer than {needed_drivers(questions)} drivers in common with what it is compared with, "
        f"which is what {questions} questions at once take"
    )
