"""Which segmenter the settings name, and the fingerprint of its masks, without loading weights.

Belongs here: everything that names a segmenter or changes its masks. Loading one is `loading`.
"""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.files import locked, write_json
from distracted_pipeline.masks.segmenter import Thresholds
from distracted_pipeline.settings import FOLDER_PREFIX, Settings

CODE_VERSION = "1"
"""Part of every fingerprint: raise it when the same model would give other masks."""

WEIGHT_PATTERNS = ("*.safetensors", "*.bin")
MODEL_FILES = ("config.json", "model.safetensors", "preprocessor_config.json")


def masks_are_given(settings: Settings) -> bool:
    """Tell whether the masks come from a folder of class maps instead of a model."""
    return settings.segmenter.startswith(FOLDER_PREFIX)


def segmenter_fingerprint(settings: Settings) -> str:
    """Return 12 hex digits over what changes the masks, without loading weights.

    For class maps that is the folder's listing; for a local model its configuration and the hash of its
    weights; for a hub model its id and commit.

    Raises:
        DistractedError: The model or folder is not there.
    """
    identity = json.dumps(segmenter_identity(settings), sort_keys=True)
    return hashlib.sha256(identity.encode()).hexdigest()[:12]


def segmenter_identity(settings: Settings) -> dict[str, Any]:
    """Return what the fingerprint is computed from, in words."""
    if masks_are_given(settings):
        return {"stage": CODE_VERSION, "maps": _listing_hash(given_folder(settings))}
    identity: dict[str, Any] = {"stage": CODE_VERSION, "thresholds": asdict(Thresholds())}
    folder = Path(settings.segmenter)
    if not folder.is_dir():
        return identity | {"model": settings.segmenter, "revision": hub_revision(settings.segmenter)}
    weights = sorted(path for pattern in WEIGHT_PATTERNS for path in folder.glob(pattern))
    configs = [folder / "config.json", folder / "preprocessor_config.json"]
    absent = [path.name for path in configs if not path.is_file()] + ([] if weights else ["model.safetensors"])
    if absent:
        raise model_missing(settings.segmenter, f"the folder lacks {' and '.join(absent)}")
    return identity | {
        "weights": {path.name: _weights_hash(settings, path) for path in weights},
        "configuration": [hashlib.sha256(path.read_bytes()).hexdigest() for path in configs],
    }


def model_missing(name: str, why: str) -> DistractedError:
    """Return the error for a model that cannot be had, with what to place where."""
    return DistractedError(
        f"no segmentation model {name} ({why}). DISTRACTED_SEGMENTER names it: a Hugging Face id, which is downloaded "
        f"once where the network allows it, or a local folder that holds {', '.join(MODEL_FILES)}; `folder:PATH` takes "
        "class maps that exist already. Download the model on another machine, copy its folder here, "
        "set DISTRACTED_SEGMENTER to it (in .env), then type: distracted doctor"
    )


def given_folder(settings: Settings) -> Path:
    """Return the folder that `folder:PATH` names.

    Raises:
        DistractedError: It is not there.
    """
    bare = Path(settings.segmenter.removeprefix(FOLDER_PREFIX)).expanduser()
    folder = bare if bare.is_absolute() else settings.data / bare
    if not folder.is_dir():
        raise DistractedError(
            f"DISTRACTED_SEGMENTER is {settings.segmenter}, but there is no folder {folder}. "
            "Put one class map per image there (img_1.png or img_1.jpg.npz, uint8 ids 0..6), "
            "or name a segmentation model; then type: distracted doctor"
        )
    return folder


def _listing_hash(folder: Path) -> str:
    listing = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.suffix in (".png", ".npz")):
        status = path.stat()
        listing.update(f"{path.name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return listing.hexdigest()


def hub_revision(model: str) -> str:
    """Return the commit of the model in the local Hugging Face cache, fetching its config if there is none."""
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        path = try_to_load_from_cache(model, "config.json")
        if not isinstance(path, str):
            path = hf_hub_download(model, "config.json")
    except (OSError, HFValidationError) as error:
        raise model_missing(model, f"{type(error).__name__}: {str(error).splitlines()[0]}") from error
    return Path(path).parent.name


def _weights_hash(settings: Settings, path: Path) -> str:
    """Return the SHA-256 of a weights file, remembered by its size and time of change."""
    memory = settings.masks / "weights.json"
    status = path.stat()
    key, stamp = str(path.resolve()), [status.st_size, status.st_mtime_ns]
    known = _read_memory(memory)
    if known.get(key, [None])[:-1] == stamp:
        return str(known[key][-1])
    with path.open("rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
    with locked(settings.masks / ".weights.lock", what="the list of hashed weights"):
        write_json(memory, _read_memory(memory) | {key: [*stamp, digest]})
    return digest


def _read_memory(memory: Path) -> dict[str, list[Any]]:
    return json.loads(memory.read_text(encoding="utf-8")) if memory.is_file() else {}
