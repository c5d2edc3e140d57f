"""Deformable attention by one kernel is that of transformers' loop, which it replaces for a while and no longer."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers.models.mask2former import modeling_mask2former
from transformers.models.oneformer import modeling_oneformer

from distracted_pipeline.masks import deformable
from distracted_pipeline.masks.deformable import LOOP, attend, fused_attention, is_there
from distracted_pipeline.masks.loading import load_segmenter
from distracted_pipeline.masks.models import ModelSegmenter
from distracted_pipeline.settings import Settings
from distracted_pipeline_tests.masks.tiny_models import save_tiny
from distracted_pipeline_tests.triton_kernels import compiled, interpreting, triton_kernels

KERNEL = "distracted_pipeline.masks.deformable_kernel"
CPU = torch.device("cpu")
LOOPS = {"mask2former": modeling_mask2former, "oneformer": modeling_oneformer}


@pytest.fixture
def interpreted(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let Triton run the kernel on the CPU."""
    yield from interpreting(monkeypatch, KERNEL)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {kind: save_tiny(kind, tmp_path_factory.mktemp(kind)) for kind in (*LOOPS, "maskformer")}


def drawn(depth: int, points: int, queries: int = 5) -> tuple[Tensor, list[tuple[int, int]], Tensor, Tensor]:
    """Return values, levels, locations of which some lie outside, and weights that add up to one."""
    random, shapes, heads = torch.Generator().manual_seed(depth), [(2, 3), (3, 5)], 2
    value = torch.randn(2, sum(height * width for height, width in shapes), heads, depth, generator=random)
    locations = torch.rand(2, queries, heads, len(shapes), points, 2, generator=random) * 1.6 - 0.3
    weights = torch.rand(2, queries, heads, len(shapes) * points, generator=random).softmax(-1)
    return value, shapes, locations, weights.unflatten(-1, (len(shapes), points))


@pytest.mark.parametrize(("depth", "points", "queries"), [(16, 2, 5), (24, 1, deformable.BLOCK + 1)])
def test_the_kernel_gives_what_the_loop_gives(interpreted: None, depth: int, points: int, queries: int) -> None:
    value, shapes, locations, weights = drawn(depth, points, queries)
    found = attend(value, shapes, locations, weights)
    assert found.dtype == torch.float32
    for loop in (getattr(module, LOOP) for module in LOOPS.values()):
        exact = loop(value.double(), shapes, locations.double(), weights.double())
        assert found.shape == exact.shape
        assert (found - exact).abs().max() < 2e-6
        assert (loop(value, shapes, locations, weights) - exact).abs().max() < 2e-6


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_the_kernel_compiles_for_a_gpu_also_where_there_is_none(dtype: str) -> None:
    sample = triton_kernels(KERNEL).sample
    constants = {"HEADS": 8, "LEVELS": 3, "POINTS": 4, "DEPTH": 32, "WIDE": 32, "BLOCK": deformable.BLOCK}
    types = {"value": f"*{dtype}", "levels": "*i32", "locations": "*fp32", "weights": f"*{dtype}", "out": "*fp32"}
    assert compiled(sample, {**types, "queries": "i32", "length": "i32"}, constants)


def test_the_kernel_computes_in_fp32_and_returns_the_type_that_the_loop_would(interpreted: None) -> None:
    value, shapes, locations, weights = drawn(4, 1, queries=2)
    found = attend(value.bfloat16(), shapes, locations, weights)  # as under autocast
    expected = modeling_mask2former.multi_scale_deformable_attention(
        value.bfloat16().float(), shapes, locations, weights
    )
    assert found.dtype == torch.float32
    assert (found - expected).abs().max() < 2e-6
    assert deformable._empty(value.half(), locations.half(), weights.half()).dtype == torch.float16


@pytest.mark.parametrize("kind", LOOPS)
def test_a_model_runs_with_what_takes_the_loop_s_place_and_has_its_loop_back_afterwards(
    folders: dict[str, Path], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    segmenter = load_segmenter(Settings(data=folders[kind], segmenter=str(folders[kind])), "cpu", "fp32")
    assert isinstance(segmenter, ModelSegmenter)
    model, loop, calls = segmenter.model, getattr(LOOPS[kind], LOOP), list[int]()

    def counted(*args: Any) -> Tensor:
        calls.append(1)
        return loop(*args)

    inputs: dict[str, Any] = {"pixel_values": torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))}
    inputs |= {} if segmenter.task is None else {"task_inputs": segmenter.task}
    monkeypatch.setattr(deformable, "attend", counted)
    with torch.inference_mode():
        plain = model(**inputs)
        assert not calls
        monkeypatch.setattr(deformable, "is_there", lambda device: True)
        monkeypatch.setattr(deformable, "works", lambda *args: True)
        with fused_attention(model, CPU):
            fused = model(**inputs)
    assert calls
    for name in ("class_queries_logits", "masks_queries_logits"):
        assert torch.equal(getattr(fused, name), getattr(plain, name))
    assert getattr(LOOPS[kind], LOOP) is loop


def test_the_loop_comes_back_after_an_error_and_computes_whatever_needs_gradients(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(data=folders["mask2former"], segmenter=str(folders["mask2former"]))
    segmenter = load_segmenter(settings, "cpu", "fp32")
    assert isinstance(segmenter, ModelSegmenter)
    loop = modeling_mask2former.multi_scale_deformable_attention
    monkeypatch.setattr(deformable, "is_there", lambda device: True)
    monkeypatch.setattr(deformable, "works", lambda *args: True)
    monkeypatch.setattr(deformable, "attend", lambda *args: pytest.fail("no gradient goes through the kernel"))
    value, shapes, locations, weights = drawn(16, 2)
    with pytest.raises(ZeroDivisionError), fused_attention(segmenter.model, CPU):
        assert modeling_mask2former.multi_scale_deformable_attention is not loop
        modeling_mask2former.multi_scale_deformable_attention(
            value.requires_grad_(), shapes, locations, weights
        ).sum().backward()
        assert value.grad is not None
        _ = 1 / 0
    assert modeling_mask2former.multi_scale_deformable_attention is loop


def test_nothing_is_replaced_on_a_cpu_without_triton_or_in_a_model_without_the_loop(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not is_there(CPU)
    monkeypatch.setattr(deformable, "find_spec", lambda name: None)
    assert not is_there(torch.device("cuda"))
    monkeypatch.setattr(deformable, "is_there", lambda device: True)
    monkeypatch.setattr(deformable, "_replacement", lambda *args: pytest.fail("there is no loop"))
    settings = Settings(data=folders["maskformer"], segmenter=str(folders["maskformer"]))
    segmenter = load_segmenter(settings, "cpu", "fp32")
    assert isinstance(segmenter, ModelSegmenter)
    with fused_attention(segmenter.model, CPU):
        pass


def test_a_kernel_that_fails_or_differs_from_the_loop_is_not_used_and_said_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*args: object) -> Tensor:
        raise RuntimeError("no such architecture\nmore")

    loop = modeling_mask2former.multi_scale_deformable_attention
    for kernel, why in (
        (loop, ""),
        (broken, "(RuntimeError: no such architecture)"),
        (lambda *args: loop(*args) * 1.1, "differs"),
    ):
        deformable.works.cache_clear()
        monkeypatch.setattr(deformable, "attend", kernel)
        assert deformable.works(CPU, loop) == (not why)
        assert deformable.works(CPU, loop) == (not why)
        said = capsys.readouterr().out
        assert (why in said and said.count("\n") == 1) if why else not said
    deformable.works.cache_clear()
