"""Depthwise convolutions by our own kernels are those of torch, both ways, and are used only where they gain."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from distracted_pipeline.variants import depthwise
from distracted_pipeline.variants.backbones import load_backbone
from distracted_pipeline.variants.depthwise import DepthwiseConv, convolve, gap_to_exact, with_kernels
from distracted_pipeline_tests.triton_kernels import HOPPER, TURING, compiled, interpreting, triton_kernels
from distracted_pipeline_tests.variants.tiny import SIDE, efficientnet, settings_for

__all__ = ["efficientnet"]

KERNELS = "distracted_pipeline.variants.depthwise_kernels"
CPU = torch.device("cpu")
ON_A_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture
def interpreted(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let Triton run the kernels on the CPU."""
    yield from interpreting(monkeypatch, KERNELS)


def depthwise_conv(channels: int, size: int, stride: int = 1, **fields: object) -> nn.Conv2d:
    torch.manual_seed(0)
    padding = "same" if stride == 1 else 0
    return nn.Conv2d(channels, channels, size, stride, **{"padding": padding, "groups": channels, **fields})  # type: ignore[arg-type]


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [3, 5])
def test_output_and_gradients_are_those_of_float64(interpreted: None, size: int, stride: int) -> None:
    assert gap_to_exact(CPU, torch.float32, size, stride) < 1e-6
    assert gap_to_exact(CPU, torch.float16, size, stride) < 2e-3


def test_a_gradient_summed_in_many_runs_is_the_same(interpreted: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(depthwise, "CHANNELS", 64)
    monkeypatch.setattr(depthwise, "BLOCK", 16)  # 40 positions: three programs, the last one not full
    assert gap_to_exact(CPU, torch.float32, 3, 2) < 1e-6
    monkeypatch.setattr(depthwise, "PROGRAMS", 1)  # one program takes three steps
    assert gap_to_exact(CPU, torch.float32, 3, 2) < 1e-6


def test_a_frozen_convolution_passes_gradients_on_and_keeps_no_input(interpreted: None) -> None:
    kept: list[Tensor] = []
    x, weight = drawn(1, 8, 4, 4).requires_grad_(), drawn(8, 1, 3, 3)

    def pack(saved: Tensor) -> Tensor:
        kept.append(saved)
        return saved

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved):
        convolve(x, weight, None, 1, 1).sum().backward()
    assert x.grad is not None
    assert [each.numel() for each in kept] == [weight.numel()]


@pytest.mark.parametrize(("size", "stride", "capability"), [(3, 1, HOPPER), (5, 2, HOPPER), (5, 1, TURING)])
@pytest.mark.parametrize("name", ["forward", "of_input", "of_weight"])
def test_the_kernels_compile_for_a_gpu_and_read_eight_channels_at_once(
    name: str, size: int, stride: int, capability: int
) -> None:
    module = triton_kernels(KERNELS)
    half = "*bf16" if capability == HOPPER else "*fp16"
    pointers = {
        "forward": {"x": half, "weight": "*fp32", "bias": "*fp32", "out": half},
        "of_input": {"gradient": half, "weight": "*fp32", "out": half},
        "of_weight": {"x": half, "gradient": half, "out": "*fp32"},
    }[name]
    numbers = [*module.SIZES, *(["run"] if name == "of_weight" else [])]
    constants = {"SIZE": size, "STRIDE": stride, "PADDING": size // 2}
    constants |= {"BLOCK": depthwise.BLOCK, "CHANNELS": depthwise.CHANNELS}
    code = compiled(getattr(module, name), {**pointers, **dict.fromkeys(numbers, "i32")}, constants, capability)
    assert "ld.global.v4.b32" in code  # four words of two halves


def test_a_streamlined_backbone_computes_the_same_by_the_kernels(
    interpreted: None, efficientnet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(depthwise, "BLOCK", 512)  # the interpreter takes its time over every program
    monkeypatch.setattr(depthwise, "CHANNELS", 128)
    trunk = load_backbone(settings_for(efficientnet)).trunk
    trunk.streamline()
    convs = [module for module in trunk.modules() if isinstance(module, DepthwiseConv)]
    assert len(convs) == sum(isinstance(each, nn.Conv2d) and each.groups > 1 for each in trunk.modules()) > 0
    pixels = drawn(2, 3, SIDE, SIDE)

    def passed() -> list[Tensor]:
        trunk.requires_grad_(True)
        _, pooled = trunk(pixels)
        return [pooled, *torch.autograd.grad(pooled.square().sum(), [conv.weight for conv in convs])]

    theirs = passed()
    seen: list[torch.Size] = []

    def usable(x: Tensor) -> bool:
        seen.append(x.shape)
        return True

    monkeypatch.setattr(depthwise, "is_usable", usable)
    ours = passed()
    assert len(seen) == len(convs)
    for one, other in zip(ours, theirs, strict=True):
        assert (one - other).abs().max() < 1e-5 * other.abs().max()


def test_autocast_decides_the_type_of_the_output(interpreted: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(depthwise, "is_usable", lambda x: True)
    conv, x = with_kernels(depthwise_conv(8, 3)), drawn(1, 8, 5, 5)
    assert conv(x).dtype is torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        out = conv(x)
    assert out.dtype is torch.bfloat16
    out.sum().backward()
    assert conv.weight.grad is not None
    assert conv.weight.grad.dtype is torch.float32


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(8, 16, 1),
        nn.Conv2d(8, 8, 3, padding=1),
        depthwise_conv(12, 3),
        depthwise_conv(8, 7),
        depthwise_conv(8, 3, dilation=2),
        depthwise_conv(8, 3, padding_mode="reflect"),
        depthwise_conv(8, 5, padding=1),
    ],
    ids=["pointwise", "dense", "twelve channels", "7 x 7", "dilated", "reflecting", "padded otherwise"],
)
def test_other_convolutions_stay_what_they_are(conv: nn.Conv2d) -> None:
    assert with_kernels(conv) is conv


@pytest.mark.parametrize(("stride", "padding"), [(1, "same"), (1, 1), (2, 0), (2, 1)])
def test_on_a_cpu_the_convolution_is_torch_s_with_the_same_parameters(stride: int, padding: str | int) -> None:
    conv = depthwise_conv(8, 3, stride, padding=padding)
    ours = with_kernels(conv)
    assert isinstance(ours, DepthwiseConv)
    assert dict(ours.named_parameters()) == dict(conv.named_parameters())
    x = drawn(2, 8, 7, 6)
    assert torch.equal(ours(x), conv(x))


def test_kernels_that_fail_differ_or_are_slower_are_not_used_and_said_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(depthwise, "find_spec", lambda name: name)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)

    def broken(*args: object) -> float:
        raise RuntimeError("no such architecture\nmore")

    for gap, ours, why in (
        (lambda *args: 0.001, 1.0, ""),
        (broken, 1.0, "(RuntimeError: no such architecture)"),
        (lambda *args: 0.5, 1.0, "(they differ from it by 0.5)"),
        (lambda *args: float("nan"), 1.0, "(they differ from it by nan)"),
        (lambda *args: 0.001, 3.0, "(they take 3.00 ms on one layer, torch 2.00 ms)"),
    ):
        depthwise.pays.cache_clear()
        monkeypatch.setattr(depthwise, "gap_to_exact", gap)
        monkeypatch.setattr(depthwise, "_milliseconds", lambda *args, own, ours=ours: ours if own else 2.0)
        assert depthwise.pays(CPU, timed=True) == (not why)
        assert depthwise.pays(CPU, timed=True) == (not why)
        said = capsys.readouterr().out
        assert said == (f"depthwise convolutions stay with torch, without their kernels {why}\n" if why else "")
    depthwise.pays.cache_clear()


def test_time_does_not_decide_where_results_must_be_the_same_in_every_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(depthwise, "find_spec", lambda name: name)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    monkeypatch.setattr(depthwise, "gap_to_exact", lambda *args: 0.001)
    monkeypatch.setattr(depthwise, "_milliseconds", lambda *args, own: pytest.fail("timed"))
    depthwise.pays.cache_clear()
    assert depthwise.pays(CPU, timed=False)
    depthwise.pays.cache_clear()


def test_both_ways_are_timed_forward_and_back_and_the_first_turn_does_not_count(
    interpreted: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns, waited = [90.0, 3.0, 1.0, 2.0, 5.0, 4.0] * 2, list[int]()

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing

        def record(self) -> None: ...

        def synchronize(self) -> None: ...

        def elapsed_time(self, end: "Event") -> float:
            return turns.pop(0)

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "_sleep", waited.append)
    monkeypatch.setattr(depthwise, "LAYER", (1, 8, 3, 3, 3))
    assert [depthwise._milliseconds(CPU, torch.float32, own=own) for own in (True, False)] == [3.0, 3.0]
    assert not turns
    assert len(waited) == 12


def test_nothing_is_tried_on_a_cpu_or_without_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(depthwise, "_why_not", lambda *args: pytest.fail("tried"))
    assert not depthwise.is_usable(drawn(1, 8, 2, 2))
    depthwise.pays.cache_clear()
    monkeypatch.setattr(depthwise, "find_spec", lambda name: None)
    assert not depthwise.pays(torch.device("cuda"), timed=True)
    depthwise.pays.cache_clear()


@ON_A_GPU
def test_the_kernels_are_right_on_a_gpu_and_can_be_timed_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert depthwise.pays(torch.device("cuda"), timed=False)
    depthwise.pays(torch.device("cuda"), timed=True)
    said = capsys.readouterr().out
    assert not said or "ms on one layer" in said


@ON_A_GPU
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_kernels_compute_the_same_on_a_gpu(dtype: torch.dtype) -> None:
    close = 1e-5 if dtype is torch.float32 else depthwise.CLOSE
    for size in (3, 5):
        for stride in (1, 2):
            assert gap_to_exact(torch.device("cuda"), dtype, size, stride) < close
