"""What the words of the op config mean on this machine."""

import pytest
import torch

from distracted_pipeline.devices import autocast_dtype, resolve_device, resolve_precision
from distracted_pipeline.errors import DistractedError

CPU = torch.device("cpu")


def test_auto_takes_a_device_that_is_there() -> None:
    torch.ones(1, device=resolve_device("auto"))
    assert resolve_device("cpu") == CPU


@pytest.mark.parametrize("name", ["abacus", "cuda:63", "xpu"])
def test_a_device_that_is_not_there_is_named(name: str) -> None:
    with pytest.raises(DistractedError, match=name):
        resolve_device(name)


def test_precision_auto_is_fp32_on_a_cpu_where_half_is_slower() -> None:
    assert resolve_precision("auto", CPU) == "fp32"
    assert autocast_dtype("auto", CPU) is None
    assert autocast_dtype("bf16", CPU) is torch.bfloat16


def test_precision_auto_is_bf16_on_gpus_that_have_it_else_fp16(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = torch.device("cuda")
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda: True)
    assert resolve_precision("auto", gpu) == "bf16"
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda: False)
    assert resolve_precision("auto", gpu) == "fp16"
