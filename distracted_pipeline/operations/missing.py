"""What `distracted run` still has to do, read from the files of a data root and never from Dagster's history.

Belongs here: the steps, in the order of the graph. Running them is `pipeline`; whether one asset's files are
complete is for its room to say.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.settings import Settings
from distracted_pipeline.variants.config import VariantConfig, load_catalogue
from distracted_pipeline.vocabulary import FOLDS


@dataclass(frozen=True)
class Step:
    """One Dagster run: some assets, at most one partition, and what to call it in the terminal."""

    assets: tuple[str, ...]
    label: str
    partition: str | None = None


MASKS = Step(("masks",), "masks")
"""Always run: nothing to do is quickly said."""


def feature_steps(settings: Settings) -> Iterator[Step]:
    """Subjects that lack taps which the catalogue's variants read."""
    from distracted_pipeline.features.plan import is_filled

    for subject in settings.subjects():
        if not is_filled(settings, subject):
            yield Step(("features",), f"features {subject}", subject)


def train_steps(settings: Settings, variants: Mapping[str, VariantConfig], folds: Sequence[str]) -> Iterator[Step]:
    """Trainings and predictions that are missing or no longer fit, variant by variant."""
    from distracted_pipeline.evaluation.predict import is_predicted
    from distracted_pipeline.training.checkpoint import is_trained

    for variant in variants:
        for fold in folds:
            label, partition = f"{variant} fold {fold}", f"{fold}|{variant}"
            if not is_trained(settings, variant, fold):
                yield Step(("trained_model", "predictions"), label, partition)
            elif not is_predicted(settings, variant, fold):
                yield Step(("predictions",), label, partition)


def report_steps(settings: Settings, variants: Mapping[str, VariantConfig]) -> Iterator[Step]:
    """Tables, CAMs, site and champion, made again where an input is newer than the output."""
    tables = settings.evaluation / "class_accuracy.parquet"
    stale_tables = is_stale(tables, [*settings.predictions.glob("*/*.parquet"), settings.manifest])
    if stale_tables:
        yield Step(("class_accuracy",), "class_accuracy")
    stale_cams = False
    for variant in variants:
        own = [*(settings.predictions / variant).glob("*.parquet"), *(settings.models / variant).glob("*/config.json")]
        if own and is_stale(settings.evaluation / "gradcam" / variant / "rows.parquet", own):
            stale_cams = True
            yield Step(("gradcam",), f"gradcam {variant}", variant)
    if stale_tables or stale_cams or is_stale(settings.reports / "latest" / "index.html", [tables]):
        yield Step(("report",), "report")
    if stale_tables or is_stale(settings.evaluation / "champion.json", [tables]):
        yield Step(("champion",), "champion")


def is_stale(output: Path, inputs: Sequence[Path]) -> bool:
    """Tell whether `output` is missing or older than any input that exists, as make would."""
    if not output.exists():
        return True
    written = output.stat().st_mtime_ns
    return any(path.exists() and path.stat().st_mtime_ns > written for path in inputs)


def unsupported(settings: Settings, variants: Mapping[str, VariantConfig]) -> dict[str, str]:
    """Return why variants cannot be trained here (another family of backbone, an extra that is not installed)."""
    from distracted_pipeline.variants.backbones import why_unsupported

    reasons = {name: why_unsupported(settings, entry.kind, entry.model_name) for name, entry in variants.items()}
    return {name: reason for name, reason in reasons.items() if reason}


def chosen_variants(settings: Settings, names: Sequence[str]) -> dict[str, VariantConfig]:
    """Return the catalogue's entries that were asked for, all if none was.

    Raises:
        DistractedError: A name is not in the catalogue.
    """
    catalogue = load_catalogue(settings)
    unknown = [name for name in names if name not in catalogue]
    if unknown:
        raise DistractedError(f"no variant {', '.join(unknown)}: choose from {', '.join(catalogue)}.")
    return {name: entry for name, entry in catalogue.items() if not names or name in names}


def chosen_folds(names: Sequence[str]) -> tuple[str, ...]:
    """Return the folds that were asked for, all if none was.

    Raises:
        DistractedError: A name is no fold.
    """
    unknown = [name for name in names if name not in FOLDS]
    if unknown:
        raise DistractedError(f"no fold {', '.join(unknown)}: choose from {', '.join(FOLDS)}.")
    return tuple(fold for fold in FOLDS if not names or fold in names)
