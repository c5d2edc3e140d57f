"""Adapters for EfficientNet: small trainable parts of a frozen trunk that change nothing at the start.

Serial ones after Houlsby et al. 2019, parallel ones after He et al. 2022, with convolutions. What else learns beside
them is `kinds.adapters`.
"""

import copy
from typing import Any

from torch import Tensor, nn

from distracted_pipeline.variants.trunks import EfficientNetTrunk

REDUCTION = 4
"""Channels are squeezed by this factor inside an adapter, to no fewer than 8."""


class Adapter(nn.Module):
    """Squeeze, convolve depthwise with the block's stride and padding, expand with weights that start at zero."""

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
