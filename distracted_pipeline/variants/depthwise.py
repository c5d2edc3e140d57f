"""Depthwise convolutions, channels last, by kernels of this project's own where a GPU has Triton.

cuDNN compiles a kernel for every shape and direction of them, in every process anew: 11 to 19 s of EfficientNet-B3's
first epoch on an H200. One Triton kernel serves all shapes, and what was compiled is kept for the next process. They
compute in fp32, sum in one order, and differ from convolutions in float64 by rounding alone (`test_depthwise.py`).

A process first tries both ways on one layer, and takes the kernels where they give the same in no more time; where
results must be the same in every process, it takes them for being right alone.

Belongs here: when the kernels take cuDNN's place, and how they are called. The kernels are `depthwise_kernels`.
"""

from functools import cache
from importlib.util import find_spec
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from distracted_pipeline.compiling import holds

BLOCK: Final = 64
"""Positions of a program."""

CHANNELS: Final = 32
"""Channels of a program."""

PROGRAMS: Final = 2048
"""Programs that share the sums of a kernel's gradient: a few for each of a GPU's processors."""

CLOSE: Final = 0.01
"""Furthest that they may be from float64, relative to the largest number, with maps in half precision."""

LAYER: Final = (32, 816, 19, 19, 5)
"""Images, channels, height, width and kernel of the layer that both ways are timed on: one of EfficientNet-B3's."""

_TURNS: Final = 5

_WAIT: Final = 20_000_000
"""Cycles, some 10 ms, that a GPU waits before it is timed. Kernels are launched meanwhile, so launching does not count:
in a recorded step it costs nothing either."""


class DepthwiseConv(nn.Conv2d):
    """A depthwise convolution that takes the kernels where they are faster, and is torch's everywhere else."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Return what torch's would; in autocast's type if that is on."""
        if not is_usable(input):
            return super()._conv_forward(input, weight, bias)
        kind = input.device.type
        if torch.is_autocast_enabled(kind):
            input = input.to(torch.get_autocast_dtype(kind))
        padding = 0 if self.padding == "valid" else self.kernel_size[0] // 2
        return convolve(input, weight, bias, self.stride[0], padding)


def with_kernels(conv: nn.Conv2d) -> nn.Conv2d:
    """Return a convolution of the same parameters that may take the kernels; itself if it is none that they can do."""
    size, stride = conv.kernel_size, conv.stride
    padding = (size[0] // 2,) * 2
    if not (
        conv.groups == conv.in_channels == conv.out_channels
        and conv.in_channels % 8 == 0
        and size in ((3, 3), (5, 5))
        and stride in ((1, 1), (2, 2))
        and conv.dilation == (1, 1)
        and conv.padding_mode == "zeros"
        and conv.padding in ("same", "valid", (0, 0), padding)
    ):
        return conv
    whole = "valid" if conv.padding == (0, 0) else conv.padding
    channels = conv.in_channels
    ours = DepthwiseConv(channels, channels, size, stride, whole, groups=channels, bias=False, device="meta")
    ours.weight, ours.bias = conv.weight, conv.bias
    return ours.train(conv.training)


def is_usable(x: Tensor) -> bool:
    """Tell whether the kernels are to convolve `x`; a compiler writes its own."""
    if not x.is_cuda or x.dtype is torch.float64 or torch.compiler.is_compiling():
        return False
    return pays(x.device, timed=not torch.are_deterministic_algorithms_enabled())


@cache
def pays(device: torch.device, *, timed: bool) -> bool:
    """Tell whether the kernels are right on a device and no slower than torch, after trying both once.

    Args:
        device: Where they would run.
        timed: Whether time counts. What is to come out the same in every process cannot depend on it.
    """
    return find_spec("triton") is not None and holds(
        lambda: _why_not(device, timed), "depthwise convolutions stay with torch, without their kernels"
    )


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int) -> Tensor:
    """Return the depthwise convolution of `x`, channels last and of its type; gradients go through.

    Args:
        x: `[B, C, H, W]`, C a multiple of 8.
        weight: `[C, 1, K, K]`, K 3 or 5.
        bias: `[C]`.
        stride: 1 or 2.
        padding: Zeros at each side.
    """
    convolved: Tensor = _Convolved.apply(x, weight, bias, stride, padding)
    return convolved


class _Convolved(torch.autograd.Function):
    """Keeps the input only where the weights learn."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        taps = _taps(weight)
        size = weight.shape[-1]
        batch, channels, *sides = x.shape
        height, width = ((side + 2 * padding - size) // stride + 1 for side in sides)
        out = _like(x, (batch, channels, height, width))
        shift = x.new_zeros(channels, dtype=torch.float32) if bias is None else bias.detach().float()
        _launch("forward", out, (x, taps, shift, out), (*sides, height, width), size, stride, padding)
        ctx.save_for_backward(x if ctx.needs_input_grad[1] else None, taps)
        ctx.facts = (tuple(x.shape), weight.dtype, None if bias is None else bias.dtype, size, stride, padding)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None]:
        x, taps = ctx.saved_tensors
        shape, weight_type, bias_type, size, stride, padding = ctx.facts
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        sides = (*shape[2:], *gradient.shape[2:])
        of_x = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            of_x = _like(gradient, shape)
            _launch("of_input", of_x, (gradient, taps, of_x), sides, size, stride, padding)
        if ctx.needs_input_grad[1]:
            of_weight = _summed(x, gradient, sides, size, stride, padding).to(weight_type)
        if ctx.needs_input_grad[2]:
            of_bias = gradient.sum((0, 2, 3), dtype=torch.float32).to(bias_type)
        return of_x, of_weight, of_bias, None, None


def _summed(x: Tensor, gradient: Tensor, sides: tuple[int, ...], size: int, stride: int, padding: int) -> Tensor:
    """Return the gradient of the weights, `[C, 1, K, K]`."""
    channels = x.shape[1]
    positions = gradient.numel() // channels
    shares = max(1, PROGRAMS // (size * -(-channels // CHANNELS)))
    run = -(-positions // (shares * BLOCK)) * BLOCK
    sums = x.new_empty(-(-positions // run), size * size, channels, dtype=torch.float32)
    grid = (len(sums), -(-channels // CHANNELS), size)
    with torch.cuda.device_of(x):  # Triton's is the current one
        _kernels().of_weight[grid](
            x, gradient, sums, positions, *sides, channels // 8, run,
            SIZE=size, STRIDE=stride, PADDING=padding, BLOCK=BLOCK, CHANNELS=CHANNELS,
            enable_fp_fusion=True,
        )  # fmt: skip
    return sums.sum(0).t().reshape(channels, 1, size, size)


def _launch(
    name: str, out: Tensor, tensors: tuple[Tensor, ...], sides: tuple[int, ...], size: int, stride: int, padding: int
) -> None:
    """Let a kernel write every position of `out`."""
    channels = out.shape[1]
    positions = out.numel() // channels
    grid = (-(-positions // BLOCK), -(-channels // CHANNELS))
    with torch.cuda.device_of(out):
        getattr(_kernels(), name)[grid](
            *tensors, positions, *sides, channels // 8,
            SIZE=size, STRIDE=stride, PADDING=padding, BLOCK=BLOCK, CHANNELS=CHANNELS,
            enable_fp_fusion=True,
        )  # fmt: skip


def _like(values: Tensor, shape: tuple[int, ...]) -> Tensor:
    return torch.empty(shape, dtype=values.dtype, device=values.device, memory_format=torch.channels_last)


def _taps(weight: Tensor) -> Tensor:
    """Return the weights `[K * K, C]` in fp32."""
    return weight.detach().float().flatten(1).t().contiguous()


def _kernels() -> Any:
    from distracted_pipeline.variants import depthwise_kernels

    return depthwise_kernels


def _why_not(device: torch.device, timed: bool) -> str:
    """Return what speaks against the kernels on a device; empty if nothing does."""
    dtype = torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    with torch.enable_grad(), torch.autocast(device.type, enabled=False):
        gap = max(gap_to_exact(device, dtype, size, stride) for size in (3, 5) for stride in (1, 2))
        if not gap < CLOSE:
            return f"they differ from it by {gap:.2g}"
        if not timed:
            return ""
        ours, theirs = _milliseconds(device, dtype, own=True), _milliseconds(device, dtype, own=False)
    return "" if ours <= theirs else f"they take {ours:.2f} ms on one layer, torch {theirs:.2f} ms"


def gap_to_exact(device: torch.device, dtype: torch.dtype, size: int, stride: int) -> float:
    """Return how far the output and its gradients are from float64 at most, relative to the largest of each.

    Args:
        device: Of the kernels.
        dtype: Of the map.
        size: Of the kernel's side.
        stride: Of the convolution.
    """
    random, padding, channels = torch.Generator().manual_seed(size), size // 2, CHANNELS + 8
    shapes = ((2, channels, 9, 7), (channels, 1, size, size), (channels,))
    drawn = [torch.randn(shape, generator=random) for shape in shapes]
    drawn[0] = drawn[0].to(dtype)
    ours, exact = ([each.to(place).requires_grad_() for each in drawn] for place in (device, torch.float64))
    found = convolve(ours[0], ours[1], ours[2], stride, padding)
    right = functional.conv2d(exact[0], exact[1], exact[2], stride, padding, 1, channels)
    along = torch.randn(right.shape, generator=random).to(dtype)
    pairs = zip(
        (found, *torch.autograd.grad(found, ours, along.to(device))),
        (right, *torch.autograd.grad(right, exact, along.double())),
        strict=True,
    )
    return max(float((a.detach().cpu() - b.detach()).abs().max() / b.detach().abs().max()) for a, b in pairs)


def _milliseconds(device: torch.device, dtype: torch.dtype, *, own: bool) -> float:
    """Return how long `LAYER` takes both ways on a GPU, the middle one of a few turns after the first."""
    batch, channels, height, width, size = LAYER
    x = torch.ones(batch, channels, height, width, dtype=dtype, device=device).to(memory_format=torch.channels_last)
    weight = torch.ones(channels, 1, size, size, dtype=torch.float32 if own else dtype, device=device)
    x, weight = x.requires_grad_(), weight.requires_grad_()
    taken: list[float] = []
    with torch.cuda.device_of(x):
        for _ in range(1 + _TURNS):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            torch.cuda._sleep(_WAIT)
            start.record()
            if own:
                out = convolve(x, weight, None, 1, size // 2)
            else:
                out = functional.conv2d(x, weight, None, 1, size // 2, 1, channels)
            torch.autograd.grad(out, (x, weight), out.detach())
            end.record()
            end.synchronize()
            taken.append(float(start.elapsed_time(end)))
    return sorted(taken[1:])[_TURNS // 2]
