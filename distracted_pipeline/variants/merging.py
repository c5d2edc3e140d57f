"""Convolutions that learn, merged with what is linear around them: batch norm after, low-rank update beside.

Both go into the weights, which are small; activations, which are large, pass once, and gradients come back the same
way, through operations that a compiler can fuse. Results are the same up to float rounding. Where nothing learns,
`trunks` merges once and for all.
"""

from typing import Any

from torch import Tensor, nn


class MergedNorm(nn.Module):
    """A batch norm in eval mode that `MergedConv` has done already; it keeps the parameters by their names."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        assert norm.running_mean is not None
        assert norm.running_var is not None
        self.weight, self.bias, self._eps = norm.weight, norm.bias, norm.eps
        self.register_buffer("running_mean", norm.running_mean)
        self.register_buffer("running_var", norm.running_var)

    def scale_and_shift(self) -> tuple[Tensor, Tensor]:
        """Return what the norm multiplies each channel by and adds to it, `[C]` each."""
        scale = self.weight * (self.running_var + self._eps).rsqrt()
        return scale, self.bias - self.running_mean * scale

    def forward(self, x: Tensor) -> Tensor:
        """Return `x`."""
        return x


class MergedConv(nn.Module):
    """A convolution, its low-rank update if it has one, and the batch norm after it, as one convolution.

    Parameters keep their names.

    Args:
        conv: `nn.Conv2d`, or peft's LoRA layer around one.
        norm: What follows; None where nothing does.
    """

    def __init__(self, conv: Any, norm: MergedNorm | None) -> None:
        super().__init__()
        if is_lora(conv):
            self.base_layer, self.lora_A, self.lora_B = conv.base_layer, conv.lora_A, conv.lora_B
            self._scaling = conv.scaling["default"]
        else:
            self.weight, self.bias = conv.weight, conv.bias
        # In tuples, for modules would be registered, and their parameters found under a second name.
        self._conv = (conv.base_layer if is_lora(conv) else conv,)
        self._norm = (norm,)

    def forward(self, x: Tensor) -> Tensor:
        """Return what convolution, update and norm would return one after the other."""
        (conv,), (norm,) = self._conv, self._norm
        weight, bias = self._weights()
        if norm is not None:
            scale, shift = norm.scale_and_shift()
            weight = weight * scale[:, None, None, None]
            bias = shift if bias is None else shift + bias * scale
        return conv._conv_forward(x, weight, bias)

    def _weights(self) -> tuple[Any, Any]:
        if not hasattr(self, "lora_A"):
            return self.weight, self.bias
        up, down = (each["default"].weight.flatten(1) for each in (self.lora_B, self.lora_A))
        update = self._scaling * (up @ down)
        return self.base_layer.weight + update[:, :, None, None], self.base_layer.bias


def is_lora(module: nn.Module) -> bool:
    """Tell whether a module is peft's low-rank update of a pointwise convolution, without importing peft."""
    if isinstance(module, MergedConv):
        return False
    return hasattr(module, "lora_A") and isinstance(getattr(module, "base_layer", None), nn.Conv2d)
