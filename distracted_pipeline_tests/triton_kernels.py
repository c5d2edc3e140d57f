"""Kernels written in Triton, tested where there is no GPU: run by its interpreter, and compiled for one all the same.

Being interpreted says nothing of the compiler, which once refused a select that it had to lay out.
"""

import importlib
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

HOPPER, TURING = 90, 75
"""Compute capabilities of an H200 and of a T4, times ten."""


def triton_kernels(module: str) -> Any:
    """Return a module of kernels; the test is skipped where there is no Triton."""
    pytest.importorskip("triton", reason="torch's CUDA wheels bring Triton")
    return importlib.import_module(module)


def interpreting(monkeypatch: pytest.MonkeyPatch, module: str) -> Iterator[None]:
    """Let Triton run a module's kernels on the CPU until the test ends."""
    pytest.importorskip("triton", reason="torch's CUDA wheels bring Triton")
    import triton.language as tl

    monkeypatch.setenv("TRITON_INTERPRET", "1")
    # A kernel in itself, made to be compiled where Triton was loaded before.
    monkeypatch.setattr(tl, "sum", lambda values, axis: tl.reduce(values, axis, tl.standard._sum_combine))
    sys.modules.pop(module, None)
    importlib.import_module(module)
    yield
    sys.modules.pop(module)


def compiled(kernel: Any, types: Mapping[str, str], constants: Mapping[str, int], capability: int = HOPPER) -> str:
    """Return a kernel's code for a GPU, as text.

    Args:
        kernel: What `triton.jit` made.
        types: Of each argument; pointers are taken to be aligned, as torch's are.
        constants: Arguments that the compiler knows.
        capability: Of the GPU, times ten.
    """
    import triton

    source = triton.compiler.ASTSource(
        fn=kernel,
        signature={**types, **dict.fromkeys(constants, "constexpr")},
        constexprs=dict(constants),
        attrs={(at,): [["tt.divisibility", 16]] for at, of in enumerate(types.values()) if of.startswith("*")},
    )
    target = triton.backends.compiler.GPUTarget("cuda", capability, 32)
    done = triton.compile(source, target=target, options={"enable_fp_fusion": True})
    assert done.asm["cubin"]
    return str(done.asm["ptx"])
