"""What a report tells, as plain objects: scores, predictions, Grad-CAMs, images.

Names and meanings only; `read_report_data` fills them from the data root. A row of a table of the evaluation is an
object of `evaluation.table_schemas`.
"""

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np

from distracted_pipeline.dataset import Dataset
from distracted_pipeline.evaluation.comparison import ABSENT, NO_CLAIM, UNDETERMINED, sentence
from distracted_pipeline.evaluation.table_schemas import Bin, ClassScore, Move, VariantScore
from distracted_pipeline.explanation.tables import CamRow, Lift
from distracted_pipeline.scopes import SCOPES
from distracted_pipeline.settings import Settings
from distracted_pipeline.variants.config import VariantConfig
from distracted_pipeline.variants.recipe_diff import in_words, recipe_diff

T = TypeVar("T")


@dataclass(frozen=True)
class ScopeScores:
    """All scores on one set of predictions.

    Attributes:
        name: Of the scope, as in `scopes.SCOPES`.
        classes: By variant, one per class in the data set's order.
        variants: By variant; only those with predictions.
        confusion: By variant, averaged over its trainings, float [driver, true, predicted].
        reliability: By variant, bins of rising confidence; empty where the evaluation has none.
        moves: By variant, then true and predicted class; likewise.
        cells: Classes of variants that the report compares with another variant.
        questions: Those of them that are tested: what p and verdict of each are corrected for; 0 where the tables do
            not say it.
        means: Variants whose macro recall is tested: what p of each is corrected for.
        trainings: Counts of each training, [replicate, driver, true, predicted], NaN where there is none; also of
            variants that `only` leaves out, because others are compared with them.
        folds: The fold that held each driver out, int [driver]; -1 for none.
    """

    name: str
    classes: dict[str, list[ClassScore]]
    variants: dict[str, VariantScore]
    confusion: dict[str, np.ndarray]
    reliability: dict[str, list[Bin]] = field(default_factory=dict)
    moves: dict[str, dict[tuple[int, int], Move]] = field(default_factory=dict)
    cells: int = 0
    questions: int = 0
    means: int = 0
    trainings: dict[str, np.ndarray] = field(default_factory=dict)
    folds: np.ndarray = field(default_factory=lambda: np.empty(0, int))

    @property
    def words(self) -> str:
        """What the predictions of this scope are."""
        return SCOPES[self.name].words

    def verdict(self, variant: str) -> str:
        """Return what a variant changed: `2 of 10 classes improved, 1 worsened, 7 undetermined`."""
        scores = self.classes[variant]
        return sentence([score.verdict for score in scores], [score.obstacle for score in scores], self.cells)

    @property
    def undecided(self) -> int:
        """Questions asked together that nothing decides."""
        scores = [score for rows in self.classes.values() for score in rows]
        return sum(score.p_holm is not None and score.verdict == UNDETERMINED for score in scores)

    def untested(self, variant: str) -> str:
        """Return the one word for a variant of which nothing is tested: baseline, control, or not testable."""
        return next((score.verdict for score in self.classes[variant] if score.verdict != ABSENT), ABSENT)

    def only(self, names: Collection[str]) -> "ScopeScores":
        """Return the same, for some of the variants; what was tested among all of them stays as it was."""
        return replace(
            self,
            classes=_only(self.classes, names),
            variants=_only(self.variants, names),
            confusion=_only(self.confusion, names),
            reliability=_only(self.reliability, names),
            moves=_only(self.moves, names),
        )


@dataclass(frozen=True)
class Cams:
    """Grad-CAMs of one variant.

    Attributes:
        rows: One per CAM.
        maps: uint8 [N, h, w], parallel to `rows`.
        means: Mean over drivers by class, uint8 [class, h, w]; None where the evaluation has none.
        drivers: Drivers behind each of the means, int [class].
        lifts: Over all classes, by mask category.
        mask_maps: Where image and masks have a branch each, the maps of the latter, uint8 [N, h, w], and `maps` those
            of the former; else None.
        image_share: Share of the image in the spread of the logits, where there are two branches.
        mask_share: Share of the masks, likewise.
    """

    rows: list[CamRow]
    maps: np.ndarray
    means: np.ndarray | None = None
    drivers: np.ndarray | None = None
    lifts: list[Lift] = field(default_factory=list)
    mask_maps: np.ndarray | None = None
    image_share: float | None = None
    mask_share: float | None = None


@dataclass(frozen=True)
class Image:
    """What the manifest says of a labelled image; `true` is the position of its class."""

    img: str
    subject: str
    true: int
    path: str
    split: str


@dataclass(frozen=True)
class Probabilities:
    """Predictions of the main scope, averaged over trainings, float32 [variant, image, class]; NaN where none is."""

    variants: list[str]
    probabilities: np.ndarray

    def predicted(self) -> np.ndarray:
        """Return int [variant, image]: the likeliest class, -1 where there is no prediction."""
        filled = np.nan_to_num(self.probabilities, nan=-1.0)
        return np.where(np.isfinite(self.probabilities).all(-1), filled.argmax(-1), -1)


@dataclass(frozen=True)
class ReportData:
    """All that one report tells.

    Attributes:
        settings: The data root and models in force.
        catalogue: The variants that should be there.
        variants: Those with results in any scope: the baseline, the others in catalogue order, then those not in it.
        scopes: By name, the most telling first; only those with predictions.
        drivers: First axis of the confusion counts.
        images: Labelled images by name, in manifest order.
        predictions: Of the main scope.
        cams: By variant; variants without Grad-CAMs are not in it.
        runs: What each training wrote, by variant and fold, in the trainings' order.
        found: Which labelled images have a mask, then which show each mask category, bool [image, 1 + category]; None
            where there are no masks.
        unlabelled: Usable images without a label.
        unusable: Images that were found damaged.
        missing: Sentences that say what is not in the evaluation, and why.
    """

    settings: Settings
    catalogue: dict[str, VariantConfig]
    variants: list[str]
    scopes: dict[str, ScopeScores]
    drivers: tuple[str, ...]
    images: dict[str, Image]
    predictions: Probabilities
    cams: dict[str, Cams]
    runs: dict[str, dict[str, list[dict[str, Any]]]]
    found: np.ndarray | None
    unlabelled: int
    unusable: int
    missing: list[str]

    @property
    def dataset(self) -> Dataset:
        """What the images are of: classes and mask categories."""
        return self.settings.dataset

    @property
    def classes(self) -> range:
        """Positions of the classes."""
        return range(len(self.dataset.class_ids))

    @property
    def main(self) -> ScopeScores:
        """The scope that the report is about: out-of-fold where there is any, else test, else dev."""
        return next(iter(self.scopes.values()))

    @property
    def baseline(self) -> str:
        """The variant that those without a control of their own are compared with."""
        return self.settings.baseline

    def reference(self, variant: str) -> str | None:
        """Return what a variant is compared with in the main scope; None for what claims nothing."""
        scores = self.main.classes.get(variant, [])
        if variant == self.baseline or (scores and all(score.verdict in NO_CLAIM for score in scores)):
            return None
        return (scores[0].baseline if scores else "") or self.baseline

    def reference_recalls(self, variant: str) -> list[float | None]:
        """Return the recall by class of what a variant is compared with; its own for what claims nothing."""
        known = self.main.classes.get(self.reference(variant) or variant)
        return [score.recall for score in known] if known else [None] * len(self.classes)

    def also_differs(self, variant: str) -> str:
        """Return what else differs between a variant's recipe and its reference's, in words; empty if not known."""
        reference = self.reference(variant)
        if reference not in self.catalogue or variant not in self.catalogue:
            return ""
        return in_words(recipe_diff(self.catalogue[reference], self.catalogue[variant]))

    @property
    def absent(self) -> list[str]:
        """Variants of the catalogue without any result."""
        return [name for name in self.catalogue if name not in self.variants]

    def title(self, variant: str) -> str:
        """Return the label of a variant, or its name where the catalogue has none."""
        return self.catalogue[variant].title if variant in self.catalogue else variant

    def only(self, names: Collection[str]) -> "ReportData":
        """Return the same, for some of the variants; numbers stay as they were tested, among all of them."""
        variants = [name for name in self.variants if name in names]
        rows = [self.variants.index(name) for name in variants]
        return replace(
            self,
            catalogue=_only(self.catalogue, names),
            variants=variants,
            scopes={name: scope.only(names) for name, scope in self.scopes.items()},
            predictions=Probabilities(variants, self.predictions.probabilities[rows]),
            cams=_only(self.cams, names),
            runs=_only(self.runs, names),
        )


def _only(by_variant: dict[str, T], names: Collection[str]) -> dict[str, T]:
    return {name: value for name, value in by_variant.items() if name in names}
