"""A fused variant's CAM shows one of two branches: how much each gives to the answer."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor, nn

from distracted_pipeline.dataset import STATE_FARM
from distracted_pipeline.explanation.branches import LogitSpread
from distracted_pipeline.explanation.explain import gradcam_variant
from distracted_pipeline.explanation.gradcam import contributions, explained
from distracted_pipeline.options import RunOptions
from distracted_pipeline.variants.backbones import load_backbone
from distracted_pipeline.variants.networks import VariantNet, build_network
from distracted_pipeline_tests.evaluation.fakes import make_root, predict
from distracted_pipeline_tests.explanation.fakes import FakeTrained, replace_networks
from distracted_pipeline_tests.variants.tiny import SIDE, settings_for, variant

TARGET = torch.tensor([0, 3, 9, 3, 1, 7])


def batch_of(images: int, side: int = SIDE) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(3)
    fractions = torch.rand(images, len(STATE_FARM.mask_names), 60, 80, generator=generator)
    return {"pixels": torch.randn(images, 3, side, side, generator=generator), "fractions": fractions}


@pytest.fixture
def fused(efficientnet: Path) -> VariantNet:
    net = build_network(variant("masks_fused"), load_backbone(settings_for(efficientnet)), STATE_FARM)
    net.eval().requires_grad_(False)
    nn.init.normal_(net.classifier.weight, generator=torch.Generator().manual_seed(0))
    nn.init.normal_(net.classifier.bias, generator=torch.Generator().manual_seed(1))
    return net


def test_image_masks_and_bias_add_up_to_the_logit(fused: VariantNet) -> None:
    batch = batch_of(6)
    _, logits = explained(fused, batch, TARGET[:, None])
    both = contributions(fused, batch, logits, TARGET)
    assert both is not None
    own = logits.gather(1, TARGET[:, None])[:, 0]
    torch.testing.assert_close(both.sum(1) + fused.classifier.bias[TARGET], own)
    with torch.no_grad():
        fused.classifier.weight[:, fused.pooled_width :] = 0  # then masks give nothing, and the image what it gave
    _, logits = explained(fused, batch, TARGET[:, None])
    blind = contributions(fused, batch, logits, TARGET)
    assert blind is not None
    assert not blind[:, 1].any()
    torch.testing.assert_close(blind[:, 0], both[:, 0], atol=1e-4, rtol=1e-4)


def test_a_variant_with_one_branch_has_no_shares(efficientnet: Path) -> None:
    net = build_network(variant("top_only"), load_backbone(settings_for(efficientnet)), STATE_FARM).eval()
    batch = {"pixels": batch_of(6)["pixels"]}
    _, logits = explained(net, batch, TARGET[:, None])
    assert contributions(net, batch, logits, TARGET) is None
    assert LogitSpread().shares() is None


def test_a_share_is_spread_within_network_and_class() -> None:
    rng, spread = np.random.default_rng(0), LogitSpread()
    for fold in ("0", "1"):
        for true in range(3):
            offset = rng.normal(0, 50, 2)  # what the bias makes up for
            for _ in range(500):
                spread.add(fold, true, offset + rng.normal(0, (3, 1)))
    assert spread.shares() == pytest.approx((0.75, 0.25), abs=0.02)


class Fused(nn.Module):
    """Two branches, a classifier that is linear in both: the contract of a fused variant's network."""

    inputs = map_inputs = ("pixels", "fractions")

    def __init__(self, of_masks: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body, self.pooled_width = nn.Conv2d(3, 8, 3, stride=2, padding=1), 8
        self.mask_head, self.classifier = nn.Flatten(), nn.Linear(8 + 6, 10)
        with torch.no_grad():
            self.classifier.weight[:, 8:] *= of_masks

    def forward_with_map(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        last = self.body(batch["pixels"]).relu()
        return self.classifier(torch.cat([last.mean((2, 3)), self.mask_head(batch["fractions"])], 1)), last

    def map_tap(self) -> None:
        return None

    def pooled_weights(self) -> Tensor:
        return self.classifier.weight.detach()[:, :8]


@pytest.mark.parametrize(("of_masks", "low", "high"), [(0.0, 1, 1), (100.0, 0, 0.05)])
def test_the_stage_records_both_shares(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of_masks: float, low: float, high: float
) -> None:
    from distracted_pipeline.training import checkpoint, inputs

    root = make_root(tmp_path / "data")
    predict(root, "other", wrong={2: 0})
    replace_networks(monkeypatch)

    def both(settings: object, names: Sequence[str], imgs: Sequence[str], *, model_name: str | None) -> dict:
        seeds = [torch.Generator().manual_seed(int.from_bytes(img.encode()[:9]) % 2**31) for img in imgs]
        shapes = {"pixels": (3, 16, 20), "fractions": (6,)}
        return {name: torch.stack([torch.randn(shapes[name], generator=seed) for seed in seeds]) for name in names}

    trained = FakeTrained(Fused(of_masks).eval().requires_grad_(False), SimpleNamespace(model_name=None))
    monkeypatch.setattr(inputs, "load_inputs", both)
    monkeypatch.setattr(checkpoint, "load_trained", lambda *_: trained)
    said: list[str] = []
    result = gradcam_variant(root, "other", RunOptions("cpu", log=said.append), images_per_class=1)
    assert result.image_share is not None
    assert result.mask_share is not None
    assert low <= result.image_share <= high
    assert result.image_share + result.mask_share == pytest.approx(1)
    notes = pq.read_schema(result.folder / "rows.parquet").metadata
    assert float(notes[b"image_share"]) == result.image_share
    assert float(notes[b"mask_share"]) == result.mask_share
    assert "CAMs show the image branch" in said[-1]
