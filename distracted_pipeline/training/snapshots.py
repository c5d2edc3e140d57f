"""Snapshots on disk, from which killed trainings resume: one file that appears whole or not at all.

`last.safetensors` in a fold's folder, only while replicates are being trained there: for each of them the weights of
the last and of the best epoch, the optimiser's state, the history. One file for a team, so that all of it resumes at
the same epoch. Tensors are safetensors, all else JSON in its header; nothing is pickled.
Belongs here: writing and reading that file. What is in it is `loop.Snapshot`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from distracted_pipeline.checksums import CHECKSUM, UNSEALED, is_whole, seal
from distracted_pipeline.files import atomic_path
from distracted_pipeline.progress import Log
from distracted_pipeline.training.loop import Epoch, Fit, Snapshot

LAST = "last.safetensors"

_TENSOR = "tensor"


@dataclass(frozen=True)
class Interrupted:
    """A training that was interrupted: its snapshot, the MLflow run it logs to, and how long it took so far."""

    snapshot: Snapshot
    run_id: str | None
    seconds: float


def write_last(folder: Path, team: Mapping[str, Interrupted]) -> None:
    """Write snapshots of trainings, by their fingerprint, atomically, replacing those before."""
    tensors: dict[str, Tensor] = {}
    facts = []
    for fingerprint, interrupted in team.items():
        snapshot = interrupted.snapshot
        facts.append(
            {
                "fingerprint": fingerprint,
                "run_id": interrupted.run_id,
                "seconds": interrupted.seconds,
                "history": [line.as_dict() for line in snapshot.fit.history],
                "best_epoch": snapshot.fit.best_epoch,
                "best": _packed(snapshot.fit.best, f"{fingerprint}.best", tensors),
                "weights": _packed(snapshot.weights, f"{fingerprint}.weights", tensors),
                "optimizer": _packed(snapshot.optimizer, f"{fingerprint}.optimizer", tensors),
                "scaler": _packed(snapshot.scaler, f"{fingerprint}.scaler", tensors),
            }
        )
    with atomic_path(folder / LAST) as temporary:
        temporary.write_bytes(save(tensors, metadata={"facts": json.dumps(facts), CHECKSUM: UNSEALED}))
        seal(temporary)


def read_last(folder: Path, fingerprints: Sequence[str], log: Log = print) -> list[Interrupted]:
    """Return the snapshots of the trainings with these fingerprints, in their order; all of them or none.

    A file that lacks one of them is of other trainings, and is removed; so is a damaged one, and `log` hears of it.
    """
    path = folder / LAST
    if not path.is_file():
        return []
    try:
        if not is_whole(path):
            raise SafetensorError("it is not as it was written")
        with safe_open(path, framework="pt") as file:
            facts = {one["fingerprint"]: one for one in json.loads(file.metadata()["facts"])}
            if not facts.keys() >= set(fingerprints):
                path.unlink()
                return []
            wanted = tuple(f"{fingerprint}." for fingerprint in fingerprints)
            tensors = {name: file.get_tensor(name) for name in file.keys() if name.startswith(wanted)}  # noqa: SIM118
        return [_interrupted(facts[fingerprint], tensors) for fingerprint in fingerprints]
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        log(f"{path} is damaged ({error}): the training begins anew")
        path.unlink(missing_ok=True)
        return []


def _interrupted(facts: Mapping[str, Any], tensors: dict[str, Tensor]) -> Interrupted:
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
