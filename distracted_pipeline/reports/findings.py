"""What a report tells, as plain objects: scores, predictions, Grad-CAMs, images.

Names and meanings only; `reading` fills them from the data root.
"""

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np

from distracted_pipeline.evaluation.comparison import sentence
from distracted_pipeline.figures.curves import Bin
from distracted_pipeline.settings import Settings
from distracted_pipeline.variants.config import VariantConfig

T = TypeVar("T")

SCOPES = {
    "oof": "out-of-fold predictions over all drivers",
    "test": "the seed split's test drivers",
    "dev": "the seed split's dev drivers",
}
"""The three sets of predictions that the evaluation scores, the most telling first."""


@dataclass(frozen=True)
class ClassScore:
    """One variant on one class; None where undefined (n = 0, or no test)."""

    variant: str
    class_id: int
    n: int
    verdict: str
    recall: float | None = None
    recall_low: float | None = None
    recall_high: float | None = None
    precision: float | None = None
    f1: float | None = None
    delta_recall: float | None = None
    delta_low: float | None = None
    delta_high: float | None = None
    p: float | None = None
    p_holm: float | None = None
    delta_precision: float | None = None
    delta_precision_low: float | None = None
    delta_precision_high: float | None = None
    delta_f1: float | None = None
    delta_f1_low: float | None = None
    delta_f1_high: float | None = None
    i2: float | None = None
    seed_spread: float | None = None


@dataclass(frozen=True)
class VariantScore:
    """One variant over all classes."""

    variant: str
    n: int
    drivers: int
    accuracy: float | None = None
    macro_recall: float | None = None
    macro_delta: float | None = None
    macro_p: float | None = None
    worst_class: int | None = None
    worst_class_recall: float | None = None
    worst_driver: str | None = None
    worst_driver_recall: float | None = None
    log_loss: float | None = None
    calibration_error: float | None = None
    heterogeneity_p: float | None = None
    seed_spread: float | None = None
    replicates: list[str] = field(default_factory=list)
    trainable_parameters: int | None = None
    total_parameters: int | None = None
    train_seconds: float | None = None
    folds_present: list[str] = field(default_factory=list)
    folds_missing: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Move:
    """How often images of one class are called another, by a variant and by the baseline (shares of `true`)."""

    true: int
    predicted: int
    n: int
    share: float | None = None
    baseline_share: float | None = None
    delta_share: float | None = None
    delta_low: float | None = None
    delta_high: float | None = None


@dataclass(frozen=True)
class Scope:
    """All scores on one set of predictions.

    Attributes:
        name: `oof`, `test` or `dev`.
        classes: By variant, ten in class order.
        variants: By variant; only those with predictions.
        confusion: By variant, int64 [driver, true, predicted].
        reliability: By variant, bins of rising confidence; empty where the evaluation has none.
        moves: By variant, then true and predicted class; likewise.
    """

    name: str
    classes: dict[str, list[ClassScore]]
    variants: dict[str, VariantScore]
    confusion: dict[str, np.ndarray]
    reliability: dict[str, list[Bin]] = field(default_factory=dict)
    moves: dict[str, dict[tuple[int, int], Move]] = field(default_factory=dict)

    @property
    def words(self) -> str:
        """What the predictions of this scope are."""
        return SCOPES[self.name]

    def verdict(self, variant: str) -> str:
        """Return what a variant changed: `2 of 10 classes improved, 1 worsened, 7 undetermined`."""
        return sentence([score.verdict for score in self.classes[variant]])

    def only(self, names: Collection[str]) -> "Scope":
        """Return the same of some variants."""
        return Scope(
            self.name,
            _only(self.classes, names),
            _only(self.variants, names),
            _only(self.confusion, names),
            _only(self.reliability, names),
            _only(self.moves, names),
        )


@dataclass(frozen=True)
class Cam:
    """One Grad-CAM: `row` is its place in the variant's array."""

    img: str
    row: int
    target: str
    kind: str
    true: int
    predicted: int
    fold: str
    all_zero: bool
    lifts: dict[str, float]


@dataclass(frozen=True)
class Lift:
    """How much more of the evidence lies on a mask category than its area explains; 1 is chance."""

    category: str
    lift: float | None = None
    low: float | None = None
    high: float | None = None
    drivers: int = 0
    images: int = 0


@dataclass(frozen=True)
class Cams:
    """Grad-CAMs of one variant.

    Attributes:
        rows: One per CAM.
        maps: uint8 [N, h, w], parallel to `rows`.
        means: Mean over drivers by class, uint8 [10, h, w]; None where the evaluation has none.
        drivers: Drivers behind each of the means, int [10].
        lifts: Over all classes, by mask category.
    """

    rows: list[Cam]
    maps: np.ndarray
    means: np.ndarray | None = None
    drivers: np.ndarray | None = None
    lifts: list[Lift] = field(default_factory=list)


@dataclass(frozen=True)
class Image:
    """What the manifest says of a labelled image."""

    img: str
    subject: str
    true: int
    path: str
    split: str


@dataclass(frozen=True)
class Predictions:
    """Probabilities of the main scope, float32 [variant, image, 10], NaN where a variant has none."""

    variants: list[str]
    probabilities: np.ndarray

    def predicted(self) -> np.ndarray:
        """Return int [variant, image]: the likeliest class, -1 where there is no prediction."""
        filled = np.nan_to_num(self.probabilities, nan=-1.0)
        return np.where(np.isfinite(self.probabilities).all(-1), filled.argmax(-1), -1)


@dataclass(frozen=True)
class Findings:
    """All that one report tells.

    Attributes:
        settings: The data root and models in force.
        catalogue: The variants that should be there.
        variants: Those with results in any scope, in catalogue order, then others.
        scopes: By name, the most telling first; only those with predictions.
        drivers: Second axis of the tensors.
        images: Labelled images by name, in manifest order.
        predictions: Of the main scope.
        cams: By variant; variants without Grad-CAMs are not in it.
        runs: What training wrote, by variant and fold.
        rows: Images in the manifest, labelled or not, usable or not.
        unlabelled: Usable images without a label.
        unusable: Images that were found damaged.
        missing: Sentences that say what is not in the evaluation, and why.
    """

    settings: Settings
    catalogue: dict[str, VariantConfig]
    variants: list[str]
    scopes: dict[str, Scope]
    drivers: tuple[str, ...]
    images: dict[str, Image]
    predictions: Predictions
    cams: dict[str, Cams]
    runs: dict[str, dict[str, dict[str, Any]]]
    rows: int
    unlabelled: int
    unusable: int
    missing: list[str]

    @property
    def main(self) -> Scope:
        """The scope that the report is about: out-of-fold where there is any, else test, else dev."""
        return next(iter(self.scopes.values()))

    @property
    def baseline(self) -> str:
        """The variant that every other one is compared with."""
        return self.settings.baseline

    @property
    def absent(self) -> list[str]:
        """Variants of the catalogue without any result."""
        return [name for name in self.catalogue if name not in self.variants]

    def title(self, variant: str) -> str:
        """Return the label of a variant, or its name where the catalogue has none."""
        return self.catalogue[variant].title if variant in self.catalogue else variant

    def only(self, names: Collection[str]) -> "Findings":
        """Return the same of some variants; the numbers stay as they were tested, among all of them."""
        variants = [name for name in self.variants if name in names]
        rows = [self.variants.index(name) for name in variants]
        return replace(
            self,
            catalogue=_only(self.catalogue, names),
            variants=variants,
            scopes={name: scope.only(names) for name, scope in self.scopes.items()},
            predictions=Predictions(variants, self.predictions.probabilities[rows]),
            cams=_only(self.cams, names),
            runs=_only(self.runs, names),
        )


def _only(by_variant: dict[str, T], names: Collection[str]) -> dict[str, T]:
    return {name: value for name, value in by_variant.items() if name in names}
