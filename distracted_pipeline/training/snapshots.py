"""Snapshots on disk, from which a killed training resumes: one file that appears whole or not at all.

`last.safetensors` beside a model's other files, only while it is being trained: weights of the last and of the best
epoch, the optimiser's state, the history. Tensors are safetensors, all else JSON in its header; nothing is pickled.
Belongs here: writing and reading that file. What is in it is `loop.Snapshot`.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.files import atomic_path
from distracted_pipeline.training.loop import Epoch, Fit, Snapshot

LAST = "last.safetensors"

_TENSOR = "tensor"


@dataclass(frozen=True)
class Interrupted:
    """A training that was interrupted: its snapshot, the MLflow run it logs to, and how long it took so far."""

    snapshot: Snapshot
    run_id: str | None
    seconds: float


def write_last(folder: Path, fingerprint: str, interrupted: Interrupted) -> None:
    """Write a snapshot atomically, replacing the one before."""
    tensors: dict[str, Tensor] = {}
    snapshot = interrupted.snapshot
    facts = {
        "fingerprint": fingerprint,
        "run_id": interrupted.run_id,
        "seconds": interrupted.seconds,
        "history": [line.as_dict() for line in snapshot.fit.history],
        "best_epoch": snapshot.fit.best_epoch,
        "best": _packed(snapshot.fit.best, "best", tensors),
        "weights": _packed(snapshot.weights, "weights", tensors),
        "optimizer": _packed(snapshot.optimizer, "optimizer", tensors),
        "scaler": _packed(snapshot.scaler, "scaler", tensors),
    }
    with atomic_path(folder / LAST) as temporary:
        temporary.write_bytes(save(tensors, metadata={"facts": json.dumps(facts)}))


def read_last(folder: Path, fingerprint: str) -> Interrupted | None:
    """Return the snapshot of a training with this fingerprint, or None; one of another training is removed.

    Raises:
        DistractedError: The file is damaged.
    """
    path = folder / LAST
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads(file.metadata()["facts"])
            if facts["fingerprint"] != fingerprint:
                path.unlink()
                return None
            names = file.keys()
            tensors = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise DistractedError(f"{path} is damaged ({error}). Delete it, then run the command again.") from error
    fit = Fit([Epoch(**line) for line in facts["history"]], _unpacked(facts["best"], tensors), facts["best_epoch"])
    parts = (_unpacked(facts[part], tensors) for part in ("weights", "optimizer", "scaler"))
    return Interrupted(Snapshot(fit, *parts), facts["run_id"], facts["seconds"])


def _packed(value: Any, at: str, tensors: dict[str, Tensor]) -> Any:
    """Return `value` as JSON, its tensors by name in `tensors`; keys keep their types, tuples become lists."""
    if isinstance(value, Tensor):
        tensors[at] = value.detach().cpu().clone().contiguous()
        return {_TENSOR: at}
    if isinstance(value, dict):
        return {"items": [[key, _packed(item, f"{at}.{key}", tensors)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        return [_packed(item, f"{at}.{k}", tensors) for k, item in enumerate(value)]
    return value


def _unpacked(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, dict):
        if _TENSOR in value:
            return tensors[value[_TENSOR]]
        return {key: _unpacked(item, tensors) for key, item in value["items"]}
    if isinstance(value, list):
        return [_unpacked(item, tensors) for item in value]
    return value
