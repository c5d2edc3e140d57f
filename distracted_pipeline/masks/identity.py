"""Which segmenter the settings name, and the fingerprint of its masks, without loading weights.

Belongs here: whatever names a segmenter or changes its masks. Loading one is `loading`.
"""

import hashlib
import json
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from distracted_pipeline.advice import DOCTOR
from distracted_pipeline.dataset import Dataset
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.files import read_others_json
from distracted_pipeline.fingerprints import file_digest
from distracted_pipeline.masks.families import FAMILIES
from distracted_pipeline.masks.map_digests import NOTE_NAME, maps_digest
from distracted_pipeline.masks.segmenter import Thresholds
from distracted_pipeline.settings import FOLDER_PREFIX, Settings

CODE_VERSION = "1"
"""Part of every fingerprint: raise it when the same model would give other masks."""

GEOMETRY = "2"
"""Likewise, for models whose processor pads or crops; other models' masks do not depend on it."""

CATEGORIES = "categories"
"""Key under which the identity, and `about.json` beside the masks, say what the ids stand for."""

WEIGHT_PATTERNS = ("*.safetensors", "*.bin")
WORDS = ("tokenizer.json", "vocab.json", "merges.txt", "tokenizer_config.json")
"""Files that decide how a model is told its task, where it has to be."""

PROCESSORS = ("preprocessor_config.json", "processor_config.json")
"""Files that may say what happens to pixels; a folder holds one of them, or both."""

MODEL_FILES = ("config.json", "model.safetensors", "preprocessor_config.json")


def masks_are_given(settings: Settings) -> bool:
    """Tell whether the masks come from a folder of class maps instead of a model."""
    return settings.segmenter.startswith(FOLDER_PREFIX)


def segmenter_fingerprint(settings: Settings) -> str:
    """Return 12 hex digits over what changes the masks, without loading weights.

    For class maps that is the folder's content; for a local model its configuration and the hash of its
    weights; for a hub model its id and commit. Always the data set's categories.

    Raises:
        DistractedError: The model or folder is not there.
    """
    identity = segmenter_identity(settings)
    if settings.dataset.has_state_farms_categories:
        # Versions before knew no other categories and hashed none: left out, their caches keep their fingerprint.
        del identity[CATEGORIES]
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]


def segmenter_identity(settings: Settings) -> dict[str, Any]:
    """Return what the fingerprint is computed from, in words."""
    common: dict[str, Any] = {"stage": CODE_VERSION, CATEGORIES: named_categories(settings.dataset)}
    if masks_are_given(settings):
        folder, note = maps_folder(settings), settings.masks / NOTE_NAME
        if (panoptic := panoptic_json(folder)) is not None:
            return common | {"panoptic": file_digest(panoptic), "maps": maps_digest(panoptic.with_suffix(""), note)}
        return common | {"maps": maps_digest(folder, note)} | _whole_names(folder)
    folder = Path(settings.segmenter)
    local = folder.is_dir()
    folder = folder if local else _hub_folder(settings.segmenter)
    family = FAMILIES.get(_kind(folder))
    identity = common | {"thresholds": asdict(family.reading.thresholds if family else Thresholds())}
    if settings.segmenter_size is not None:
        identity["size"] = settings.segmenter_size
    if not local:
        return identity | {"model": settings.segmenter, "revision": folder.name} | _geometry(folder)
    weights = sorted(path for pattern in WEIGHT_PATTERNS for path in folder.glob(pattern))
    configs = [path for name in ("config.json", *PROCESSORS) if (path := folder / name).is_file()]
    there = {path.name for path in configs}
    absent = ["config.json"] if "config.json" not in there else []
    absent += [] if there & set(PROCESSORS) else [PROCESSORS[0]]
    absent += [] if weights else ["model.safetensors"]
    if absent:
        raise model_missing(settings.segmenter, f"the folder lacks {' and '.join(absent)}")
    if family and family.task:
        configs += [path for name in WORDS if (path := folder / name).is_file()]
    return identity | {
        "weights": {path.name: file_digest(path) for path in weights},
        "configuration": [file_digest(path) for path in configs],
        **_geometry(folder),
    }


def named_categories(dataset: Dataset) -> list[list[str]]:
    """Return what the ids of a mask stand for, from 1: each category's name, then its further labels."""
    return [[category.name, *category.labels] for category in dataset.categories]


def model_missing(name: str, why: str) -> DistractedError:
    """Return the error for a model that cannot be had, with what to place where."""
    return DistractedError(
        f"no segmentation model {name} ({why}). DISTRACTED_SEGMENTER names it: a Hugging Face id, which is downloaded "
        f"once where the network allows it, or a local folder that holds {', '.join(MODEL_FILES)}; `folder:PATH` takes "
        "class maps that exist already. Download the model on another machine, copy its folder here, "
        f"set DISTRACTED_SEGMENTER to it (in .env), then type: {DOCTOR}"
    )


def maps_folder(settings: Settings) -> Path:
    """Return the folder that `folder:PATH` names.

    Raises:
        DistractedError: It is not there.
    """
    bare = Path(settings.segmenter.removeprefix(FOLDER_PREFIX)).expanduser()
    folder = bare if bare.is_absolute() else settings.data / bare
    if not folder.is_dir():
        raise DistractedError(
            f"DISTRACTED_SEGMENTER is {settings.segmenter}, but there is no folder {folder}. "
            "Put one class map per image there (img_1.png or img_1.jpg.npz, uint8 ids "
            f"0..{len(settings.dataset.categories)}), or name a segmentation model; then type: {DOCTOR}"
        )
    return folder


def panoptic_json(folder: Path) -> Path | None:
    """Return the JSON of a COCO panoptic export, its PNGs in a folder of the same name; None among plain class maps.

    Raises:
        DistractedError: There are several.
    """
    found = sorted(path for path in folder.glob("*.json") if path.with_suffix("").is_dir())
    if not found or any(path.suffix in (".png", ".npz") for path in folder.iterdir()):
        return None
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise DistractedError(f"{folder} holds several COCO panoptic exports ({names}). Give each a folder of its own.")
    return found[0]


def hub_revision(model: str) -> str:
    """Return the commit of the model in the local Hugging Face cache, fetching its configuration if there is none."""
    return _hub_folder(model).name


def _hub_folder(model: str) -> Path:
    """Return the folder of a hub model's configuration and processor, fetched if they are not on this machine."""
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, HFValidationError

    try:
        path = try_to_load_from_cache(model, "config.json")
        if not isinstance(path, str):
            path = hf_hub_download(model, "config.json")
            for name in PROCESSORS:
                with suppress(EntryNotFoundError):  # a model has one of them
                    hf_hub_download(model, name)
    except (OSError, HFValidationError) as error:
        raise model_missing(model, f"{type(error).__name__}: {str(error).splitlines()[0]}") from error
    return Path(path).parent


def _kind(folder: Path) -> str:
    """Return what kind of model a folder holds; whoever loads it says what is wrong with its configuration."""
    with suppress(OSError, ValueError):
        return str(read_others_json(folder / "config.json").get("model_type"))
    return ""


def _geometry(folder: Path) -> dict[str, str]:
    """Return what the fingerprint of a model holds because of how its maps are laid back onto frames."""
    for path in (folder / name for name in PROCESSORS):
        with suppress(OSError, ValueError):  # whoever loads the model says what is wrong with it
            facts = read_others_json(path)
            inner = facts.get("image_processor")
            facts = inner if isinstance(inner, dict) else facts
            if any(facts.get(name) for name in ("do_pad", "pad_size", "do_center_crop")):
                return {"geometry": GEOMETRY}
    return {}


def _whole_names(folder: Path) -> dict[str, str]:
    """Return what the fingerprint of given maps holds where an image's whole name chooses between two of them."""
    names = [path.name for path in folder.iterdir() if path.suffix in (".png", ".npz")]
    stems = [Path(name.rpartition(".")[0]).stem for name in names]
    return {"order": "whole name first"} if len(set(stems)) < len(stems) else {}
