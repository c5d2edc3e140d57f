"""What `distracted run` still has to do, read from the files of a data root and never from Dagster's history.

Belongs here: the steps, in the order of the graph. Running them is `run`; whether one asset's files were made from
its inputs as they are now is for its room to say, and no time of change is looked at.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from distracted_pipeline.advice import did_you_mean
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.scopes import FOLDS, canonical_fold
from distracted_pipeline.settings import Settings
from distracted_pipeline.variants.config import VariantConfig, every_variant, load_catalogue


@dataclass(frozen=True)
class Step:
    """Some assets, at most one partition, and what to call it in the terminal.

    Attributes:
        assets: Their names, in the order of the graph.
        label: What the terminal says.
        partition: The one that is made; None where there are none.
        together: Steps that share this word may share a Dagster run: each takes moments, beside which what a run
            costs would show. Empty for a step that has a run to itself.
    """

    assets: tuple[str, ...]
    label: str
    partition: str | None = None
    together: str = ""


Item = tuple[Step, ...]
"""Steps that one process runs in this order."""

Outcome = tuple[Step, str | None]
"""A step, and why it failed; None where it did not."""

MASKS = Step(("masks",), "masks")
"""Always run: it takes moments to find that nothing is missing."""


def mask_steps(settings: Settings) -> Iterator[Step]:
    """Yield the subjects that lack masks, for several processes to make; `masks` makes whatever they leave."""
    from distracted_pipeline.masks.fill import unfinished

    for subject in unfinished(settings):
        yield Step(("subject_masks",), f"masks of {subject}", subject, together="subject_masks")


def feature_steps(settings: Settings) -> Iterator[Step]:
    """Yield the subjects that lack taps which the catalogue's variants read."""
    from distracted_pipeline.features.plan import is_filled

    for subject in settings.subjects():
        if not is_filled(settings, subject):
            yield Step(("features",), f"features {subject}", subject, together="features")


def train_steps(settings: Settings, variants: Mapping[str, VariantConfig], folds: Sequence[str]) -> Iterator[Step]:
    """Yield the trainings and predictions that are missing or no longer fit, variant by variant."""
    from distracted_pipeline.evaluation.predict import is_predicted
    from distracted_pipeline.training.checkpoint import is_trained

    for variant, entry in variants.items():
        slow = entry.checkpoint or "pixels" in entry.inputs  # whole images pass through the backbone
        together = "" if slow else variant
        for fold in folds:
            label, partition = f"{variant} fold {fold}", f"{fold}|{variant}"
            if not is_trained(settings, variant, fold):
                yield Step(("trained_model", "predictions"), label, partition, together)
            elif not is_predicted(settings, variant, fold):
                yield Step(("predictions",), label, partition, together)


def report_steps(settings: Settings, variants: Mapping[str, VariantConfig]) -> Iterator[Step]:
    """Yield tables, CAMs, site and champion where what they were made from has changed, or will by an earlier step."""
    from distracted_pipeline.evaluation.tables import tables_current
    from distracted_pipeline.explanation.explain import gradcam_current
    from distracted_pipeline.reports.build import report_current
    from distracted_pipeline.serving.champion import champion_current

    tables = tables_current(settings)
    if not tables:
        yield Step(("class_accuracy",), "class_accuracy")
    predicted = [variant for variant in variants if any((settings.predictions / variant).glob("*.parquet"))]
    stale_cams = [variant for variant in predicted if not gradcam_current(settings, variant)]
    for variant in stale_cams:
        yield Step(("gradcam",), f"gradcam {variant}", variant, together="gradcam")
    if not tables or stale_cams or not report_current(settings):
        yield Step(("report",), "report")
    if not tables or not champion_current(settings):
        yield Step(("champion",), "champion")


def unsupported(settings: Settings, variants: Mapping[str, VariantConfig]) -> dict[str, str]:
    """Return why variants cannot be trained here (another family of backbone, an extra that is not installed)."""
    from distracted_pipeline.variants.backbones import why_unsupported

    reasons = {name: why_unsupported(settings, entry) for name, entry in variants.items()}
    return {name: reason for name, reason in reasons.items() if reason}


def check_backbones(settings: Settings, variants: Mapping[str, VariantConfig]) -> None:
    """Load each backbone that variants build on and show it an image, before anything is made for it.

    Raises:
        DistractedError: One of them is not there, or cannot be used.
    """
    from distracted_pipeline.variants.backbones import load_backbone

    for name in {entry.model_name for entry in variants.values() if entry.taps}:
        load_backbone(settings, name)


def chosen_variants(settings: Settings, names: Sequence[str]) -> dict[str, VariantConfig]:
    """Return the catalogue's entries that were asked for, all if none was.

    Raises:
        DistractedError: A name is not in the catalogue, or the baseline is neither there nor trained by hand.
    """
    from distracted_pipeline.evaluation.predictions import variant_names

    catalogue = every_variant(settings) if names else load_catalogue(settings)
    unknown = [name for name in names if name not in catalogue]
    if unknown:
        raise DistractedError(
            f"no variant {', '.join(unknown)}.{did_you_mean(unknown[0], catalogue)} Choose from {', '.join(catalogue)}."
        )
    if settings.baseline not in variant_names(settings):
        raise DistractedError(
            f"DISTRACTED_BASELINE is {settings.baseline!r}, which is no variant. Set it to one of "
            f"{', '.join(catalogue)}."
        )
    return {name: entry for name, entry in catalogue.items() if not names or name in names}


def chosen_folds(names: Sequence[str]) -> tuple[str, ...]:
    """Return the folds that were asked for, all if none was; by the names that they had before, too.

    Raises:
        DistractedError: A name is no fold.
    """
    wanted = [canonical_fold(name) for name in names]
    unknown = [name for name in wanted if name not in FOLDS]
    if unknown:
        raise DistractedError(
            f"no fold {', '.join(unknown)}.{did_you_mean(unknown[0], FOLDS)} Choose from {', '.join(FOLDS)}."
        )
    return tuple(fold for fold in FOLDS if not wanted or fold in wanted)
