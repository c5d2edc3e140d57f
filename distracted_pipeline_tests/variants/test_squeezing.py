import torch
from transformers import EfficientNetConfig
from transformers.models.efficientnet.modeling_efficientnet import EfficientNetSqueezeExciteLayer

from distracted_pipeline.variants.squeezing import FrozenExcitation


def test_a_frozen_excitation_and_its_gradient_are_those_of_the_layer() -> None:
    torch.manual_seed(0)
    layer = EfficientNetSqueezeExciteLayer(EfficientNetConfig(), in_dim=8, expand_dim=24, expand=True)
    frozen = FrozenExcitation(layer.requires_grad_(False))
    assert frozen.state_dict().keys() == layer.state_dict().keys()
    x = torch.randn(3, 24, 5, 7).contiguous(memory_format=torch.channels_last).requires_grad_()
    gradient = torch.randn_like(x)
    found = []
    for each in (layer, frozen):
        values = each(x)
        values.backward(gradient)
        assert x.grad is not None
        found.append((values.detach(), x.grad))
        x.grad = None
    for theirs, ours in zip(*found, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-6)
    with torch.no_grad():
        assert torch.equal(frozen(x), found[1][0])


def test_low_precision_and_compilers_take_the_plain_way() -> None:
    layer = EfficientNetSqueezeExciteLayer(EfficientNetConfig(), in_dim=8, expand_dim=24, expand=True)
    frozen = FrozenExcitation(layer.requires_grad_(False))
    x = torch.randn(2, 24, 4, 4, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        values = frozen(x)
    assert values.grad_fn is not None
    assert "Excited" not in values.grad_fn.name()
    assert "Excited" in frozen(x).grad_fn.name()
