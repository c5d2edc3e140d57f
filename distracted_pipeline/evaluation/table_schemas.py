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
        n: Images of the class.
        recall: The class-wise accuracy, with its interval.
        recall_low: See `recall`.
        recall_high: See `recall`.
        precision: Share of what is called this class that is right.
        f1: Harmonic mean of both.
        baseline: The variant that this one is compared with.
        drivers_compared: Drivers with images of the class that both have predicted.
        delta_recall: What changed against the baseline on those drivers, with its interval.
        delta_low: See `delta_recall`.
        delta_high: See `delta_recall`.
        p: Of the whole-driver swap test.
        p_holm: The same, adjusted over every class of every variant of the scope; the verdict follows it.
        p_own: The same, adjusted over this variant's classes alone: a second level, for who asks about no other.
        verdict: One of the words of `comparison`.
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
    recall: float | None = None
    recall_low: float | None = None
    recall_high: float | None = None
    precision: float | None = None
    f1: float | None = None
    baseline: str = ""
    drivers_compared: int = 0
    delta_recall: float | None = None
    delta_low: float | None = None
    delta_high: float | None = None
    p: float | None = None
    p_holm: float | None = None
    p_own: float | None = None
    verdict: str
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
        n: Images predicted.
        drivers: Drivers predicted.
        accuracy: Share of right images.
        macro_recall: Mean recall over the classes that occur, on all drivers that the variant has predicted.
        ranked_recall: The same on the drivers that all ranked variants have predicted; None where the variant lacks
            folds that others have, so that it is not ranked.
        flattery: By how much the best ranked recall flatters its variant, see `ranking.flattery`; one number for all.
        macro_delta: What changed against the baseline, on the drivers that both have predicted.
        macro_p: Of the whole-driver swap test of that mean.
        macro_p_holm: The same, adjusted over the variants of the scope.
        worst_class: Position of the class with the lowest recall.
        worst_class_recall: Its recall.
        worst_driver: The driver with the lowest macro recall, of those that all ranked variants have predicted.
        worst_driver_recall: Theirs.
        log_loss: As Kaggle scores it.
        calibration_error: See `statistics.calibration_error`.
        trainable_parameters: What trained, in every fold.
        total_parameters: What the network has.
        train_seconds: Over the folds of the scope.
        folds_present: Folds of the scope with predictions.
        folds_missing: Folds of the scope that this data has and the variant has not predicted.
        replicates: Variants that differ in the random seed alone.
    """

    scope: str
    variant: str
    n: int = 0
    drivers: int = 0
    accuracy: float | None = None
    macro_recall: float | None = None
    ranked_recall: float | None = None
    flattery: float | None = None
    macro_delta: float | None = None
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
    replicates: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Bin:
    """Predictions of about one confidence: how sure the variant was, and how often it was right."""

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
    """How often images of one class are called another, by a variant and by the baseline (shares of `true`)."""

    scope: str
    variant: str
    true: Position
    predicted: Position
    n: int
    share: float | None = None
    baseline_share: float | None = None
    delta_share: float | None = None
    delta_low: float | None = None
    delta_high: float | None = None


@dataclass(frozen=True, kw_only=True)
class DriverScore:
    """One variant on one driver's images of one class; `n` is 0 and nothing else known where there are none."""

    scope: str
    variant: str
    class_id: Position
    driver: str
    n: int
    recall: float | None = None
    baseline_recall: float | None = None
    delta: float | None = None
