"""A fused variant's CAM shows one of two branches: how much each gives to the answer."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor, nn

from distracted_pipeline.dataset import STATE_FARM
from distracted_pipeline.evaluation.predictions import read_predictions
from distracted_pipeline.explanation.branches import LogitSpread
from distracted_pipeline.explanation.explain import gradcam_variant
from distracted_pipeline.explanation.gradcam import cams, contributions, explained, mask_cams
from distracted_pipeline.explanation.passes import Plan, explain_rows
from distracted_pipeline.options import RunOptions
from distracted_pipeline.variants.backbones import load_backbone
from distracted_pipeline.variants.networks import VariantNet, build_network
from distracted_pipeline_tests.evaluation.fakes import make_root, predict
from distracted_pipeline_tests.explanation.fakes import FakeTrained, FusedNet, fused_inputs, replace_networks
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


def test_image_masks_and_bias_add_up_to_the_logits(fused: VariantNet) -> None:
    batch = batch_of(6)
    _, logits = explained(fused, batch, TARGET[:, None])
    both = contributions(fused, batch, logits)
    assert both is not None
    torch.testing.assert_close(both.sum(1) + fused.classifier.bias, logits)
    with torch.no_grad():
        fused.classifier.weight[:, fused.pooled_width :] = 0  # then masks give nothing, and the image what it gave
    _, logits = explained(fused, batch, TARGET[:, None])
    blind = contributions(fused, batch, logits)
    assert blind is not None
    assert not blind[:, 1].any()
    torch.testing.assert_close(blind[:, 0], both[:, 0], atol=1e-4, rtol=1e-4)


def test_a_variant_with_one_branch_has_no_shares(efficientnet: Path) -> None:
    net = build_network(variant("top_only"), load_backbone(settings_for(efficientnet)), STATE_FARM).eval()
    batch = {"pixels": batch_of(6)["pixels"]}
    _, logits = explained(net, batch, TARGET[:, None])
    assert contributions(net, batch, logits) is None
    assert LogitSpread().shares() is None


def test_the_mask_branch_has_the_cams_of_a_variant_that_reads_masks_alone(fused: VariantNet) -> None:
    alone = build_network(variant("masks_only"), None, STATE_FARM).eval().requires_grad_(False)
    alone.mask_head.load_state_dict(fused.mask_head.state_dict())
    with torch.no_grad():
        alone.classifier.weight.copy_(fused.classifier.weight[:, fused.pooled_width :])
    batch, targets = batch_of(6), torch.stack([TARGET, TARGET.flip(0)], 1)
    found = mask_cams(fused, batch, targets)
    theirs = cams(alone, {"fractions": batch["fractions"]}, targets)
    assert theirs.max() > 0
    torch.testing.assert_close(found, theirs)
    assert mask_cams(alone, {"fractions": batch["fractions"]}, targets) is None


def test_a_share_is_spread_of_what_can_change_an_answer() -> None:
    rng, spread = np.random.default_rng(0), LogitSpread()
    for fold in ("0", "1"):
        bias = rng.normal(0, 50, (2, 10))  # in every image of a network: the bias could say it as well
        for _ in range(500):
            common = rng.normal(0, 50, (2, 1))  # to all logits alike
            spread.add(fold, bias + common + rng.normal(0, 1, (2, 10)) * [[3], [1]])
    assert spread.shares() == pytest.approx((0.75, 0.25), abs=0.02)


def test_a_branch_that_always_tells_the_classes_apart_has_its_share() -> None:
    """Within a class it never varies; between classes it does, and that is what an answer is made of."""
    rng, spread = np.random.default_rng(0), LogitSpread()
    for i in range(1000):
        sure = 3.0 * np.eye(10)[i % 10]
        spread.add("0", np.stack([rng.normal(0, 0.3, 10), sure]))
    shares = spread.shares()
    assert shares is not None
    assert shares[1] > 0.7


@pytest.mark.parametrize(("of_masks", "low", "high"), [(0.0, 1, 1), (100.0, 0, 0.05)])
def test_the_stage_records_both_shares(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of_masks: float, low: float, high: float
) -> None:
    from distracted_pipeline.training import checkpoint, inputs

    root = make_root(tmp_path / "data")
    predict(root, "other", wrong={2: 0})
    replace_networks(monkeypatch)
    trained = FakeTrained(FusedNet(of_masks).eval().requires_grad_(False), SimpleNamespace(model_name=None))
    monkeypatch.setattr(inputs, "load_inputs", fused_inputs)
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
    assert "of the logits' spread" in said[-1]
    assert result.mask_cams is not None
    assert result.mask_cams.shape == (len(result.rows), 2, 3)
    with np.load(result.folder / "cams.npz", allow_pickle=False) as arrays:
        assert (arrays["mask_cams"] == result.mask_cams).all()
    assert result.mask_cams.any() == (of_masks > 0)


def test_contributions_and_mask_maps_are_means_over_trainings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from distracted_pipeline.training import inputs

    root = make_root(tmp_path / "data")
    predict(root, "other")
    replace_networks(monkeypatch)
    monkeypatch.setattr(inputs, "load_inputs", fused_inputs)
    part = read_predictions(root, ["other"]).parts["other", "0"]
    nets = [FusedNet(of_masks).eval().requires_grad_(False) for of_masks in (0.5, 1.0, 3.0)]
    each = [FakeTrained(net, SimpleNamespace(model_name=None)) for net in nets]
    plan, quiet = Plan(None, np.arange(2), True), RunOptions("cpu", log=lambda line: None)
    (*alone, together) = (
        next(iter(explain_rows(root, some, plan, part, [0], {0}, quiet))) for some in (*([one] for one in each), each)
    )
    assert together.contributions == pytest.approx(np.mean([one.contributions for one in alone], axis=0))
    assert together.mask_cams == pytest.approx(np.mean([one.mask_cams for one in alone], axis=0), abs=1e-6)
