"""Trained weights: `config.json`, safetensors, and what an interrupted training left."""

import json
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from hypothesis import strategies as st
from safetensors.torch import save

from distracted_pipeline.dataset import STATE_FARM
from distracted_pipeline.settings import Settings
from distracted_pipeline.training.checkpoint import CONFIG, WEIGHTS, load_trained, model_folder, start_from
from distracted_pipeline.training.loop import Epoch, Fit, Snapshot
from distracted_pipeline.training.snapshots import LAST, Interrupted, read_last, write_last
from distracted_pipeline.training.team import learned_state
from distracted_pipeline.variants.config import variant_named
from distracted_pipeline.variants.networks import VariantNet, build_network
from distracted_pipeline_tests.fuzz.mutations import NASTY, Draw, as_json, deep, edited, mutated
from distracted_pipeline_tests.fuzz.reader import Reader, fresh

VARIANT = "masks_only"  # without a backbone: nothing else is loaded


@cache
def _network() -> VariantNet:
    return build_network(variant_named(Settings(data=Path("/nowhere")), VARIANT), None, STATE_FARM)


@cache
def weights() -> bytes:
    """Return the weights of a fresh network."""
    return bytes(save({name: tensor.contiguous() for name, tensor in learned_state(_network()).items()}))


@cache
def config() -> dict[str, Any]:
    """Return a `config.json` of an earlier version, which noted no digest of the weights."""
    recipe = variant_named(Settings(data=Path("/nowhere")), VARIANT).model_dump(mode="json")
    return {"config": recipe, "classes": [*STATE_FARM.class_ids], "fingerprint": "ab", "fold": "0", "replicate": 0}


@st.composite
def reheaded(draw: Draw, data: bytes) -> bytes:
    """Return safetensors whose header says other things, at a length that fits it."""
    size = int.from_bytes(data[:8], "little")
    header = draw(
        edited(
            [json.loads(data[8 : 8 + size])],
            (*NASTY, "F64", "I8", "BOOL", "F8_E4M3", [2**40, 2**40], [0, 2**63 - 1], [1]),
        )
    )
    written = as_json(header)
    return len(written).to_bytes(8, "little") + written + data[8 + size :]


def _checkpoint(folder: Path, name: str, case: bytes) -> None:
    settings = Settings(data=folder)
    place = model_folder(settings, VARIANT, "0")
    fresh(place)
    (place / WEIGHTS).write_bytes(weights())
    (place / CONFIG).write_bytes(as_json(config()))
    (place / name).write_bytes(case)
    load_trained(settings, VARIANT, "0", "cpu")


def _start(folder: Path, case: bytes) -> None:
    (fresh(folder) / WEIGHTS).write_bytes(case)
    for same in (True, False):
        start_from(_network(), folder, same_classes=same)


def _last(folder: Path, case: bytes) -> None:
    (fresh(folder) / LAST).write_bytes(case)
    read_last(folder, ["ab"], lambda line: None)


@cache
def snapshot() -> bytes:
    """Return what an interrupted training left, unsealed."""
    parts: dict[str, Any] = {"w": torch.zeros(2, 3)}
    fit = Fit([Epoch(1, 0.5, 0.5, 0.5, 0.5, 0.1, 1.0)], parts, 1)
    snap = Snapshot(fit, parts, {"state": {0: {"step": torch.ones(1)}}, "param_groups": [{"lr": 0.1}]}, None)
    with TemporaryDirectory() as folder:
        write_last(Path(folder), {"ab": Interrupted(snap, "run", 1.5)})
        data = (Path(folder) / LAST).read_bytes()
    return data.replace(b'"checksum"', b'"unsealed"')


def _weights() -> st.SearchStrategy[bytes]:
    return st.one_of(
        mutated([weights()], (b"dtype", b"shape", b"data_offsets", b"F32", b"__metadata__")), reheaded(weights())
    )


def _configs() -> st.SearchStrategy[bytes]:
    return st.one_of(edited([config()]).map(as_json), mutated([as_json(config()), deep(b"[")]))


@st.composite
def _refacted(draw: Draw, data: bytes) -> bytes:
    """Return a snapshot whose facts, JSON in the header, say other things."""
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    header["__metadata__"]["facts"] = as_json(draw(edited([json.loads(header["__metadata__"]["facts"])]))).decode()
    written = as_json(header)
    return len(written).to_bytes(8, "little") + written + data[8 + size :]


def _snapshots() -> st.SearchStrategy[bytes]:
    return st.one_of(
        _refacted(snapshot()), reheaded(snapshot()), mutated([snapshot()], (b"facts", b"shape", b"tensor"))
    )


def _config(folder: Path, case: bytes) -> None:
    _checkpoint(folder, CONFIG, case)


def _weighted(folder: Path, case: bytes) -> None:
    _checkpoint(folder, WEIGHTS, case)


def _made_weights() -> dict[str, bytes]:
    data = weights()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    vast = {**header, "classifier.bias": {**header["classifier.bias"], "shape": [2**40, 2**40]}}
    headed = {"a shape beyond 64 bits": as_json(vast), "no classifier": as_json({}), "deep": deep(b'{"a":', b"}")}
    found = {what: len(one).to_bytes(8, "little") + one + data[8 + size :] for what, one in headed.items()}
    return {
        **found,
        "a header of exabytes": b"\xff" * 8 + data[8:],
        "nothing": b"",
        "no tensor": b"\2" + bytes(7) + b"{}",
    }


READERS = [
    Reader("checkpoint_config", _config, _configs, lambda: [as_json(config())], memory_mib=256),
    Reader("checkpoint_weights", _weighted, _weights, lambda: [weights()], memory_mib=256, made=_made_weights),
    Reader("start_weights", _start, _weights, lambda: [weights()], memory_mib=256, made=_made_weights),
    Reader("snapshot", _last, _snapshots, lambda: [snapshot()], memory_mib=256, made=_made_weights),
]
