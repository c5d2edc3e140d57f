"""A folder that stands alone: a variant as ONNX, and its card. What `distracted export` writes.

Belongs here: which training is meant, and where its files go. The files are `onnx_export`'s and `model_card`'s.
"""

from pathlib import Path

from distracted_pipeline.advice import RUN
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.files import write_text
from distracted_pipeline.progress import Log
from distracted_pipeline.scopes import canonical_fold
from distracted_pipeline.serving.champion import (
    ALIAS,
    ARTIFACTS,
    MODEL_ID,
    check_variant,
    required_version,
    usable_fold,
)
from distracted_pipeline.serving.export import classifier_of
from distracted_pipeline.serving.model_card import CARD, model_card, subject_of
from distracted_pipeline.serving.onnx_export import save_onnx
from distracted_pipeline.settings import Settings
from distracted_pipeline.training import tracking
from distracted_pipeline.training.checkpoint import load_trained

ONNX = "model.onnx"


def export_package(
    settings: Settings, variant: str, folder: Path, *, fold: str | None = None, log: Log = print
) -> list[Path]:
    """Write `model.onnx` and `MODEL_CARD.md`; of the champion, put both beside the registered model too.

    Args:
        settings: Where the models lie.
        variant: Of the catalogue or trained by `distracted train`, or `champion`.
        folder: Made where it is missing; files of these names in it are replaced.
        fold: Whose weights; None takes the original fold's. The champion has its own.
        log: Hears what was written.

    Raises:
        DistractedError: No such model, or the extra `onnx` is not installed.
    """
    version = required_version(settings, fold) if variant == ALIAS else None
    if version is not None:
        variant, fold = version.tags["variant"], canonical_fold(version.tags["fold"])
    else:
        check_variant(settings, variant)
    fold = fold or usable_fold(settings, variant)
    trained = load_trained(settings, variant, fold, "cpu")  # the first training
    if version is not None and trained.meta["fingerprint"] != version.tags["model_fingerprint"]:
        raise DistractedError(
            f"the registered champion (version {version.version}) is another training of {variant}, fold {fold}, "
            f"than the one in {settings.models / variant}. Type: {RUN}"
        )
    module = classifier_of(settings, trained)
    card, model = folder / CARD, folder / ONNX
    save_onnx(module, model)
    write_text(card, model_card(settings, subject_of(settings, trained, fold, module)))
    for path in (model, card):
        log(f"{path}: {path.stat().st_size / 1e6:.1f} MB" if path == model else f"{path}")
    if version is not None:
        client, _ = tracking.open_client(settings)
        logged = version.tags.get(MODEL_ID)
        for path in (model, card):
            if logged:
                client.log_model_artifact(logged, str(path))
            else:  # registered by an earlier version
                client.log_artifact(version.run_id, str(path), ARTIFACTS)
        log(f"both are in MLflow too, beside version {version.version} of the champion")
    return [model, card]
