"""Grad-CAM against captum and against itself, on a tiny network and on a variant's own."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from distracted_pipeline.dataset import STATE_FARM
from distracted_pipeline.explanation.gradcam import by_gradient, cams, closed_form
from distracted_pipeline.variants.backbones import load_backbone
from distracted_pipeline.variants.networks import VariantNet, build_network
from distracted_pipeline_tests.evaluation.tiny import TinyNet
from distracted_pipeline_tests.variants.tiny import SIDE, settings_for, variant


@pytest.fixture
def batch() -> dict[str, Tensor]:
    return {"pixels": torch.randn(6, 3, 16, 20, generator=torch.Generator().manual_seed(1))}


TARGET = torch.tensor([0, 3, 9, 3, 1, 7])


def test_the_closed_form_equals_the_gradient(batch: dict[str, Tensor]) -> None:
    net = TinyNet().eval()
    _, activation = net.forward_with_map(batch)
    every_class = closed_form(net.pooled_weights(), activation)
    assert every_class.shape == (6, 10, 8, 10)
    torch.testing.assert_close(every_class[range(6), TARGET], by_gradient(net, batch, TARGET), atol=1e-5, rtol=0)


@pytest.mark.parametrize("linear", [True, False])
def test_both_ways_equal_captum(batch: dict[str, Tensor], linear: bool) -> None:
    from captum.attr import LayerGradCam

    net = TinyNet(linear).eval()
    theirs = LayerGradCam(net, net.body).attribute(batch["pixels"], target=TARGET, relu_attributions=True)[:, 0]
    assert theirs.max() > 1e-3
    torch.testing.assert_close(by_gradient(net, batch, TARGET), theirs, atol=1e-5, rtol=0)
    torch.testing.assert_close(cams(net, batch, TARGET[:, None])[:, 0], theirs, atol=1e-5, rtol=0)


def test_a_head_that_tells_positions_apart_is_explained_position_by_position(batch: dict[str, Tensor]) -> None:
    from captum.attr import LayerGradientXActivation

    net = TinyNet()
    net.pool, net.classifier, net.linear = nn.Flatten(), nn.Linear(8 * 8 * 10, 10), False
    theirs = LayerGradientXActivation(net.eval(), net.body).attribute(batch["pixels"], target=TARGET).sum(1).relu()
    torch.testing.assert_close(by_gradient(net, batch, TARGET), theirs, atol=1e-5, rtol=0)
    assert (theirs.flatten(1).amax(1) > 0).all()


@pytest.mark.parametrize("linear", [True, False])
def test_several_targets_per_image_are_those_one_by_one(batch: dict[str, Tensor], linear: bool) -> None:
    net = TinyNet(linear).eval()
    other = TARGET.flip(0)
    both = cams(net, batch, torch.stack([TARGET, other], 1))
    torch.testing.assert_close(both[:, 0], by_gradient(net, batch, TARGET))
    torch.testing.assert_close(both[:, 1], by_gradient(net, batch, other))


@pytest.mark.parametrize("linear", [True, False])
def test_a_frozen_network_is_explained_alike_and_keeps_no_gradients(batch: dict[str, Tensor], linear: bool) -> None:
    net = TinyNet(linear).eval()
    free = cams(net, batch, TARGET[:, None])
    with torch.no_grad():
        frozen = cams(net.requires_grad_(False), batch, TARGET[:, None])
    torch.testing.assert_close(frozen, free)
    assert not frozen.requires_grad
    assert batch["pixels"].grad is None
    assert not batch["pixels"].requires_grad


def network(folder: Path, kind: str) -> VariantNet:
    """A variant's network over a tiny EfficientNet, its classifier far from zero."""
    net = build_network(variant(kind), load_backbone(settings_for(folder)), STATE_FARM).eval().requires_grad_(False)
    nn.init.normal_(net.classifier.weight, generator=torch.Generator().manual_seed(0))
    return net


class FromPixels(nn.Module):
    """A variant's network as other packages want it: one tensor in, logits out."""

    def __init__(self, net: VariantNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, pixels: Tensor) -> Tensor:
        return self.net.forward_from_images({"pixels": pixels})


PIXELS = torch.randn(6, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("kind", ["top_only", "fine_tune", "adapters"])
def test_a_variant_s_network_is_explained_as_by_captum(efficientnet: Path, kind: str) -> None:
    from captum.attr import LayerGradCam

    net = network(efficientnet, kind)
    captum = LayerGradCam(FromPixels(net), net.trunk.encoder.top_activation)
    theirs = captum.attribute(PIXELS.clone().requires_grad_(), target=TARGET, relu_attributions=True)[:, 0]
    ours = cams(net, {"pixels": PIXELS}, TARGET[:, None])[:, 0]
    torch.testing.assert_close(ours / theirs.max(), theirs / theirs.max(), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("kind", "tap"),
    [("linear_probe", "last_block"), ("top_only", "last_block"), ("adapters", "block3_input"), ("fine_tune", None)],
)
def test_a_cached_tap_gives_the_same_cams_as_the_pixels(efficientnet: Path, kind: str, tap: str | None) -> None:
    net = network(efficientnet, kind)
    assert net.map_tap() == tap
    if tap:
        taps = net.trunk.taps(PIXELS, [tap])
        torch.testing.assert_close(cams(net, taps, TARGET[:, None]), cams(net, {"pixels": PIXELS}, TARGET[:, None]))


def test_a_body_of_its_own_is_not_explained_from_the_backbone_s_taps(efficientnet: Path) -> None:
    net = network(efficientnet, "top_only")
    net.own_body = True
    assert net.map_tap() is None
