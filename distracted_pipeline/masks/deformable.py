"""Multi-scale deformable attention (Zhu et al., Deformable DETR, 2021) in one kernel, where a GPU has Triton.

transformers computes it level by level: `grid_sample`, then all that was read at once in memory, weighed and added up.
Here a kernel reads, weighs and adds, and what was read is never written down. It computes in fp32 whatever it is given.
With unit normal values and weights that add up to one, it differs from the loop in float64 by less than 2e-6, as the
loop in fp32 does (`test_deformable.py`).

Belongs here: when the kernel takes the place of the loop, and for how long. The kernel is `deformable_kernel`.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from itertools import accumulate
from threading import RLock
from typing import Any

import torch
from torch import Tensor, nn

from distracted_pipeline.compiling import holds

LOOP = "multi_scale_deformable_attention"
"""What transformers calls its loop, in the module of every model that has one."""

BLOCK = 32
"""Queries of a program."""

CLOSE = 1e-3
"""Furthest that the kernel may be from the loop on numbers drawn around 1, in whatever precision the loop has there."""

_REPLACING = RLock()


@contextmanager
def fused_attention(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Let the kernel take the loop's place in `model` until the block ends, where `device` can run it.

    What needs gradients goes through the loop as before. The loop is a name in the model's module, so one model at a
    time runs in such a block.
    """
    modules = [sys.modules[name] for name in _with_loop(model)] if is_there(device) else []
    modules = [module for module in modules if works(device, getattr(module, LOOP))]
    if not modules:
        yield
        return
    with _REPLACING:
        loops = [getattr(module, LOOP) for module in modules]
        try:
            for module, loop in zip(modules, loops, strict=True):
                setattr(module, LOOP, _replacement(loop, device))
            yield
        finally:
            for module, loop in zip(modules, loops, strict=True):
                setattr(module, LOOP, loop)


def is_there(device: torch.device) -> bool:
    """Tell whether a device can run the kernel."""
    return device.type == "cuda" and find_spec("triton") is not None


@cache
def works(device: torch.device, loop: Any) -> bool:
    """Tell whether a device's kernel gives what the loop gives, after trying both once on a few drawn numbers."""

    def try_it() -> str:
        gap = _gap(device, loop)
        return "" if gap < CLOSE else f"it differs from the loop by {gap:.2g}"

    return holds(try_it, "deformable attention stays a loop, without its kernel")


def _gap(device: torch.device, loop: Any) -> float:
    random, shapes = torch.Generator().manual_seed(0), [(2, 3), (4, 5)]
    value = torch.randn(2, sum(height * width for height, width in shapes), 2, 32, generator=random).to(device)
    locations = (torch.rand(2, BLOCK + 1, 2, 2, 4, 2, generator=random) * 1.4 - 0.2).to(device)
    weights = torch.rand(2, BLOCK + 1, 2, 2, 4, generator=random).to(device)
    return float((attend(value, shapes, locations, weights) - loop(value, shapes, locations, weights)).abs().max())


def attend(value: Tensor, shapes: Sequence[tuple[int, int]], locations: Tensor, weights: Tensor) -> Tensor:
    """Return what transformers' loop returns, `[B, Q, heads * depth]`; no gradient goes through.

    Args:
        value: `[B, cells of all levels, heads, depth]`.
        shapes: Height and width of each level.
        locations: `[B, Q, heads, levels, points, 2]`, x and y from 0 to 1.
        weights: `[B, Q, heads, levels, points]`.
    """
    return _attend(value, [side for shape in shapes for side in shape], locations, weights)


@torch.library.custom_op("distracted::deformable_attention", mutates_args=())
def _attend(value: Tensor, sides: list[int], locations: Tensor, weights: Tensor) -> Tensor:
    """As `attend`, a single operation to the compiler."""
    from distracted_pipeline.masks.deformable_kernel import sample

    batch, length, heads, depth = value.shape
    _, queries, _, levels, points, _ = locations.shape
    out = _empty(value, locations, weights)
    wide = 1 << (depth - 1).bit_length()
    kernel: Any = sample[(-(-queries // BLOCK), batch * heads)]
    with torch.cuda.device_of(value):  # Triton's is the current one
        kernel(
            value.contiguous(), _levels(tuple(sides), value.device), locations.contiguous(), weights.contiguous(), out,
            queries, length, HEADS=heads, LEVELS=levels, POINTS=points, DEPTH=depth, WIDE=wide, BLOCK=BLOCK,
            enable_fp_fusion=True,
        )  # fmt: skip
    return out


@_attend.register_fake
def _(value: Tensor, sides: list[int], locations: Tensor, weights: Tensor) -> Tensor:
    return _empty(value, locations, weights)


def _empty(value: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
    """Return the result's memory, of the type that the loop would have come to."""
    dtype = torch.promote_types(torch.promote_types(value.dtype, locations.dtype), weights.dtype)
    return value.new_empty((len(value), locations.shape[1], value.shape[2] * value.shape[3]), dtype=dtype)


def _replacement(loop: Any, device: torch.device) -> Any:
    def attention(value: Tensor, shapes: Any, locations: Tensor, weights: Tensor) -> Tensor:
        if torch.is_grad_enabled() or value.device.type != device.type:
            return loop(value, shapes, locations, weights)
        return attend(value, shapes, locations, weights)

    return attention


@cache
def _levels(sides: tuple[int, ...], device: torch.device) -> Tensor:
    """Return height, width and first cell of each level; kept, for copying it would hold up the device."""
    shapes = list(zip(sides[::2], sides[1::2], strict=True))
    firsts = [0, *accumulate(height * width for height, width in shapes)]
    rows = [[*shape, first] for shape, first in zip(shapes, firsts, strict=False)]
    with torch.inference_mode(False):
        return torch.tensor(rows, dtype=torch.int32, device=device)


def _with_loop(model: nn.Module) -> list[str]:
    """Return the modules whose loop the parts of a model call."""
    names = dict.fromkeys(type(part).__module__ for part in model.modules())
    return [name for name in names if hasattr(sys.modules.get(name), LOOP)]
