"""One network for every variant: a trunk from some tap onwards, a mask head, or both, and a classifier.

Belongs here: what is computed. Does not belong here: which weights learn (`kinds`), and how (`training`).
"""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from distracted_pipeline.dataset import Dataset
from distracted_pipeline.errors import DistractedError, NoMap
from distracted_pipeline.variants.backbones import Backbone
from distracted_pipeline.variants.config import VariantConfig
from distracted_pipeline.variants.trunks import EfficientNetTrunk, Trunk

STANDARDISED = "standardised"
"""The pooled embedding as the classifier reads it: a frozen input, so a training computes it once for all epochs."""


class Standardise(nn.Module):
    """`(x - mean) / std` with the training drivers' statistics; folded into the classifier when saved.

    `removed` are directions `[k, D]`, orthonormal, along which the result has no part any more.
    """

    mean: Tensor
    std: Tensor
    removed: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("std", torch.ones(width))
        self.register_buffer("removed", torch.zeros(0, width), persistent=False)

    def fit(self, pooled: Tensor) -> None:
        """Take mean and standard deviation from embeddings `[N, D]`; constant features keep their scale."""
        std, mean = torch.std_mean(pooled.double(), dim=0, correction=0)
        self.mean.copy_(mean)
        self.std.copy_(torch.where(std > 1e-6, std, 1.0))

    def remove(self, directions: Tensor) -> None:
        """Take orthonormal directions `[k, D]` of standardised embeddings out of all that follow."""
        self.removed = directions.to(self.mean)

    def copy_from(self, other: "Standardise") -> None:
        """Become another one."""
        self.load_state_dict(other.state_dict())
        self.removed = other.removed.clone()

    def forward(self, x: Tensor) -> Tensor:
        """Return standardised embeddings."""
        z = torch.addcmul(-self.mean / self.std, x, 1 / self.std)  # one pass over x
        return z - z @ self.removed.mT @ self.removed if len(self.removed) else z


class MaskHead(nn.Module):
    """Reads class-fraction maps `[B, mask names, h, w]`; returns `[B, width]`.

    Maximum pooling throughout, because a phone covers a few cells and a mean would dilute it. Beside the
    flattened maps: per category, its strongest cell and the root of its area, so that presence is never lost.
    """

    CHANNELS = (16, 32, 32)
    GRID = (3, 4)

    def __init__(self, mask_names: int) -> None:
        super().__init__()
        first, second, third = self.CHANNELS
        self.conv1 = nn.Conv2d(mask_names, first, 3, stride=2, padding=1)
        self.conv2 = nn.Conv2d(first, second, 3, padding=1)
        self.conv3 = nn.Conv2d(second, third, 3, padding=1)
        for conv in (self.conv1, self.conv2, self.conv3):
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
        self.width = third * self.GRID[0] * self.GRID[1] + 2 * (mask_names - 1)

    def maps(self, fractions: Tensor) -> Tensor:
        """Return the last convolution's activation, `[B, 32, 7, 10]` for maps of 60 x 80."""
        # Rectified after pooling: the same values from a quarter of the work.
        x = torch.relu(functional.max_pool2d(self.conv1(fractions), 2))
        x = torch.relu(functional.max_pool2d(self.conv2(x), 2))
        return torch.relu(self.conv3(x))

    def describe(self, maps: Tensor, fractions: Tensor) -> Tensor:
        """Return the flattened features of `maps`, with the presence of each category beside."""
        local = _strongest(maps, self.GRID).flatten(1)
        # Row by row, as channels last lies in memory: over both axes at once it takes ten times as long.
        cells = fractions.permute(0, 2, 3, 1)
        strongest, area = (
            reduce(reduce(cells.flatten(2), 1).view(cells[:, 0].shape), 1) for reduce in (torch.amax, torch.mean)
        )
        return torch.cat([local, strongest[:, 1:], area[:, 1:].sqrt()], 1)

    def forward(self, fractions: Tensor) -> Tensor:
        """Return the mask features, `[B, width]`."""
        return self.describe(self.maps(fractions), fractions)


def _strongest(maps: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return what `adaptive_max_pool2d` does; its gradient adds up in no fixed order on a GPU, and ONNX lacks it."""
    if not (torch.are_deterministic_algorithms_enabled() or torch.onnx.is_in_onnx_export()):
        return functional.adaptive_max_pool2d(maps, grid)
    for axis, cells in zip((2, 3), grid, strict=True):
        size = maps.shape[axis]
        bins = [(i * size // cells, -(-(i + 1) * size // cells)) for i in range(cells)]
        maps = torch.stack([maps.narrow(axis, a, b - a).max(axis).values for a, b in bins], axis)
    return maps


class VariantNet(nn.Module):
    """A variant's network.

    Attributes:
        inputs: What `forward` reads: taps of the backbone, `fractions` of the mask cache.
        own_body: The frozen part comes from another checkpoint, so the backbone's cached taps do not fit it.
        map_inputs: What `forward_with_map` reads: `pixels` (normalised) and `fractions`.
    """

    def __init__(self, config: VariantConfig, trunk: Trunk | None, mask_head: MaskHead | None, classes: int) -> None:
        super().__init__()
        self.inputs = config.inputs
        self.map_inputs = (("pixels",) if trunk else ()) + (("fractions",) if mask_head else ())
        self.own_body = False
        self.trunk = trunk
        self.mask_head = mask_head
        self.pooled_width = trunk.width if trunk else 0
        self.standardise = Standardise(self.pooled_width)
        self.classifier = nn.Linear(self.pooled_width + (mask_head.width if mask_head else 0), classes)

    def forward(self, batch: dict[str, Tensor], keep: Tensor | None = None) -> Tensor:
        """Return logits `[B, classes]` from a batch of `inputs`.

        Args:
            batch: `[B, ...]` by name; `STANDARDISED` may stand for `pooled`.
            keep: What to multiply the classifier's input by, `[B, width]`, while training with dropout. Drawn by the
                caller, from a generator of the training's own: no training disturbs the luck of another.
        """
        masks = self.mask_head(batch["fractions"]) if self.mask_head is not None else None
        return self._classify(self.embedding(batch), masks, keep)

    def embedding(self, batch: Mapping[str, Tensor]) -> Tensor | None:
        """Return the standardised embedding of a batch, `[..., pooled_width]`; None without a backbone."""
        if self.trunk is None or STANDARDISED in batch:
            return batch.get(STANDARDISED)
        entry = self.inputs[0]
        return self.standardise(batch[entry] if entry == "pooled" else self.trunk(batch[entry], entry)[1])

    @property
    def is_linear(self) -> bool:
        """Whether logits are a linear function of the embedding, which is cached."""
        return self.inputs == ("pooled",)

    def forward_with_map(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return logits and the last spatial map before pooling, from a batch of `map_inputs`.

        The map is the trunk's, or the mask head's where there is no trunk. A batch may hold `map_tap` instead of
        `pixels`: the same map for less work. A logit can be differentiated by the map unless gradients are off.

        Raises:
            NoMap: The backbone has no spatial map (a transformer's tokens).
        """
        if self.trunk is None:
            assert self.mask_head is not None
            with torch.no_grad():
                last = self.mask_head.maps(batch["fractions"])
            last.requires_grad_(torch.is_grad_enabled())
            return self._classify(None, self.mask_head.describe(last, batch["fractions"])), last
        entry = next(name for name in batch if name != "fractions")
        last, pooled = self.trunk.maps(batch[entry], entry)
        if last.ndim != 4:
            raise NoMap(
                f"{self.trunk.family} ends in tokens, not in a map, so there is nothing to draw. "
                "Set DISTRACTED_BACKBONE to a convolutional model for Grad-CAM."
            )
        masks = self.mask_head(batch["fractions"]) if self.mask_head is not None else None
        return self._classify(self.standardise(pooled), masks), last

    def forward_from_images(self, batch: dict[str, Tensor]) -> Tensor:
        """Return logits from a batch of `map_inputs`: the whole network, for images that have no cached taps."""
        embedding = self.standardise(self.trunk(batch["pixels"])[1]) if self.trunk is not None else None
        masks = self.mask_head(batch["fractions"]) if self.mask_head is not None else None
        return self._classify(embedding, masks)

    def map_tap(self) -> str | None:
        """Return the deepest tap that the map can be computed from; None where that needs `pixels`."""
        if self.trunk is None or self.own_body or self.inputs[0] == "pixels":
            return None
        if self.inputs[0] == "pooled":  # the map lies before it, in a part of the backbone that never changed
            return "last_block" if isinstance(self.trunk, EfficientNetTrunk) else None
        return self.inputs[0]

    def pooled_weights(self) -> Tensor | None:
        """Return W `[classes, C]` where logits are W times the map's mean plus a part without the map, else None."""
        if self.trunk is None or not self.trunk.pools_by_mean():
            return None
        return self.classifier.weight.detach()[:, : self.pooled_width] / self.standardise.std

    def train(self, mode: bool = True) -> "VariantNet":
        """Leave the trunk in eval mode, always: stored batch-norm statistics, no dropout.

        Hugging Face's EfficientNet would otherwise replace its statistics by those of the last batch (momentum
        0.99). It also makes every step independent of how a batch is cut into pieces.
        """
        super().train(mode)
        if self.trunk is not None:
            self.trunk.eval()
        return self

    def streamline(self) -> None:
        """Make the trunk faster to train (`Trunk.streamline`). Frozen weights cannot be loaded afterwards."""
        if self.trunk is not None:
            self.trunk.streamline()

    def fold(self) -> None:
        """Merge the standardisation, with what it removes, into the classifier, which then reads plain embeddings."""
        with torch.no_grad():
            read, removed = self.classifier.weight[:, : self.pooled_width].double(), self.standardise.removed.double()
            weight = (read - read @ removed.mT @ removed) / self.standardise.std
            self.classifier.bias.sub_(weight @ self.standardise.mean.double())
            self.classifier.weight[:, : self.pooled_width] = weight
            self.standardise.mean.zero_()
            self.standardise.std.fill_(1.0)
            self.standardise.remove(self.standardise.removed[:0])

    def learning(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield the parameters that learn, by name: all that a checkpoint has to keep."""
        return ((name, parameter) for name, parameter in self.named_parameters() if parameter.requires_grad)

    def count(self) -> tuple[int, int]:
        """Return the numbers of trainable and of all parameters."""
        return sum(p.numel() for _, p in self.learning()), sum(p.numel() for p in self.parameters())

    def _classify(self, embedding: Tensor | None, masks: Tensor | None, keep: Tensor | None = None) -> Tensor:
        parts = [part for part in (embedding, masks) if part is not None]
        read = torch.cat(parts, 1) if len(parts) > 1 else parts[0]  # else it would be copied
        return self.classifier(read if keep is None else read * keep)


def build_network(config: VariantConfig, backbone: Backbone | None, dataset: Dataset, seed: int = 0) -> VariantNet:
    """Return a fresh network of `config` with only what should learn trainable.

    Args:
        config: The variant.
        backbone: Its backbone, which becomes part of the network; None for a variant that reads no tap.
        dataset: Its classes are the logits, its mask categories the channels of the mask head.
        seed: Of the initial weights, e.g. from `VariantConfig.training_seed`.

    Raises:
        DistractedError: The kind needs another backbone or a package that is not there, or a base block does not exist.
    """
    kind = config.technique
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        mask_head = MaskHead(len(dataset.mask_names)) if "fractions" in config.inputs else None
        trunk = None
        if config.taps:
            if backbone is None:
                raise ValueError(f"variant {config.name} reads {config.taps} and needs a backbone")
            trunk = backbone.trunk
            reason = kind.why_not(backbone.name, trunk.family)
            if reason:
                raise DistractedError(f"variant {config.name}: {reason}")
            if kind.insert is not None:
                kind.insert(trunk, config)
        net = VariantNet(config, trunk, mask_head, len(dataset.class_ids))
    chosen = kind.learning(net)
    for name, parameter in net.named_parameters():
        parameter.requires_grad_(name in chosen)
    return net.eval()
