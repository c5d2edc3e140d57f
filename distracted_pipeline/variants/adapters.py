"""Small trainable parts in a frozen trunk, nothing at all at the start: adapters for EfficientNet, LoRA for any.

Adapters: Houlsby et al. 2019 (serial) and He et al. 2022 (parallel), with convolutions. LoRA: Hu et al. 2022,
through peft, which loads when it is used. What trains and how is `networks` and `training`.
"""

import copy
from typing import Any

from torch import Tensor, nn

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.variants.trunks import EfficientNetTrunk, Trunk

REDUCTION = 4
"""Channels are squeezed by this factor inside an adapter, to no fewer than 8."""

NEEDS_PEFT = "kind lora needs the package peft, which is not installed: pip install 'distracted_pipeline[lora]'"


class Adapter(nn.Module):
    """Squeeze, look around (depthwise, with the block's stride and padding), expand by zeros."""

    def __init__(self, width_in: int, width_out: int, spatial: nn.Module) -> None:
        super().__init__()
        inner = max(8, width_in // REDUCTION)
        self.down = nn.Conv2d(width_in, inner, 1)
        self.spatial = spatial
        self.up = nn.Conv2d(inner, width_out, 1)
        self.act = nn.SiLU()
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Return `[B, width_out, h', w']`; exactly zero until the first training step."""
        return self.up(self.act(self.spatial(self.act(self.down(x)))))


class SerialAdapter(nn.Module):
    """`h + A(h)` with `h = block(x)`."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.block = block
        width = block.projection.project_conv.out_channels
        inner = max(8, width // REDUCTION)
        self.adapter = Adapter(width, width, nn.Conv2d(inner, inner, 3, padding=1, groups=inner))

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output, adapted."""
        h = self.block(x)
        return h + self.adapter(h)


class ParallelAdapter(nn.Module):
    """`block(x) + weight * A(x)`; the adapter strides and pads as the block does."""

    def __init__(self, block: Any, weight: float) -> None:
        super().__init__()
        self.block = block
        self.weight = weight
        entry = block.expansion.expand_conv if block.expand else block.depthwise_conv.depthwise_conv
        width = entry.in_channels
        inner = max(8, width // REDUCTION)
        depthwise = block.depthwise_conv
        like = depthwise.depthwise_conv
        strided = depthwise.stride == 2
        look = nn.Conv2d(
            inner, inner, like.kernel_size, stride=like.stride, padding=0 if strided else "same", groups=inner
        )
        pad = copy.deepcopy(depthwise.depthwise_conv_pad) if strided else nn.Identity()
        self.adapter = Adapter(width, block.projection.project_conv.out_channels, nn.Sequential(pad, look))

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output plus the weighted adapter's."""
        return self.block(x) + self.weight * self.adapter(x)


def insert_adapters(trunk: EfficientNetTrunk, base_blocks: tuple[int, ...], weight: float) -> None:
    """Wrap the first repeat of each base block; `weight` 0 is serial, above 0 parallel.

    Raises:
        DistractedError: A base block does not exist.
    """
    blocks = trunk.encoder.blocks
    for index in [trunk.block_index(base) for base in base_blocks]:
        blocks[index] = ParallelAdapter(blocks[index], weight) if weight else SerialAdapter(blocks[index])


def insert_lora(trunk: Trunk, rank: int) -> None:
    """Put low-rank updates, zero at the start, on pointwise convolutions and linear layers wider than `rank`.

    Raises:
        DistractedError: peft is not installed, or no layer is wide enough.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise DistractedError(NEEDS_PEFT) from error
    names = [name for name, module in trunk.named_modules() if _lora_width(module) > rank]
    if not names:
        raise DistractedError(
            f"lora_rank is {rank}: {trunk.family} has no pointwise convolution or linear layer that is wider. Lower it."
        )
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=rank, target_modules=names), trunk)
    for name in names:
        wrapped: Any = trunk.get_submodule(name)
        if isinstance(conv := wrapped.base_layer, nn.Conv2d):  # MobileNet reads these off its convolutions to pad
            wrapped.kernel_size, wrapped.stride, wrapped.dilation = conv.kernel_size, conv.stride, conv.dilation


def _lora_width(module: nn.Module) -> int:
    """Return the smaller of a layer's widths where its weights form one matrix, else 0."""
    if isinstance(module, nn.Linear):
        return min(module.in_features, module.out_features)
    if isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) and module.groups == 1:
        return min(module.in_channels, module.out_channels)
    return 0
