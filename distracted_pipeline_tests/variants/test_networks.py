"""Networks: identity at the start, only what should learn learns, maps explain logits."""

import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional
from transformers import EfficientNetConfig
from transformers.models.efficientnet.modeling_efficientnet import round_filters

from distracted_pipeline.dataset import STATE_FARM
from distracted_pipeline.demo.models import build_tiny_efficientnet
from distracted_pipeline.devices import determinism
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.training.optimizers import build_optimizer, parameter_groups
from distracted_pipeline.variants.adapters import Adapter, insert_adapters
from distracted_pipeline.variants.backbones import load_backbone, why_unsupported
from distracted_pipeline.variants.config import VariantConfig
from distracted_pipeline.variants.networks import MaskHead, VariantNet, build_network
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
    backbone = load_backbone(settings_for(folder)) if config.taps else None
    return build_network(config, backbone, STATE_FARM)


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


SCALING = {
    "b0": (1.0, 1.0), "b1": (1.0, 1.1), "b2": (1.1, 1.2), "b3": (1.2, 1.4), "b4": (1.4, 1.8), "b5": (1.6, 2.2),
    "b6": (1.8, 2.6), "b7": (2.0, 3.1),
}  # fmt: skip
"""Width and depth of the published EfficientNets; b0's base blocks 0 and 6 have one repeat."""


LARGE = ("b5", "b6", "b7")
"""Networks of hundreds of modules, which take seconds to build."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in LARGE else name for name in SCALING]
)
def test_adapters_at_every_base_block_of_every_efficientnet_start_as_nothing(name: str, tmp_path: Path) -> None:
    width, depth = SCALING[name]
    usual = EfficientNetConfig(width_coefficient=0.1 * width, depth_coefficient=depth)
    lists = ("in_channels", "out_channels", "kernel_sizes", "strides", "num_block_repeats", "expand_ratios")
    facts = {field: list(getattr(usual, field)) for field in lists}
    sizes = {"width_coefficient": 0.1 * width, "depth_coefficient": depth, "hidden_dim": round_filters(usual, 1280)}
    folder = build_tiny_efficientnet(tmp_path / name, image_size=SIDE, **facts, **sizes)
    pixels = torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        expected = load_backbone(settings_for(folder)).trunk(pixels)
    assert expected[0].abs().max() > 0.01
    for weight in (0.0, 1.0):
        trunk = load_backbone(settings_for(folder)).trunk
        assert isinstance(trunk, EfficientNetTrunk)
        blocks = tuple(range(len(trunk.first_repeats())))
        insert_adapters(trunk, blocks, weight)
        adapters = [module for module in trunk.modules() if isinstance(module, Adapter)]
        assert len(adapters) == len(blocks) == 7
        found = trunk(pixels)
        for ours, theirs in zip(found, expected, strict=True):
            assert (ours - theirs).abs().max() == 0
        for gradient in torch.autograd.grad(found[1].sum(), [adapter.up.weight for adapter in adapters]):
            assert gradient.abs().max() > 0  # each adapter has a say


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
    optimizer = build_optimizer(dict(net.learning()), config)
    batch = batch_for(net, net.inputs)
    labels = torch.arange(6) % 10
    net.train()
    for _ in range(2):  # what lies before a zero-initialised layer gets its first gradient in the second step
        optimizer.zero_grad()
        functional.cross_entropy(net(batch), labels).backward()
        optimizer.step()
    moved = {name for name, tensor in net.state_dict().items() if not torch.equal(tensor, before[name])}
    should = config.technique.learning(net)
    assert moved == should
    parts = {
        "linear_probe": {"classifier"},
        "linear_probe_without_driver": {"classifier"},
        "top_only": {"classifier", "top_conv", "top_bn"},
        "adapters": {"classifier", "top_conv", "top_bn", "adapter"},
        "masks_only": {"classifier", "mask_head"},
        "masks_fused": {"classifier", "mask_head"},
        "lora": {"classifier", "lora_A.default", "lora_B.default"},
        "batch_norm": {"classifier", "batchnorm", "expand_bn", "depthwise_norm", "project_bn", "top_bn"},
    }
    if kind == "fine_tune":
        assert moved == {name for name, _ in net.named_parameters()}
    else:
        assert {part for name in moved for part in parts[kind] if f"{part}." in name} == parts[kind]
        assert all(any(f"{part}." in name for part in parts[kind]) for name in moved)


def test_the_body_learns_at_its_own_rate(efficientnet: Path) -> None:
    net = build(variant("fine_tune", top_lr=0.5, body_lr=0.25), efficientnet)
    groups = build_optimizer(dict(net.learning()), variant("fine_tune", top_lr=0.5, body_lr=0.25)).param_groups
    assert [group["lr"] for group in groups] == [0.5, 0.25]
    assert sum(len(group["params"]) for group in groups) == len(list(net.parameters()))


def test_layer_decay_gives_every_layer_its_rate_from_the_last_to_the_first(
    efficientnet: Path, other_families: dict[str, Path]
) -> None:
    config = variant("fine_tune", top_lr=0.5, body_lr=0.25, layer_decay=0.5)
    for folder in (efficientnet, other_families["mobilenet_v2"], other_families["convnext"]):
        net = build(config, folder)
        groups = parameter_groups(dict(net.learning()), config)
        names = {id(parameter): name for name, parameter in net.named_parameters()}
        grouped = [[names[id(parameter)] for parameter in group["params"]] for group in groups]
        assert sorted(name for group in grouped for name in group) == sorted(names.values())
        assert [group["lr"] for group in groups[1:]] == [0.25 * 0.5**depth for depth in range(len(groups) - 1)]
        assert all("embeddings" in name or "conv_stem" in name for name in grouped[-1])
    blocks = [{name.split("blocks.")[1][0] for name in group} for group in _grouped(efficientnet, config)[1:-1]]
    assert blocks == [{"5"}, {"4"}, {"3"}, {"2"}, {"1"}, {"0"}]


def _grouped(folder: Path, config: VariantConfig) -> list[list[str]]:
    net = build(config, folder)
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    groups = parameter_groups(dict(net.learning()), config)
    return [[names[id(parameter)] for parameter in group["params"]] for group in groups]


@pytest.mark.parametrize("kind", KINDS)
def test_training_mode_leaves_the_trunk_in_eval_mode(efficientnet: Path, kind: str) -> None:
    net = build(variant(kind, dropout=0.5), efficientnet).train()
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
    head = MaskHead(7)
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
@pytest.mark.parametrize("kind", ["linear_probe", "fine_tune", "masks_fused", "lora"])
def test_the_other_kinds_work_with_any_family(other_families: dict[str, Path], family: str, kind: str) -> None:
    net = build(variant(kind), other_families[family])
    logits, last = net.forward_with_map(batch_for(net, net.map_inputs))
    (gradient,) = torch.autograd.grad(logits.square().sum(), last)
    assert logits.shape == (6, 10)
    assert gradient.shape == last.shape


def test_the_same_seed_gives_the_same_network(efficientnet: Path) -> None:
    config = variant("masks_fused")
    backbone = load_backbone(settings_for(efficientnet))
    one, two, other = (build_network(config, backbone, STATE_FARM, seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["classifier.weight"], other["classifier.weight"])


@pytest.mark.parametrize("kind", ["lora", "batch_norm"])
def test_lora_and_batch_norms_start_as_the_backbone(efficientnet: Path, kind: str) -> None:
    net = build(variant(kind), efficientnet).eval()
    pixels = batch_for(net, ("pixels",))["pixels"]
    with torch.no_grad():
        plain = load_backbone(settings_for(efficientnet)).trunk(pixels)
        assert net.trunk is not None
        assert all(torch.equal(ours, theirs) for ours, theirs in zip(net.trunk(pixels), plain, strict=True))


def test_lora_leaves_layers_alone_that_are_no_wider_than_its_rank(efficientnet: Path) -> None:
    sizes = {rank: build(variant("lora", lora_rank=rank), efficientnet).count()[0] for rank in (2, 4)}
    assert sizes[2] < sizes[4]
    with pytest.raises(DistractedError, match=r"lora_rank is 5000: efficientnet has no .* wider"):
        build(variant("lora", lora_rank=5000), efficientnet)


def test_without_peft_lora_names_the_extra(efficientnet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(DistractedError, match=r'pip install -c constraints.txt -e "\.\[lora\]"'):
        build(variant("lora"), efficientnet)
    monkeypatch.setattr("distracted_pipeline.variants.kinds.find_spec", lambda name: None)
    assert "[lora]" in (why_unsupported(settings_for(efficientnet), variant("lora")) or "")
    assert why_unsupported(settings_for(efficientnet), variant("batch_norm")) is None


def test_batch_norms_are_asked_of_a_backbone_that_has_some(other_families: dict[str, Path]) -> None:
    assert build(variant("batch_norm"), other_families["mobilenet_v2"]).count()[0] > 0
    with pytest.raises(DistractedError, match="kind batch_norm trains batch norms, and convnext has none"):
        build(variant("batch_norm"), other_families["convnext"])


def test_a_streamlined_backbone_gives_the_same_taps(efficientnet: Path, other_families: dict[str, Path]) -> None:
    trunk, folded = (load_backbone(settings_for(efficientnet)).trunk for _ in range(2))
    folded.streamline()
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules())
    pools = (torch.nn.AdaptiveAvgPool2d, torch.nn.AvgPool2d)
    assert not any(isinstance(module, pools) for module in folded.modules())
    pixels = torch.randn(4, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    names = ("pooled", "last_block", "block3_input")
    with torch.no_grad():
        expected, ours = trunk.taps(pixels, names), folded.taps(pixels, names)
    for name in names:
        scale = expected[name].abs().max()
        assert (ours[name] - expected[name]).abs().max() < 1e-5 * scale, name
    mobile = load_backbone(settings_for(other_families["mobilenet_v2"])).trunk
    before = mobile.state_dict()
    mobile.streamline()
    assert mobile.state_dict().keys() == before.keys()


@pytest.mark.parametrize("weight", [0.0, 1.0], ids=["serial", "parallel"])
def test_fresh_adapters_in_a_streamlined_trunk_change_exactly_nothing(efficientnet: Path, weight: float) -> None:
    pixels = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    plain = load_backbone(settings_for(efficientnet)).trunk
    plain.streamline()
    for base in range(5):
        trunk = load_backbone(settings_for(efficientnet)).trunk
        assert isinstance(trunk, EfficientNetTrunk)
        insert_adapters(trunk, (base,), weight)
        trunk.requires_grad_(False).streamline()
        with torch.no_grad():
            for ours, theirs in zip(trunk(pixels), plain(pixels), strict=True):
                assert (ours - theirs).abs().max() == 0, base


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "masks_only"])
def test_a_streamlined_network_learns_the_same_weights_by_the_same_names(efficientnet: Path, kind: str) -> None:
    plain, fast = (build(variant(kind), efficientnet) for _ in range(2))
    for parameter in (*plain.parameters(), *fast.parameters()):
        if not parameter.any():  # adapters and LoRA begin with zeros, which would hide what lies before
            torch.nn.init.constant_(parameter, 0.01)
    fast.streamline()
    batch, labels = batch_for(plain, plain.inputs), torch.arange(6) % 10
    gradients = []
    for net in (plain, fast):
        functional.cross_entropy(net(batch), labels).backward()
        gradients.append({name: parameter.grad for name, parameter in net.learning()})
        assert all(parameter.grad is None for parameter in net.parameters() if not parameter.requires_grad)
    ours, theirs = gradients
    assert ours.keys() == theirs.keys() == variant(kind).technique.learning(plain)
    for name, gradient in theirs.items():
        assert gradient is not None
        assert torch.allclose(gradient, ours[name], rtol=1e-3, atol=1e-4 * float(ours[name].abs().max())), name


def test_the_mask_head_reads_the_same_where_only_deterministic_kernels_are_allowed() -> None:
    """Its pooling has none on a GPU, so it is composed of others there."""
    fractions = torch.rand(3, 7, 60, 80, generator=torch.Generator().manual_seed(0))
    head, found = MaskHead(7), []
    for wanted in (False, True):
        head.zero_grad()
        with determinism(wanted):
            read = head(fractions)
            read.square().sum().backward()
        found.append(
            [read.detach(), *(parameter.grad.clone() for parameter in head.parameters() if parameter.grad is not None)]
        )
    for plain, fixed in zip(*found, strict=True):
        assert torch.allclose(plain, fixed, rtol=1e-5, atol=1e-6)
    assert not torch.are_deterministic_algorithms_enabled()
