"""Whether every model that a run needs is here or can be fetched, asked before any work and of the hub only once.

Does not belong here: loading a model, and what is wrong with one that is there (`masks.loading`, `variants.backbones`).
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from distracted_pipeline.advice import DOCTOR
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.huggingface import lacking_weights
from distracted_pipeline.masks.identity import WEIGHT_PATTERNS
from distracted_pipeline.settings import FOLDER_PREFIX, Settings
from distracted_pipeline.variants.config import VariantConfig

TIMEOUT_S = 10.0
"""How long the hub, or a proxy before it, may be silent."""


def require_models(settings: Settings, variants: Mapping[str, VariantConfig]) -> None:
    """Look for the segmenter and for the backbones of variants, and ask the hub for those that are not here.

    Raises:
        DistractedError: Names every model that is neither here nor to be had, with the setting that names it.
    """
    absent = {name: named for name, named in _wanted(settings, variants) if not is_whole(name)}
    reasons: dict[str, str] = {}
    for name in absent:
        why = _why_not_on_hub(name)
        if why is None:
            continue
        reasons[name] = why
        if why.startswith(_SILENT):
            reasons |= {other: why for other in absent if other not in reasons}
            break
    if settings.segmenter in reasons and is_here(settings.segmenter) and not _masks_are_missing(settings):
        del reasons[settings.segmenter]  # its configuration is there, which is all that finished masks need
    reasons = {name: f"only part of it is here, and {why}" if is_here(name) else why for name, why in reasons.items()}
    if reasons:
        lines = [f"  {name}  ({absent[name]}): {why}" for name, why in reasons.items()]
        count = "1 model is" if len(lines) == 1 else f"{len(lines)} models are"
        raise DistractedError(
            f"{count} neither on this machine nor to be had:\n" + "\n".join(lines) + "\n"
            "Go online once without HF_HUB_OFFLINE; or download each model's folder on another machine, copy it here "
            f"and set what names it to that folder (in .env). Then type: {DOCTOR}"
        )


def is_here(name: str) -> bool:
    """Tell whether a model is a folder, or in the Hugging Face cache; no network is touched."""
    if name.startswith(FOLDER_PREFIX) or Path(name).is_dir():
        return True
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        return isinstance(try_to_load_from_cache(name, "config.json"), str)
    except HFValidationError:  # a path that does not exist is no valid hub id either
        return False


def is_whole(name: str) -> bool:
    """Tell whether a model is a folder, or in the Hugging Face cache with all of its weights; no network is touched."""
    if not is_here(name):
        return False
    if name.startswith(FOLDER_PREFIX) or Path(name).is_dir():
        return True  # what a folder lacks, whoever loads it says
    from huggingface_hub import try_to_load_from_cache

    folder = Path(str(try_to_load_from_cache(name, "config.json"))).parent
    return not lacking_weights(folder, WEIGHT_PATTERNS)


def _masks_are_missing(settings: Settings) -> bool:
    from distracted_pipeline.masks.fill import unfinished

    try:
        return bool(unfinished(settings))
    except DistractedError:  # no manifest yet, so no masks
        return True


_SILENT = "the Hugging Face hub does not answer"


def _why_not_on_hub(name: str) -> str | None:
    from huggingface_hub import model_info
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        model_info(name, timeout=TIMEOUT_S)
    except HFValidationError:
        return "there is no such folder, and it is no id of the hub"
    except HfHubHTTPError as error:
        code = error.response.status_code
        token = "; where one has to log in for it, HF_TOKEN or the token of `hf auth login` is refused"
        return f"the hub refuses it ({type(error).__name__}, {code}){token if code in (401, 403) else ''}"
    except Exception as error:  # whatever the network's library raises
        return f"{_SILENT} ({type(error).__name__})"
    return None


def _wanted(settings: Settings, variants: Mapping[str, VariantConfig]) -> Iterator[tuple[str, str]]:
    yield settings.segmenter, "setting DISTRACTED_SEGMENTER"
    for config in variants.values():
        if config.taps and config.model_name is None:
            yield settings.backbone, "setting DISTRACTED_BACKBONE"
        elif config.taps and config.model_name and not (settings.data / config.model_name).is_dir():
            yield config.model_name, f"model_name of variant {config.name}"
