"""Small bilinear results by another kernel: the same numbers, and only where that gains anything."""

import pytest
import torch
from torch.nn import functional

from distracted_pipeline.masks import interpolation
from distracted_pipeline.masks.interpolation import QuickInterpolation, gains


def test_channels_last_gives_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    planes = torch.randn(2, 5, 24, 24, generator=torch.Generator().manual_seed(0))
    asked: list[object] = []
    monkeypatch.setattr(interpolation, "gains", lambda _, size: not asked.append(size))
    for size in ((6, 3), (48, 30)):
        expected = functional.interpolate(planes, size=size, mode="bilinear", align_corners=False)
        with QuickInterpolation():
            found = functional.interpolate(planes, size=size, mode="bilinear", align_corners=False)
            nearest = functional.interpolate(planes, size=size, mode="nearest")
        assert found.is_contiguous(memory_format=torch.channels_last)
        assert torch.allclose(found, expected, atol=1e-6)
        assert torch.equal(nearest, functional.interpolate(planes, size=size, mode="nearest"))
    assert asked == [(6, 3), (48, 30)]


def test_nothing_changes_on_a_cpu() -> None:
    assert not gains(torch.zeros(1, 8, 4, 4), (2, 2))
