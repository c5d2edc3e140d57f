"""Networks: identity at the start, only what should learn learns, maps explain logits."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.training.loop import build_optimizer
from distracted_pipeline.variants.adapters import insert_adapters
from distracted_pipeline.variants.backbones import load_backbone
from distracted_pipeline.variants.config import VariantConfig
from distracted_pipeline.variants.networks import MaskHead, VariantNet, build_network, learns
from distracted_pipeline.variants.trunks import EfficientNetTrunk
from distracted_pipeline_tests.variants.tiny import KINDS, SIDE, settings_for, variant


def batch_for(net: VariantNet, names: tuple[str, ...], count: int = 6) -> dict[str, torch.Tensor]:
    """Random inputs; taps are those of random pixels."""
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randn(count, 3, SIDE, SIDE, generator=generator)
    ids = torch.randint(0, 7, (count, 60, 80), generator=generator)
    ready = {"pixels": pixels, "fractions": functional.one_hot(ids, 7).permute(0, 3, 1, 2).float()}
    if net.trunk is not None:
        with torch.no_grad():
            ready |= net.trunk.taps(pixels, [name for name in names if name not in ready])
    return {name: ready[name] for name in names}


def build(config: VariantConfig, folder: Path) -> VariantNet:
    return build_network(config, load_backbone(settings_for(folder)) if config.taps else None)


@pytest.mark.parametrize("weight", [0.0, 1.0], ids=["serial", "parallel"])
def test_fresh_adapters_change_exactly_nothing_at_any_base_block(efficientnet: Path, weight: float) -> None:
    pixels = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    plain = load_backbone(settings_for(efficientnet)).trunk
    assert isinstance(plain, EfficientNetTrunk)
    with torch.no_grad():
        expected = plain(pixels)
        for base in range(5):
            trunk = load_backbone(settings_for(efficientnet)).trunk
            assert isinstance(trunk, EfficientNetTrunk)
            insert_adapters(trunk, (base,), weight)
            for ours, theirs in zip(trunk(pixels), expected, strict=True):
                assert (ours - theirs).abs().max() == 0, base


@pytest.mark.parametrize("odd", [31, 33, 45])
@pytest.mark.parametrize("padded", [(), (1, 2, 3)])
def test_parallel_adapters_fit_odd_sizes_and_both_kinds_of_padding(odd: int, padded: tuple[int, ...]) -> None:
    from transformers import EfficientNetConfig, EfficientNetForImageClassification

    from distracted_pipeline.demo.models import CONFIGURATION

    model = EfficientNetForImageClassification(EfficientNetConfig(**(CONFIGURATION | {"depthwise_padding": padded})))
    trunk = EfficientNetTrunk(model.eval())
    insert_adapters(trunk, (0, 1, 2, 3, 4), 1.0)
    with torch.no_grad():
        last, _ = trunk(torch.randn(1, 3, odd, odd))
    assert last.ndim == 4


@pytest.mark.parametrize("kind", KINDS)
def test_only_what_should_learn_moves(efficientnet: Path, kind: str) -> None:
    config = variant(kind)
    net = build(config, efficientnet)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    optimizer = build_optimizer(net, config)
    batch = batch_for(net, net.inputs)
    labels = torch.arange(6) % 10
    net.train()
    for _ in range(2):  # what lies before a zero-initialised layer gets its first gradient in the second step
        optimizer.zero_grad()
        functional.cross_entropy(net(batch), labels).backward()
        optimizer.step()
    moved = {name for name, tensor in net.state_dict().items() if not torch.equal(tensor, before[name])}
    should = {name for name, _ in net.named_parameters() if learns(kind, name)}
    assert moved == should
    parts = {
        "linear_probe": {"classifier"},
        "top_only": {"classifier", "top_conv", "top_bn"},
        "adapters": {"classifier", "top_conv", "top_bn", "adapter"},
        "masks_only": {"classifier", "mask_head"},
        "masks_fused": {"classifier", "mask_head"},
    }
    if kind == "fine_tune":
        assert moved == {name for name, _ in net.named_parameters()}
    else:
        assert {part for name in moved for part in parts[kind] if f"{part}." in name} == parts[kind]
        assert all(any(f"{part}." in name for part in parts[kind]) for name in moved)


def test_the_body_learns_at_its_own_rate(efficientnet: Path) -> None:
    net = build(variant("fine_tune", top_lr=0.5, body_lr=0.25), efficientnet)
    groups = build_optimizer(net, variant("fine_tune", top_lr=0.5, body_lr=0.25)).param_groups
    assert [group["lr"] for group in groups] == [0.5, 0.25]
    assert sum(len(group["params"]) for group in groups) == len(list(net.parameters()))


@pytest.mark.parametrize("kind", KINDS)
def test_training_mode_leaves_the_trunk_in_eval_mode(efficientnet: Path, kind: str) -> None:
    net = build(variant(kind, dropout=0.5), efficientnet).train()
    assert net.dropout.training
    assert net.trunk is None or not any(module.training for module in net.trunk.modules())


@pytest.mark.parametrize("kind", KINDS)
def test_logits_with_a_map_are_the_logits_and_depend_on_the_map(efficientnet: Path, kind: str) -> None:
    net = build(variant(kind), efficientnet).eval().requires_grad_(False)
    everything = batch_for(net, tuple(dict.fromkeys((*net.inputs, *net.map_inputs))))
    logits, last = net.forward_with_map({name: everything[name] for name in net.map_inputs})
    with torch.no_grad():
        assert torch.allclose(logits, net({name: everything[name] for name in net.inputs}), atol=1e-4)
        images = net.forward_from_images({name: everything[name] for name in net.map_inputs})
        assert torch.allclose(logits, images, atol=1e-4)
    (gradient,) = torch.autograd.grad(logits[:, 0].sum(), last)
    assert last.ndim == 4
    assert gradient.abs().sum() > 0


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "masks_only"])
def test_pooled_weights_explain_every_change_of_the_map(efficientnet: Path, kind: str) -> None:
    net = build(variant(kind), efficientnet).eval().requires_grad_(False)
    net.standardise.fit(torch.randn(50, net.pooled_width) * 3 + 1)
    weights = net.pooled_weights()
    assert weights is not None
    logits, last = net.forward_with_map(batch_for(net, net.map_inputs))
    (gradient,) = torch.autograd.grad(logits[:, 4].sum(), last)
    assert torch.allclose(gradient.mean((2, 3)) * last[0, 0].numel(), weights[4].expand(6, -1), rtol=1e-3, atol=1e-5)


def test_masks_only_has_no_closed_form(efficientnet: Path) -> None:
    assert build(variant("masks_only"), efficientnet).pooled_weights() is None


def test_folding_the_standardisation_keeps_the_logits(efficientnet: Path) -> None:
    net = build(variant("masks_fused"), efficientnet).eval()
    net.standardise.fit(torch.rand(40, net.pooled_width) * 0.01 + 5)
    batch = batch_for(net, net.inputs)
    batch["pooled"] = torch.rand(6, net.pooled_width) * 0.01 + 5
    with torch.no_grad():
        before = net(batch)
        net.fold()
        assert torch.equal(net.standardise.std, torch.ones(net.pooled_width))
        assert torch.allclose(net(batch), before, atol=1e-3)


def test_a_constant_feature_does_not_blow_up(efficientnet: Path) -> None:
    net = build(variant("linear_probe"), efficientnet)
    net.standardise.fit(torch.full((20, net.pooled_width), 7.0))
    assert torch.equal(net.standardise(torch.full((1, net.pooled_width), 7.0)), torch.zeros(1, net.pooled_width))


def test_the_mask_head_sees_a_phone_of_one_cell() -> None:
    torch.manual_seed(0)
    head = MaskHead()
    empty = torch.zeros(1, 7, 60, 80)
    empty[:, 0] = 1
    phone = empty.clone()
    phone[0, 3, 20, 30], phone[0, 0, 20, 30] = 1, 0
    with torch.no_grad():
        difference = (head(phone) - head(empty)).abs()
    presence = slice(head.width - 12, head.width - 6)
    assert torch.equal(difference[0, presence], torch.tensor([0.0, 0, 1, 0, 0, 0]))
    assert difference[0, : head.width - 12].max() > 0.01


@pytest.mark.parametrize("kind", ["top_only", "adapters"])
def test_efficientnet_kinds_refuse_other_families(other_families: dict[str, Path], kind: str) -> None:
    with pytest.raises(DistractedError, match=f"kind {kind} cuts into EfficientNet"):
        build(variant(kind), other_families["mobilenet_v2"])


@pytest.mark.parametrize("family", ["mobilenet_v2", "convnext"])
@pytest.mark.parametrize("kind", ["linear_probe", "fine_tune", "masks_fused"])
def test_the_other_kinds_work_with_any_family(other_families: dict[str, Path], family: str, kind: str) -> None:
    net = build(variant(kind), other_families[family])
    logits, last = net.forward_with_map(batch_for(net, net.map_inputs))
    (gradient,) = torch.autograd.grad(logits.square().sum(), last)
    assert logits.shape == (6, 10)
    assert gradient.shape == last.shape


def test_the_same_seed_gives_the_same_network(efficientnet: Path) -> None:
    one, two = (build(variant("masks_fused"), efficientnet).state_dict() for _ in range(2))
    other = build(variant("masks_fused", seed=1), efficientnet).state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["classifier.weight"], other["classifier.weight"])
