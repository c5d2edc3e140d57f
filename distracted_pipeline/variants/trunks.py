"""Networks without their classifier: from pixels, or from a tap, to the last map and the pooled embedding.

Belongs here: where one can cut into a network. Loading one is `backbones`; what is put on top is `networks`.
EfficientNet can start at any base block, so that the frozen part is computed once; every other family offers
the pooled embedding and the whole network.
"""

from collections.abc import Sequence
from itertools import pairwise
from math import ceil
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.variants.depthwise import with_kernels
from distracted_pipeline.variants.merging import MergedConv, MergedNorm, is_lora
from distracted_pipeline.variants.squeezing import FrozenExcitation, WholeMapMean

ONLY_EFFICIENTNET = (
    "Only EfficientNet can be cut at its blocks: set DISTRACTED_BACKBONE, or the variant's `model_name`, to one."
)


class Trunk(nn.Module):
    """A classifier without its last layer.

    `forward` goes from pixels to `(map, pooled)`: the last spatial map `[B, C, h, w]` and what the classifier
    used to read, `[B, D]`. Transformers of patches have no map, and give their tokens in its place.

    Attributes:
        model: The rest of it.
        width: D.
        removed: Names of the parts of the model that were its classifier.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.width, self.removed = _remove_classifier(model)

    def forward(self, x: Tensor, start: str = "pixels") -> tuple[Tensor, Tensor]:
        """Return map and pooled embedding; the map is part of the graph that leads to the embedding."""
        if start != "pixels":
            raise DistractedError(f"{self.family} cannot start at {start!r}. {ONLY_EFFICIENTNET}")
        seen: list[Tensor] = []

        def keep(_module: nn.Module, _args: Any, output: Any) -> None:
            if (last := getattr(output, "last_hidden_state", None)) is not None:
                seen.append(last)

        base: nn.Module = self.model.base_model  # type: ignore[assignment]
        parts = list(base.children()) if base is self.model else [base]  # some families name no part of them the base
        handles = [part.register_forward_hook(keep) for part in parts]
        try:
            pooled = self.model(x).logits.flatten(1)
        finally:
            for handle in handles:
                handle.remove()
        return seen[-1] if seen else pooled, pooled

    def maps(self, x: Tensor, start: str = "pixels") -> tuple[Tensor, Tensor]:
        """Return map and pooled embedding from pixels, with a graph from the embedding back to the map."""
        return self(x.detach().requires_grad_(torch.is_grad_enabled()), start)

    def taps(self, x: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        """Return the named taps of normalised pixels `x`.

        Raises:
            DistractedError: This backbone has no such tap.
        """
        for name in names:
            if name != "pooled":
                raise DistractedError(f"{self.family} has no tap {name!r}. {ONLY_EFFICIENTNET}")
        return {"pooled": self(x)[1]} if names else {}

    def streamline(self) -> None:
        """Rewrite frozen parts so that they compute the same faster, where this family allows it."""

    @property
    def family(self) -> str:
        """Return Hugging Face's name of the architecture, e.g. `mobilenet_v2`."""
        return str(self.model.config.model_type)  # type: ignore[union-attr]

    @property
    def image_size(self) -> tuple[int, int]:
        """Return height and width of the images that the network was made for; 64 each where it does not say."""
        config: Any = self.model.config
        vision = getattr(config, "vision_config", None)
        size: Any = getattr(config, "image_size", None) or getattr(vision, "image_size", 64)
        height, width = (size, size) if isinstance(size, int) else size
        return height, width

    def pools_by_mean(self) -> bool:
        """Tell whether the embedding is the plain mean of the map, so that CAM has a closed form."""
        parameter = next(self.parameters())
        height, width = self.image_size
        probe = torch.linspace(-1, 1, 3 * height * width, device=parameter.device).view(1, 3, height, width)
        with torch.no_grad():
            last, pooled = self(probe)
        return (
            last.ndim == 4 and last.shape[1] == pooled.shape[1] and torch.allclose(last.mean((2, 3)), pooled, atol=1e-4)
        )


class EfficientNetTrunk(Trunk):
    """EfficientNet, b0 to b7 or any other configuration, cut at its base blocks."""

    @property
    def encoder(self) -> Any:
        """Return the Hugging Face encoder: `blocks`, `top_conv`, `top_bn`, `top_activation`."""
        return self.model.efficientnet.encoder  # type: ignore[union-attr]

    def first_repeats(self) -> list[int]:
        """Return, per base block, the index of its first repeat in `encoder.blocks`."""
        config: Any = self.model.config
        repeats = [ceil(config.depth_coefficient * n) for n in config.num_block_repeats]
        return [sum(repeats[:i]) for i in range(len(repeats))]

    def block_index(self, base_block: int) -> int:
        """Return where a base block starts.

        Raises:
            DistractedError: There is no such base block; the message gives the range.
        """
        starts = self.first_repeats()
        if not 0 <= base_block < len(starts):
            raise DistractedError(
                f"adapters names base block {base_block}, this EfficientNet has 0 to {len(starts) - 1}. "
                "Correct the variant's `adapters`."
            )
        return starts[base_block]

    def forward(self, x: Tensor, start: str = "pixels") -> tuple[Tensor, Tensor]:
        """Return map and pooled embedding from pixels or from the tap `start`."""
        last = self._last_map(x, start)
        return last, self._pool(last)

    def maps(self, x: Tensor, start: str = "pixels") -> tuple[Tensor, Tensor]:
        """Return map and pooled embedding; the graph starts at the map, which is all that CAM needs."""
        with torch.no_grad():
            last = self._last_map(x, start)
        last.requires_grad_(torch.is_grad_enabled())
        return last, self._pool(last)

    def taps(self, x: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        """Return the named taps: `pooled`, `last_block`, `block<i>_input`; one pass for all of them."""
        starts = {self.block_index(int(name[5:-6])): name for name in names if name.startswith("block")}
        unknown = set(names) - {"pooled", "last_block", *starts.values()}
        if unknown:
            raise DistractedError(f"EfficientNet has no tap {sorted(unknown)}: pooled, last_block, block<i>_input.")
        found: dict[str, Tensor] = {}
        x = self.model.efficientnet.embeddings(x)  # type: ignore[union-attr,operator]
        for index, block in enumerate(self.encoder.blocks):
            if index in starts:
                found[starts[index]] = x
            x = block(x)
        if "last_block" in names:
            found["last_block"] = x
        if "pooled" in names:
            found["pooled"] = self(x, "last_block")[1]
        return found

    def streamline(self) -> None:
        """Merge batch norms and low-rank updates into convolutions; take means and depthwise convolutions faster ways.

        Merged once where neither learns, else at every step. A norm that learns after a convolution that does not
        stays: the gradient of that convolution's weights would cost more than the norm.

        Results are the same up to float rounding (relative differences of 1e-5), which is finer than that of fp16
        taps. Parameters that learn keep their names and values; frozen ones do not.
        """
        for module in list(self.modules()):
            for name, child in list(module.named_children()):
                if isinstance(child, nn.Conv2d):
                    setattr(module, name, with_kernels(child))
            for (first, conv), (second, norm) in pairwise(list(module.named_children())):
                if not ((isinstance(conv, nn.Conv2d) or is_lora(conv)) and isinstance(norm, nn.BatchNorm2d)):
                    continue
                conv_learns, norm_learns = (any(p.requires_grad for p in each.parameters()) for each in (conv, norm))
                if conv_learns:
                    merged = MergedNorm(norm)
                    setattr(module, first, MergedConv(conv, merged))
                    setattr(module, second, merged)
                elif not norm_learns and isinstance(conv, nn.Conv2d):
                    setattr(module, first, fuse_conv_bn_eval(conv, norm).requires_grad_(False))
                    setattr(module, second, nn.Identity())
            for name, child in list(module.named_children()):
                if is_lora(child):
                    setattr(module, name, MergedConv(child, None))
            for name, child in list(module.named_children()):
                if isinstance(getattr(child, "squeeze", None), nn.AdaptiveAvgPool2d):
                    child.squeeze = WholeMapMean()
                    if not any(parameter.requires_grad for parameter in child.parameters()):
                        setattr(module, name, FrozenExcitation(child))
        if self.pools_by_mean():
            self.model.efficientnet.pooler = WholeMapMean()  # type: ignore[union-attr]
        self.to(memory_format=torch.channels_last)

    def pools_by_mean(self) -> bool:
        """Tell whether the embedding is the plain mean of the map, so that CAM has a closed form."""
        return self.model.config.pooling_type == "mean"  # type: ignore[union-attr]

    def _last_map(self, x: Tensor, start: str) -> Tensor:
        first = 0
        if start == "pixels":
            x = self.model.efficientnet.embeddings(x)  # type: ignore[union-attr,operator]
        elif start == "last_block":
            first = len(self.encoder.blocks)
        else:
            first = self.block_index(int(start[5:-6]))
        for block in self.encoder.blocks[first:]:
            x = block(x)
        return self.encoder.top_activation(self.encoder.top_bn(self.encoder.top_conv(x)))

    def _pool(self, last: Tensor) -> Tensor:
        return self.model.efficientnet.pooler(last).flatten(1)  # type: ignore[union-attr,operator]


def _remove_classifier(model: nn.Module) -> tuple[int, tuple[str, ...]]:
    """Replace the last linear layer, or the two of a distilled model, by nothing.

    Returns:
        How many numbers it read, and its names in the model.
    """
    widths: dict[str, int] = {}
    labels: int = model.config.num_labels  # type: ignore[union-attr,assignment]
    for name, part in model.named_children():
        linears = [module for module in part.modules() if isinstance(module, nn.Linear)]
        if part is not model.base_model and linears and linears[-1].out_features == labels:
            widths[name] = linears[0].in_features
    if len(set(widths.values())) != 1:
        raise DistractedError(
            f"{type(model).__name__} has no linear classifier to replace. Set DISTRACTED_BACKBONE to another model."
        )
    for name in widths:
        setattr(model, name, nn.Identity())
    return next(iter(widths.values())), tuple(widths)
