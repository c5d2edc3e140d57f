"""EfficientNet's squeeze and excitation, computed in fewer passes over its maps; the same up to float rounding.

Belongs here: pooling a map to a row, and what a frozen layer does with it, both ways. When a trunk is rewritten to use
it is `trunks.streamline`.
"""

from typing import Any

import torch
from torch import Tensor, nn


class WholeMapMean(nn.Module):
    """What `AdaptiveAvgPool2d(1)` returns, for a squeeze or the embedding, over rows as they lie in memory.

    Pooling writes its gradient out as a map; a sum's is one row an image, which is added to others as it is. On a GPU
    (an H200) pooling took 9 ms of a step, forward and back, where a mean takes 1.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return `[B, C, 1, 1]`."""
        rows = x.permute(0, 2, 3, 1).flatten(1, 2)
        return (rows.mean(1) if x.is_cuda else rows.sum(1) / rows.shape[1])[:, :, None, None]


class FrozenExcitation(nn.Module):
    """A squeeze-and-excitation layer of which nothing learns; parts keep their names.

    Args:
        layer: Hugging Face's.
    """

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.squeeze, self.reduce, self.expand = WholeMapMean(), layer.reduce, layer.expand
        self.act_reduce, self.act_expand = layer.act_reduce, layer.act_expand

    def forward(self, x: Tensor) -> Tensor:
        """Return the map with every channel weighed."""
        plain = x.is_cuda or torch.is_autocast_enabled(x.device.type) or torch.compiler.is_compiling()
        if plain or not (x.requires_grad and torch.is_grad_enabled()):
            return x * self.weigh(self.squeeze(x))
        excited: Tensor = _Excited.apply(x, self)
        return excited

    def weigh(self, means: Tensor) -> Tensor:
        """Return the weight of every channel from its mean, `[B, C, 1, 1]` both."""
        return self.act_expand(self.expand(self.act_reduce(self.reduce(means))))


class _Excited(torch.autograd.Function):
    """Goes back in three passes over the map, in memory of one map; autograd takes five, in three."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: FrozenExcitation) -> Tensor:
        with torch.enable_grad():
            ctx.means = layer.squeeze(x.detach()).requires_grad_()
            ctx.weights = layer.weigh(ctx.means)
        ctx.save_for_backward(x)
        return x * ctx.weights.detach()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        product = gradient * x
        of_weights = product.permute(0, 2, 3, 1).flatten(1, 2).sum(1)[:, :, None, None]
        (of_means,) = torch.autograd.grad(ctx.weights, ctx.means, of_weights)
        pixels = x.shape[2] * x.shape[3]
        return torch.addcmul(of_means / pixels, gradient, ctx.weights.detach(), out=product), None
