"""Networks that stand in for trained ones where only what is made of their maps matters."""

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from distracted_pipeline.settings import Settings
from distracted_pipeline_tests.evaluation.tiny import TinyNet


@dataclass
class FakeTrained:
    net: nn.Module
    config: SimpleNamespace


def replace_networks(monkeypatch: pytest.MonkeyPatch, untrained: Sequence[str] = ()) -> None:
    """Give each training of every fold but the `untrained` ones a tiny network; pixels follow from image names.

    No tap is cached.
    """
    from distracted_pipeline.features import taps
    from distracted_pipeline.training import checkpoint, inputs

    def pixels(settings: Settings, names: Sequence[str], imgs: Sequence[str], *, model_name: str | None) -> dict:
        assert tuple(names) == ("pixels",)
        seeds = [torch.Generator().manual_seed(int.from_bytes(img.encode()[:6])) for img in imgs]
        return {"pixels": torch.stack([torch.randn(3, 16, 20, generator=seed) for seed in seeds])}

    def network(settings: Settings, variant: str, fold: str, device: str, replicate: int) -> FakeTrained:
        net = TinyNet(seed=int(fold) + 100 * replicate, classes=len(settings.dataset.class_ids))
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


class _Head(nn.Module):
    """A mask head whose map is what it reads, 2 x 3 cells."""

    def maps(self, fractions: Tensor) -> Tensor:
        return fractions.abs().reshape(-1, 1, 2, 3)

    def describe(self, maps: Tensor, fractions: Tensor) -> Tensor:
        return maps.flatten(1)

    def forward(self, fractions: Tensor) -> Tensor:
        return self.describe(self.maps(fractions), fractions)


class FusedNet(nn.Module):
    """Two branches, a classifier that is linear in both: the contract of a fused variant's network."""

    inputs = map_inputs = ("pixels", "fractions")

    def __init__(self, of_masks: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body, self.pooled_width = nn.Conv2d(3, 8, 3, stride=2, padding=1), 8
        self.mask_head, self.classifier = _Head(), nn.Linear(8 + 6, 10)
        with torch.no_grad():
            self.classifier.weight[:, 8:] *= of_masks

    def forward_with_map(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        last = self.body(batch["pixels"]).relu()
        return self.classifier(torch.cat([last.mean((2, 3)), self.mask_head(batch["fractions"])], 1)), last

    def map_tap(self) -> None:
        return None

    def pooled_weights(self) -> Tensor:
        return self.classifier.weight.detach()[:, :8]


def fused_inputs(settings: Settings, names: Sequence[str], imgs: Sequence[str], *, model_name: str | None) -> dict:
    """Return what a `FusedNet` reads of images: numbers that follow from their names."""
    seeds = [torch.Generator().manual_seed(int.from_bytes(img.encode()[:9]) % 2**31) for img in imgs]
    shapes = {"pixels": (3, 16, 20), "fractions": (6,)}
    return {name: torch.stack([torch.randn(shapes[name], generator=seed) for seed in seeds]) for name in names}
