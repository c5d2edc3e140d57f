"""Whether every model that a run needs is here or can be fetched, asked before any work and of the hub only once.

Does not belong here: loading a model, and what is wrong with one that is there (`masks.loading`, `variants.backbones`).
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from distracted_pipeline.advice import DOCTOR
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.settings import FOLDER_PREFIX, Settings
from distracted_pipeline.variants.config import VariantConfig

TIMEOUT_S = 10.0


def require_models(settings: Settings, variants: Mapping[str, VariantConfig]) -> None:
    """Look for the segmenter and for the backbones of variants, and ask the hub for those that are not here.

    Raises:
        DistractedError: Names every model that is neither here nor to be had, with the setting that names it.
    """
    absent = {name: named for name, named in _wanted(settings, variants) if not is_here(name)}
    reasons: dict[str, str] = {}
    for name in absent:
        why = _why_not_on_hub(name)
        if why is None:
            continue
        reasons[name] = why
        if why.startswith(_SILENT):
            reasons |= {other: why for other in absent if other not in reasons}
            break
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


_SILENT = "the Hugging Face hub does not answer"


def _why_not_on_hub(name: str) -> str | None:
    from huggingface_hub import model_info
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        model_info(name, timeout=TIMEOUT_S)
    except HFValidationError:
        return "there is no such folder, and it is no id of the hub"
    except HfHubHTTPError as error:
        return f"the hub refuses it ({type(error).__name__})"
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
