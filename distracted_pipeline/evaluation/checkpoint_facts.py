"""What checkpoints say of themselves: how many trainings a variant has, what each was made from, what it cost.

Loads no torch, so that what is out of date can be told at once. Weights, and writing all this, are
`training.checkpoint`'s.
"""

from functools import lru_cache
from typing import Any

from pydantic import ValidationError

from distracted_pipeline.files import read_json
from distracted_pipeline.fingerprints import file_digest, fingerprint
from distracted_pipeline.scopes import fold_path
from distracted_pipeline.settings import Settings
from distracted_pipeline.variants.config import VariantConfig, every_variant, replicates_of


def model_facts(settings: Settings, variant: str, fold: str, replicate: int = 0) -> dict[str, Any]:
    """Return what training wrote beside the weights of one replicate; empty where nothing can be read."""
    return read_json(fold_path(settings.models / variant, fold) / str(replicate) / "config.json") or {}


def replicates(settings: Settings, variant: str, fold: str) -> int:
    """Return how many trainings a variant should have on a fold: by its entry, else by its first checkpoint; 0: none.

    Raises:
        DistractedError: The catalogue cannot be read.
    """
    file = settings.variants_file
    known = _catalogue(settings, file_digest(file) if file is not None and file.is_file() else "")
    config = known.get(variant) or recorded_config(settings, variant, fold)
    return 0 if config is None else replicates_of(settings, config)


def recorded_config(settings: Settings, variant: str, fold: str) -> VariantConfig | None:
    """Return the recipe that the first checkpoint of a fold says it has; None where nothing can be read."""
    try:
        return VariantConfig.model_validate(model_facts(settings, variant, fold)["config"])
    except (KeyError, ValidationError):
        return None


def all_facts(settings: Settings, variant: str, fold: str) -> list[dict[str, Any]]:
    """Return `model_facts` of all replicates; nothing where one of them is not there or cannot be read."""
    found = [model_facts(settings, variant, fold, r) for r in range(replicates(settings, variant, fold))]
    return found if all(found) else []


def model_fingerprint(settings: Settings, variant: str, fold: str) -> str:
    """Return what the checkpoints of all replicates say they were made from; empty where one cannot be read."""
    prints = [facts.get("fingerprint") for facts in all_facts(settings, variant, fold)]
    return fingerprint(prints) if prints and all(prints) else ""


@lru_cache(maxsize=4)
def _catalogue(settings: Settings, digest: str) -> dict[str, VariantConfig]:
    """Return the catalogue; `digest` is of the user's file."""
    return every_variant(settings)
