"""Which device and which precision: what the words of `RunOptions` mean on this machine.

Every room that runs a network uses it. It imports torch, so only modules that need torch anyway import it.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from distracted_pipeline.advice import DOCTOR
from distracted_pipeline.errors import DistractedError


def resolve_device(device: str = "auto") -> torch.device:
    """Return the torch device that an option names; `auto` is a GPU where there is one.

    Raises:
        DistractedError: There is no such device here.
    """
    if device == "auto":
        kind = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        return torch.device(kind)
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise DistractedError(f"no device is called {device!r}. Use auto, cpu, cuda, cuda:1 or mps.") from error
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (chosen.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not there.get(chosen.type, False):
        raise DistractedError(
            f"device {device!r} is not there: torch sees no such device. Use auto or cpu, or type: {DOCTOR}"
        )
    return chosen


def resolve_precision(precision: str, device: torch.device) -> str:
    """Return the precision for a device: `auto` is bf16 on GPUs that have it, fp16 on others, fp32 elsewhere."""
    if precision != "auto":
        return precision
    if device.type != "cuda":
        return "fp32"
    return "bf16" if torch.cuda.is_bf16_supported() else "fp16"


def autocast_dtype(precision: str, device: torch.device) -> torch.dtype | None:
    """Return the autocast type of a precision option on a device; None computes in fp32."""
    chosen = resolve_precision(precision, device)
    return {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[chosen]


@contextmanager
def determinism(wanted: bool) -> Iterator[None]:
    """Let torch use only kernels that give the same numbers in every run, if `wanted`, until the block ends.

    An operation that has none raises RuntimeError: no promise is broken in silence.
    """
    before, tried = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS starts
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        torch.backends.cudnn.benchmark = tried
