"""Trained variants on disk: the weights that learned, and everything needed to know what they are.

`models/<variant>/<fold>/<replicate>/model.safetensors` holds only what learned, here or in the checkpoint this one
started from; `config.json`, written last with their digest, is the commit. Belongs here: writing, reading, and telling
whether a checkpoint is current. Not here: training (`train`), and what an interrupted training leaves (`snapshots`).
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save

from distracted_pipeline.advice import materialize_fold
from distracted_pipeline.checksums import all_as_listed, file_digest
from distracted_pipeline.devices import resolve_device
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.files import atomic_path, read_json, write_json
from distracted_pipeline.fingerprints import fingerprint
from distracted_pipeline.images.folds import fold_rows
from distracted_pipeline.images.manifest import data_fingerprint, labelled, read_manifest
from distracted_pipeline.scopes import canonical_fold, fold_path
from distracted_pipeline.settings import Settings
from distracted_pipeline.training.team import State, load_learned
from distracted_pipeline.variants.backbones import backbone_fingerprint, load_backbone
from distracted_pipeline.variants.config import VariantConfig, load_catalogue, replicates_of, variant_named
from distracted_pipeline.variants.kinds import FRACTIONS
from distracted_pipeline.variants.networks import VariantNet, build_network

CODE_VERSION = "3"
"""Raise it when the same inputs would train other weights."""

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
LAST_GOOD = "last_good.safetensors"
WEIGHTS_DIGEST = "weights_sha256"


@dataclass(frozen=True)
class Trained:
    """A trained variant, ready to predict.

    Attributes:
        net: The network, in eval mode, on its device; nothing requires gradients.
        config: The variant as it was trained.
        meta: The rest of `config.json`: history, best_epoch, fingerprints, parameters, seconds, mlflow_run_id, ...
    """

    net: VariantNet
    config: VariantConfig
    meta: dict[str, Any]


def fold_folder(settings: Settings, variant: str, fold: str) -> Path:
    """Return where a variant's checkpoints of a fold lie, a folder for each replicate."""
    return fold_path(settings.models / variant, fold)


def model_folder(settings: Settings, variant: str, fold: str, replicate: int = 0) -> Path:
    """Return where the checkpoint of one training of a variant on a fold lies."""
    return fold_folder(settings, variant, fold) / str(replicate)


def fingerprints(settings: Settings, config: VariantConfig, fold: str, replicate: int = 0) -> dict[str, str]:
    """Return what the checkpoint of one training depends on, each as a short hash or version.

    Raises:
        DistractedError: There is no manifest, the backbone is not there, or the starting checkpoint is no variant of
            the catalogue and is not trained.
    """
    found = {
        "config_fingerprint": config.fingerprint(),
        "seed": str(config.training_seed(fold, replicate)),
        "code_version": CODE_VERSION,
        "classes_fingerprint": fingerprint(settings.dataset.class_ids),
        "data_fingerprint": _data_fingerprint(settings),
        "rows_fingerprint": _rows_fingerprint(settings, fold),
        "backbone_fingerprint": backbone_fingerprint(settings, config.model_name) if config.taps else "",
        "masks_fingerprint": "",
        "start_fingerprint": "",
    }
    if FRACTIONS in config.inputs:
        from distracted_pipeline.masks.identity import segmenter_fingerprint

        found["masks_fingerprint"] = segmenter_fingerprint(settings)
    if config.checkpoint:
        found["start_fingerprint"] = _start_fingerprint(settings, config, fold, replicate)
    joined = json.dumps(found, sort_keys=True).encode()
    return {"fingerprint": hashlib.sha256(joined).hexdigest()[:12], **found}


def is_trained(settings: Settings, variant: str, fold: str) -> bool:
    """Tell whether all replicates are there and fit variant, data, masks, backbone and code as they are now."""
    return not untrained(settings, variant_named(settings, variant), fold)


def untrained(settings: Settings, config: VariantConfig, fold: str) -> dict[int, dict[str, str]]:
    """Return the replicates of a variant whose checkpoints are missing or stale, each with its `fingerprints`."""
    found: dict[int, dict[str, str]] = {}
    for replicate in range(replicates_of(settings, config)):
        prints = fingerprints(settings, config, fold, replicate)
        folder = model_folder(settings, config.name, fold, replicate)
        meta = find_meta(folder)
        if meta is None or meta["fingerprint"] != prints["fingerprint"] or not weights_are_whole(folder, meta):
            found[replicate] = prints
    return found


def clear_former(folder: Path) -> None:
    """Remove a checkpoint that an earlier version, which trained once on each fold, wrote into the fold's folder."""
    for name in (CONFIG, WEIGHTS, LAST_GOOD):
        (folder / name).unlink(missing_ok=True)


def write_checkpoint(folder: Path, state: State, meta: dict[str, Any]) -> None:
    """Write weights, then `config.json`; a crash in between leaves no checkpoint rather than a mixed one."""
    (folder / CONFIG).unlink(missing_ok=True)
    write_weights(folder / WEIGHTS, state)
    write_json(folder / CONFIG, {**meta, WEIGHTS_DIGEST: file_digest(folder / WEIGHTS)})
    (folder / LAST_GOOD).unlink(missing_ok=True)


def write_weights(path: Path, state: State) -> None:
    """Write weights atomically as safetensors."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(save({name: tensor.contiguous() for name, tensor in state.items()}))


def find_meta(folder: Path) -> dict[str, Any] | None:
    """Return `config.json` of a checkpoint, or None: there is none, or only one that this version cannot read."""
    meta = read_json(folder / CONFIG) or {}
    named = all(isinstance(meta.get(key), str) for key in ("fingerprint", "fold"))
    classes = meta.get("classes")
    listed = isinstance(classes, list) and all(isinstance(name, str) for name in classes)
    return meta if named and listed and isinstance(meta.get("config"), dict) else None


def weights_are_whole(folder: Path, meta: Mapping[str, Any]) -> bool:
    """Tell whether the weights beside a `config.json` are those that it was written with.

    Earlier versions noted no digest; of their weights only the header is read, which tells how long the file is.
    """
    digest = meta.get(WEIGHTS_DIGEST)
    if digest is not None:
        return all_as_listed(folder, {WEIGHTS: digest})
    try:
        with safe_open(folder / WEIGHTS, framework="pt"):
            return True
    except (OSError, SafetensorError):
        return False


def read_meta(folder: Path) -> dict[str, Any]:
    """Return `config.json` of a checkpoint.

    Raises:
        DistractedError: There is none that this version can read.
    """
    meta = find_meta(folder)
    if meta is None:
        former = any((place / CONFIG).is_file() for place in (folder, folder.parent))
        another = " (what lies there is damaged, or of another version)" if former else ""
        variant, fold = folder.parts[-3:-1]
        raise DistractedError(
            f"there is no trained model in {folder}{another}. Train it: "
            f"{materialize_fold('trained_model', variant, canonical_fold(fold))}"
        )
    return meta


def load_trained(settings: Settings, variant: str, fold: str, device: str = "auto", replicate: int = 0) -> Trained:
    """Return one trained replicate of a variant with its backbone, in eval mode.

    Raises:
        DistractedError: It is not trained, its files are damaged, or it was trained on other classes than the data
            set's or on another backbone.
    """
    folder = model_folder(settings, variant, fold, replicate)
    meta = read_meta(folder)
    again = f"Train it again: {materialize_fold('trained_model', variant, fold)}"
    try:
        config = VariantConfig.model_validate(meta["config"])
    except ValidationError as error:
        raise DistractedError(f"{folder / CONFIG} holds no recipe that this version can train. {again}") from error
    if tuple(meta["classes"]) != settings.dataset.class_ids:
        raise DistractedError(
            f"{folder} was trained on the classes {', '.join(meta['classes'])}, not on those of "
            f"{settings.dataset.name} ({', '.join(settings.dataset.class_ids)}). {again}"
        )
    backbone = None
    if config.taps:
        backbone = load_backbone(settings, config.model_name)
        if backbone.fingerprint != meta["backbone_fingerprint"]:
            raise DistractedError(
                f"{folder} was trained on another backbone than {backbone.name} is now "
                f"({meta['backbone_fingerprint']}, now {backbone.fingerprint}). {again}"
            )
    net = build_network(config, backbone, settings.dataset)
    if not weights_are_whole(folder, meta):
        raise DistractedError(f"{folder / WEIGHTS} is missing or damaged. {again}")
    try:
        inherited = _load_all(net, load_file(folder / WEIGHTS))
    except (OSError, SafetensorError, KeyError, RuntimeError) as error:
        raise DistractedError(f"{folder / WEIGHTS} is missing or damaged ({error}). {again}") from error
    net.own_body = inherited
    return Trained(net.to(resolve_device(device)).eval().requires_grad_(False), config, meta)


def start_variant(settings: Settings, config: VariantConfig) -> str | None:
    """Return the catalogue's variant that a variant starts from, or None: it starts afresh, or elsewhere."""
    return config.checkpoint if config.checkpoint in load_catalogue(settings) else None


def start_folder(settings: Settings, config: VariantConfig, fold: str, replicate: int = 0) -> Path:
    """Return the folder a training starts from: the same replicate of another variant on the same fold, or as given.

    Raises:
        DistractedError: A given folder was trained on another fold, so it may know the held-out drivers.
    """
    assert config.checkpoint
    named = model_folder(settings, config.checkpoint, fold, replicate)
    folder = named if (named / CONFIG).is_file() or "/" not in config.checkpoint else Path(config.checkpoint)
    meta = read_meta(folder)
    if meta["fold"] != fold:
        raise DistractedError(
            f"variant {config.name}: checkpoint {folder} was trained on fold {meta['fold']} and may know the drivers "
            f"that fold {fold} holds out. Name a variant instead: its checkpoint of the same fold is then taken."
        )
    return folder


def start_from(net: VariantNet, folder: Path, *, same_classes: bool) -> tuple[State, bool]:
    """Put the weights of another checkpoint into `net`, frozen parts included.

    A classifier of other classes or of another shape is left out. Where frozen weights changed, `net.own_body` is set.

    Returns:
        The weights that do not learn here, and that a checkpoint of `net` therefore has to keep as well; and whether
        the classifier is still the fresh one.

    Raises:
        DistractedError: The checkpoint holds weights that have no place in `net`.
    """
    try:
        state = load_file(folder / WEIGHTS)
    except (OSError, SafetensorError, ValueError) as error:
        raise DistractedError(
            f"checkpoint {folder / WEIGHTS} is missing or damaged ({error}). Train it again, or name another start."
        ) from error
    places = dict(net.named_parameters())
    inherited: State = {}
    for name, tensor in state.items():
        fits = name in places and places[name].shape == tensor.shape
        if name.startswith("classifier.") and not (fits and same_classes):
            continue
        if not fits:
            raise DistractedError(
                f"checkpoint {folder} holds {name} {tuple(tensor.shape)}, which has no place here. "
                "Start from a variant of the same kind, or from fine_tune."
            )
        with torch.no_grad():
            places[name].copy_(tensor)
        if not places[name].requires_grad:
            inherited[name] = tensor
    net.own_body = bool(inherited)
    kept = "classifier.weight" in state and places["classifier.weight"].shape == state["classifier.weight"].shape
    return inherited, not (same_classes and kept)


def _load_all(net: VariantNet, state: State) -> bool:
    """Put a checkpoint's weights into `net`; return whether some of them do not learn in it."""
    load_learned(net, state)
    learning = {name for name, _ in net.learning()}
    places = dict(net.named_parameters())
    with torch.no_grad():
        for name in state.keys() - learning:
            places[name].copy_(state[name])
    return bool(state.keys() - learning)


def _start_fingerprint(settings: Settings, config: VariantConfig, fold: str, replicate: int) -> str:
    """Return the fingerprint that the start should have now: where the start is stale, so is what starts from it."""
    variant = start_variant(settings, config)
    if variant is not None:
        return fingerprints(settings, variant_named(settings, variant), fold, replicate)["fingerprint"]
    return str(read_meta(start_folder(settings, config, fold, replicate))["fingerprint"])


def _data_fingerprint(settings: Settings) -> str:
    return _manifest(settings)[1]


def _rows_fingerprint(settings: Settings, fold: str) -> str:
    """Hash which images train and which choose the epoch: folds may be drawn anew over the same images."""
    table, _ = _manifest(settings)
    rows = fold_rows(table, fold)
    names = table["img"].to_numpy(zero_copy_only=False)
    return hashlib.sha256("\n".join([*names[rows.train], "", *names[rows.validation]]).encode()).hexdigest()[:12]


def _manifest(settings: Settings) -> tuple[pa.Table, str]:
    path = settings.manifest
    stamp = path.stat().st_mtime_ns if path.is_file() else 0
    return _read_manifest(settings, stamp)


@lru_cache(maxsize=2)
def _read_manifest(settings: Settings, stamp: int) -> tuple[pa.Table, str]:
    table = labelled(read_manifest(settings))
    return table, data_fingerprint(table)
