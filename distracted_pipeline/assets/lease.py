"""One process, one GPU: a lease per physical GPU of this machine, held until the process ends.

Dagster assigns no device to steps on one machine, so two steps at once would share GPU 0. Each GPU has a lock
file; the process that holds it uses that GPU alone, unless `distracted run --per-gpu` shares it out: then there is a
lock for each share. The kernel releases the lock however that process ends, kill -9 included. On Ray and Kubernetes the
scheduler chooses the devices that a process sees; the lease is taken among those.
Does not belong here: how many GPUs an op wants (`compute`), what is done with one (`distracted_pipeline.devices`).
"""

import os
import sys
import tempfile
import time
from pathlib import Path

from filelock import FileLock, Timeout

from distracted_pipeline.advice import DOCTOR
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.progress import INTERVAL_S, Log
from distracted_pipeline.settings import PER_GPU, count_of, variable

FOLDER_VARIABLE = "DISTRACTED_GPU_LEASES"
"""Folder of the lock files; name one that all users share where several people use the machine's GPUs."""

VISIBLE = "CUDA_VISIBLE_DEVICES"
_POLL_S = 0.5

_held: dict[str, FileLock] = {}
"""The lease of this process, by GPU id: at most one, never given back before the process ends."""

_claimed_as: dict[str, str] = {}
"""By GPU id, what it was called when it was claimed: `cuda:1` means the same GPU when the next step says it."""


def claim_gpu(device: str, log: Log) -> str:
    """Take a GPU for the rest of this process, waiting for a free one, and return the device to use.

    Call it before anything touches CUDA: the process then sees its own GPU only. In a process that has used CUDA
    already (a notebook), the device returned names the GPU by its index instead.

    Args:
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`; all but `auto` and `cuda` names come back as they are.
        log: Hears of it while all GPUs are taken.

    Raises:
        DistractedError: There is no such GPU, this process holds another one, or the folder of the leases cannot
            be written.
    """
    if device != "auto" and not device.startswith("cuda"):
        return device
    if _held:
        return _again(device)
    gpus = visible_gpus()
    if not gpus:
        if device == "auto":
            return device
        raise DistractedError(
            f"device {device}: this machine has no GPU that CUDA can see. Use auto or cpu, or type: {DOCTOR}"
        )
    wanted = [_nth(gpus, device)] if ":" in device else gpus
    gpu = _wait_for_one(wanted, log)
    _claimed_as[gpu] = device
    if "torch" in sys.modules and sys.modules["torch"].cuda.is_initialized():
        return f"cuda:{gpus.index(gpu)}"
    os.environ[VISIBLE] = gpu
    return "cuda"


def visible_gpus() -> list[str]:
    """Return the ids of the GPUs this process may use, as `CUDA_VISIBLE_DEVICES` writes them."""
    named = os.environ.get(VISIBLE)
    if named is not None:
        return [name.strip() for name in named.split(",") if name.strip() not in ("", "-1")]
    import torch

    # Counts through NVML. Asking whether CUDA is available would fix the visible devices for good.
    return [str(index) for index in range(torch.cuda.device_count())]


def lease_folder() -> Path:
    """Return where the lock files lie."""
    owner = os.getuid() if hasattr(os, "getuid") else "user"
    return Path(variable(FOLDER_VARIABLE) or Path(tempfile.gettempdir()) / f"distracted-gpu-leases-{owner}")


def _again(device: str) -> str:
    (gpu,) = _held
    if ":" in device and os.environ.get(VISIBLE) == gpu and device not in ("cuda:0", _claimed_as.get(gpu)):
        raise DistractedError(
            f"device {device}: this process uses GPU {gpu} already, and one process uses one GPU. "
            f"Start it in a process of its own, or set device: cuda"
        )
    return "cuda" if os.environ.get(VISIBLE) == gpu else f"cuda:{visible_gpus().index(gpu)}"


def _nth(gpus: list[str], device: str) -> str:
    index = device.partition(":")[2]
    if not index.isdigit() or int(index) >= len(gpus):
        raise DistractedError(
            f"device {device}: there is no such GPU; visible are {', '.join(gpus)} as cuda:0 to cuda:{len(gpus) - 1}. "
            "Use auto, or one of these."
        )
    return gpus[int(index)]


def _wait_for_one(gpus: list[str], log: Log) -> str:
    folder = lease_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        spoke = -INTERVAL_S
        while True:
            for gpu in gpus:
                if _try(folder, gpu):
                    return gpu
            if time.monotonic() - spoke > INTERVAL_S:
                spoke = time.monotonic()
                log(f"waiting for a GPU: {', '.join(gpus)} in use by other processes (leases in {folder})")
            time.sleep(_POLL_S)
    except OSError as error:
        raise DistractedError(
            f"cannot write a GPU lease in {folder}: {error.strerror or error}. "
            f"Make the folder writable, or set {FOLDER_VARIABLE} to one that is."
        ) from error


def _try(folder: Path, gpu: str) -> bool:
    name = f"gpu-{gpu.replace('/', '-')}"  # a MIG device is named MIG-GPU-<uuid>/1/0
    for share in range(count_of(PER_GPU) or 1):
        lock = FileLock(folder / (f"{name}.{share}.lock" if share else f"{name}.lock"), timeout=0, thread_local=False)
        try:
            lock.acquire()
        except Timeout:
            continue
        _held[gpu] = lock
        return True
    return False
