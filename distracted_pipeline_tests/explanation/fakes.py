"""Networks that stand in for trained ones where only what is made of their maps matters."""

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from distracted_pipeline.settings import Settings
from distracted_pipeline_tests.evaluation.tiny import TinyNet


@dataclass
class FakeTrained:
    net: nn.Module
    config: SimpleNamespace


def replace_networks(monkeypatch: pytest.MonkeyPatch, untrained: Sequence[str] = ()) -> None:
    """Give every fold but the `untrained` ones a tiny network; pixels follow from image names; no tap is cached."""
    from distracted_pipeline.features import taps
    from distracted_pipeline.training import checkpoint, inputs

    def pixels(settings: Settings, names: Sequence[str], imgs: Sequence[str], *, model_name: str | None) -> dict:
        assert tuple(names) == ("pixels",)
        seeds = [torch.Generator().manual_seed(int.from_bytes(img.encode()[:6])) for img in imgs]
        return {"pixels": torch.stack([torch.randn(3, 16, 20, generator=seed) for seed in seeds])}

    def network(settings: Settings, variant: str, fold: str, device: str) -> FakeTrained:
        net = TinyNet(seed=int(fold), classes=len(settings.dataset.class_ids))
        return FakeTrained(net.eval().requires_grad_(False), SimpleNamespace(model_name=None))

    class NoTaps:
        def __init__(self, settings: Settings, model_name: str | None) -> None:
            pass

        def missing(self, subject: str, taps: Sequence[str]) -> list[str]:
            return list(taps)

    monkeypatch.setattr(taps, "TapStore", NoTaps)
    monkeypatch.setattr(inputs, "load_inputs", pixels)
    monkeypatch.setattr(checkpoint, "is_trained", lambda settings, variant, fold: fold not in untrained)
    monkeypatch.setattr(checkpoint, "load_trained", network)
