"""The columns of the evaluation's tables, each declared once: a dataclass for a table, an object for a row.

Which number goes into which column is `table_rows`; files are `tables`, and how rows become files `tables_io`. Fields
are None where a number is not defined: a class without images, a comparison that nothing tests.
"""

from dataclasses import dataclass, field
from typing import Annotated

Position = Annotated[int, "int8"]
"""Place of a class in the data set's order, or of a bin."""


@dataclass(frozen=True, kw_only=True)
class ClassScore:
    """One variant on one class.

    Attributes:
        scope: Which predictions, a name of `scopes.SCOPES`.
        variant: Its name.
        class_id: Position of the class.
        n: Images of the class, each counted once.
        trainings: How often the variant was trained on each fold, of which the least often.
        recall: The class-wise accuracy averaged over trainings, with its interval for other drivers and trainings.
        recall_low: See `recall`.
        recall_high: See `recall`.
        precision: Share of what is called this class that is right.
        f1: Harmonic mean of both.
        sd_drivers: Standard deviation of the recall between drivers, see `inference.components`.
        sd_training: Between trainings of a fold, common to its drivers.
        sd_double: Of what a training does to a single driver.
        training_alone: By how much (standard deviation) training every fold once more moves the recall.
        baseline: The variant that this one is compared with: its control, else the baseline.
        drivers_compared: Drivers with images of the class that both have predicted.
        delta_recall: What changed on those drivers, with its interval for other drivers and trainings.
        delta_low: See `delta_recall`.
        delta_high: See `delta_recall`.
        delta_sd_drivers: Standard error of `delta_recall` by the spread of drivers, see `inference.Contrast`.
        delta_sd_training: By the spread of trainings, of both variants.
        delta_sd_double: What both of these contain.
        df: Degrees of freedom of the standard error of `delta_recall`.
        p: Of the difference, for other drivers and trainings, see `inference.p_value`.
        p_holm: The same, adjusted over every class of every variant of the scope; the verdict follows it.
        p_own: The same, adjusted over this variant's classes alone: a second level, for who asks about no other.
        verdict: One of the words of `comparison`.
        obstacle: Why it is not testable, one of the words of `comparison`; empty where it is.
        delta_precision: What changed, with its interval.
        delta_precision_low: See `delta_precision`.
        delta_precision_high: See `delta_precision`.
        delta_f1: What changed, with its interval.
        delta_f1_low: See `delta_f1`.
        delta_f1_high: See `delta_f1`.
        driver_delta_low: The least change of recall over drivers.
        driver_delta_high: The largest.
        i2: Upper bound of what differs between drivers, see `heterogeneity.i_squared`.
    """

    scope: str
    variant: str
    class_id: Position
    n: int
    trainings: int = 1
    recall: float | None = None
    recall_low: float | None = None
    recall_high: float | None = None
    precision: float | None = None
    f1: float | None = None
    sd_drivers: float | None = None
    sd_training: float | None = None
    sd_double: float | None = None
    training_alone: float | None = None
    baseline: str = ""
    drivers_compared: int = 0
    delta_recall: float | None = None
    delta_low: float | None = None
    delta_high: float | None = None
    delta_sd_drivers: float | None = None
    delta_sd_training: float | None = None
    delta_sd_double: float | None = None
    df: float | None = None
    p: float | None = None
    p_holm: float | None = None
    p_own: float | None = None
    verdict: str
    obstacle: str = ""
    delta_precision: float | None = None
    delta_precision_low: float | None = None
    delta_precision_high: float | None = None
    delta_f1: float | None = None
    delta_f1_low: float | None = None
    delta_f1_high: float | None = None
    driver_delta_low: float | None = None
    driver_delta_high: float | None = None
    i2: float | None = None


@dataclass(frozen=True, kw_only=True)
class VariantScore:
    """One variant over all classes.

    Attributes:
        scope: Which predictions, a name of `scopes.SCOPES`.
        variant: Its name.
        baseline: The variant that this one is compared with: its control, else the baseline.
        n: Images predicted, each counted once.
        drivers: Drivers predicted.
        trainings: How often it was trained on each fold, of which the least often.
        accuracy: Share of right images.
        macro_recall: Mean recall over the classes that occur, on all drivers that the variant has predicted.
        ranked_recall: The same on the drivers that all ranked variants have predicted; None where the variant lacks
            folds that others have, so that it is not ranked.
        flattery: By how much the best ranked recall flatters its variant, see `ranking.flattery`; one number for all.
        macro_delta: What changed, on the drivers that both have predicted, with its interval.
        macro_low: See `macro_delta`.
        macro_high: See `macro_delta`.
        macro_p: Of that difference, for other drivers and trainings.
        macro_p_holm: The same, adjusted over the variants of the scope.
        worst_class: Position of the class with the lowest recall.
        worst_class_recall: Its recall.
        worst_driver: The driver with the lowest macro recall, of those that all ranked variants have predicted.
        worst_driver_recall: Theirs.
        log_loss: As Kaggle scores it; of a single training, on average.
        calibration_error: See `statistics.calibration_error`; likewise.
        trainable_parameters: What trained, in every fold.
        total_parameters: What the network has.
        train_seconds: Over the folds of the scope and all trainings.
        folds_present: Folds of the scope with predictions.
        folds_missing: Folds of the scope that this data has and the variant has not predicted.
    """

    scope: str
    variant: str
    baseline: str = ""
    n: int = 0
    drivers: int = 0
    trainings: int = 1
    accuracy: float | None = None
    macro_recall: float | None = None
    ranked_recall: float | None = None
    flattery: float | None = None
    macro_delta: float | None = None
    macro_low: float | None = None
    macro_high: float | None = None
    macro_p: float | None = None
    macro_p_holm: float | None = None
    worst_class: Position | None = None
    worst_class_recall: float | None = None
    worst_driver: str | None = None
    worst_driver_recall: float | None = None
    log_loss: float | None = None
    calibration_error: float | None = None
    trainable_parameters: int | None = None
    total_parameters: int | None = None
    train_seconds: float | None = None
    folds_present: list[str] = field(default_factory=list)
    folds_missing: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Bin:
    """Predictions of about one confidence: how sure the variant was, and how often it was right.

    `n` is the mean over trainings, rounded; 0 only where none of them says anything of that confidence.
    """

    scope: str
    variant: str
    bin: Position
    low: float
    high: float
    n: int
    confidence: float | None = None
    accuracy: float | None = None


@dataclass(frozen=True, kw_only=True)
class Move:
    """How often images of one class are called another, by a variant and by what it is compared with.

    `n` counts images, shares are those of `true`; all are means over trainings, the interval is `inference`'s.
    """

    scope: str
    variant: str
    true: Position
    predicted: Position
    n: float
    share: float | None = None
    baseline_share: float | None = None
    delta_share: float | None = None
    delta_low: float | None = None
    delta_high: float | None = None


@dataclass(frozen=True, kw_only=True)
class DriverScore:
    """One variant on one driver's images of one class, averaged over trainings; `n` is 0 where there are none."""

    scope: str
    variant: str
    class_id: Position
    driver: str
    n: int
    recall: float | None = None
    baseline_recall: float | None = None
    delta: float | None = None
