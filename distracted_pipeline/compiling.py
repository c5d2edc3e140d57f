"""Networks through `torch.compile`, kernels written here: whether that pays, and what happens where it cannot be done.

Belongs here: what every room that compiles shares. Which batches a compiled network gets is the room's own matter: all
of one shape, for every other one is compiled anew.
"""

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn

from distracted_pipeline.memory import is_out_of_memory
from distracted_pipeline.progress import Log

Choice = Literal["auto", "on", "off"]

SEGMENTER_PAYS_FROM = 106_000
"""Images of one process from which on `auto` compiles a segmenter. Measured on one H200 (torch 2.11): compiling
Mask2Former's pixel decoder and transformer took 82 s and made 362 images/s of 283, which saves 0.77 ms an image."""

TRAINING_PAYS_FROM = math.inf
"""The same for rows times epochs of a training: `auto` compiles none, but records its steps (`recording`). From when on
compiling would pay is not known; `make bench-gpu` prints it."""

KERNELS = "TORCHINDUCTOR_CACHE_DIR"
TRITON_KERNELS = "TRITON_CACHE_DIR"
BACKEND = "inductor"

_Result = TypeVar("_Result")


def pays(choice: str, device: torch.device, images: float, pays_from: float) -> bool:
    """Tell whether to compile: `auto` does on a CUDA device for at least `pays_from` images."""
    return choice == "on" or (choice == "auto" and device.type == "cuda" and images >= pays_from)


def keep_kernels(folder: Path | None) -> None:
    """Have a folder keep what is compiled, kernels that were written here too, for the next process.

    Where the environment names another folder, or none is given, nothing changes.
    """
    if folder is not None:
        os.environ.setdefault(KERNELS, str(folder))
        os.environ.setdefault(TRITON_KERNELS, str(folder / "triton"))


def holds(try_it: Callable[[], str], otherwise: str) -> bool:
    """Tell whether nothing speaks against a kernel that was written here; print what does.

    Args:
        try_it: Runs it once and returns what speaks against it, or nothing.
        otherwise: What is done without it.
    """
    try:
        with torch.inference_mode(False):
            why = try_it()
    except Exception as error:
        if is_out_of_memory(error):
            raise
        why = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
    if why:
        print(f"{otherwise} ({why})")
    return not why


class Compiled:
    """Networks that are compiled in place when they are first called, and run as they are where that fails.

    Args:
        networks: None of them: nothing is compiled.
        kernels: As `keep_kernels`.
        log: Hears of a failure.
    """

    def __init__(self, networks: Sequence[nn.Module], kernels: Path | None, log: Log) -> None:
        self._networks = list(networks)
        self._log = log
        if not networks:
            return
        keep_kernels(kernels)
        for network in networks:
            network.compile(backend=BACKEND, dynamic=False)

    def __bool__(self) -> bool:
        """Whether there is anything compiled."""
        return bool(self._networks)

    def run(self, work: Callable[[], _Result]) -> _Result:
        """Return `work()`, which calls the networks; begun anew without compiling where that fails.

        Memory that runs out is the caller's matter.
        """
        if not self:
            return work()
        try:
            return work()
        except Exception as error:
            if is_out_of_memory(error):
                raise
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            why = " ".join([f"{type(error).__name__}:", *lines[:2]])  # the first may only say whose words follow
        # Only now: as long as the exception lived, its traceback held the tensors of what failed.
        self.undo()
        self._log(f"torch.compile failed ({why}): going on without it")
        return work()

    def bypass(self, work: Callable[[], _Result]) -> _Result:
        """Return `work()`, in which the networks run as they are, for batches of other shapes."""
        if not self:
            return work()
        with torch.compiler.set_stance("force_eager"):
            return work()

    def undo(self) -> None:
        """Let the networks run as they are again, and forget what was compiled in this process."""
        for network in self._networks:
            network._compiled_call_impl = None
        if self._networks:
            torch.compiler.reset()
        self._networks = []


def filled_up(values: Tensor, size: int, axis: int = 0) -> Tensor:
    """Return `values` with their last row along an axis repeated until there are `size`."""
    short = size - values.shape[axis]
    if short <= 0:
        return values
    last = values.narrow(axis, values.shape[axis] - 1, 1)
    return torch.cat([values, *[last] * short], axis)
