"""Low-rank updates of pointwise convolutions and linear layers, zero at the start (Hu et al. 2022), through peft."""

from typing import TYPE_CHECKING, Any

from distracted_pipeline.advice import install
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.variants.kinds import Kind, Option

if TYPE_CHECKING:
    from torch import nn

    from distracted_pipeline.variants.config import VariantConfig
    from distracted_pipeline.variants.trunks import Trunk


def _insert(trunk: "Trunk", config: "VariantConfig") -> None:
    """Put updates on pointwise convolutions and linear layers wider than the rank.

    Raises:
        DistractedError: No layer is wide enough.
    """
    from peft import LoraConfig, inject_adapter_in_model
    from torch import nn

    rank = config.lora_rank
    names = [name for name, module in trunk.named_modules() if _width(module) > rank]
    if not names:
        raise DistractedError(
            f"lora_rank is {rank}: {trunk.family} has no pointwise convolution or linear layer that is wider. Lower it."
        )
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=rank, target_modules=names), trunk)
    for name in names:
        wrapped: Any = trunk.get_submodule(name)
        if isinstance(conv := wrapped.base_layer, nn.Conv2d):  # MobileNet reads these off its convolutions to pad
            wrapped.kernel_size, wrapped.stride, wrapped.dilation = conv.kernel_size, conv.stride, conv.dilation


def _width(module: "nn.Module") -> int:
    """Return the smaller of a layer's widths where its weights form one matrix, else 0."""
    from torch import nn

    if isinstance(module, nn.Linear):
        return min(module.in_features, module.out_features)
    if isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) and module.groups == 1:
        return min(module.in_channels, module.out_channels)
    return 0


KIND = Kind(
    name="lora",
    trains="low-rank updates of pointwise convolutions and linear layers, classifier",
    reads=("pixels",),
    learns=r"\.lora_[AB]\.",
    insert=_insert,
    options=(Option("lora_rank", (8,)),),
    package="peft",
    install=install("lora"),
    defaults={"replicates": 2},
)
