"""Replicates of one network that train side by side: one optimiser, and nothing in common but the frozen part.

A team of one is the network as it is. In a larger one the parameters that learn are stacked on a new first axis, so
that a step takes the overhead of one. Every optimiser that works element by element does to each replicate what it
would do alone. Belongs here: how the networks of a team compute and how their weights are put in and taken out. The
loop that trains them is `loop`; which replicates form a team is decided by `job`.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from distracted_pipeline.variants.networks import VariantNet

State = dict[str, Tensor]


class Team:
    """R networks of one variant.

    Attributes:
        nets: The networks, on one device; what does not learn is the same in all of them. While a team of several
            trains, the weights that learn are in `parameters`, not in them.
        parameters: What learns, by name: as in the network for a team of one, else `[R, ...]`.
    """

    def __init__(self, nets: Sequence[VariantNet]) -> None:
        self.nets = list(nets)
        self.parameters: dict[str, nn.Parameter] = dict(self.nets[0].learning())
        if len(self.nets) > 1:
            each = [dict(net.learning()) for net in self.nets]
            self.parameters = {
                name: nn.Parameter(torch.stack([own[name].detach() for own in each])) for name in each[0]
            }

    def __len__(self) -> int:
        return len(self.nets)

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return self.nets[0].classifier.weight.device

    def logits(self, batch: Mapping[str, Tensor], keep: Tensor | None = None) -> Tensor:
        """Return logits `[R, B, classes]` of a batch for each, inputs `[R, B, ...]`; `keep` as in `VariantNet`."""
        if len(self) == 1:
            alone = {name: values[0] for name, values in batch.items()}
            return self.nets[0](alone, None if keep is None else keep[0])[None]
        if self.nets[0].is_linear:
            return self._linear_logits(batch, keep)
        if not self._batches():
            own = [{name: values[r] for name, values in batch.items()} for r in range(len(self))]
            kept = [None] * len(self) if keep is None else list(keep)
            return torch.stack([self._call(*each) for each in zip(self._each(), own, kept, strict=True)])
        if keep is None:
            return vmap(self._call)(dict(self.parameters), dict(batch))
        return vmap(self._call)(dict(self.parameters), dict(batch), keep)

    def scores(self, batch: dict[str, Tensor]) -> Tensor:
        """Return logits `[R, B, classes]` of the same batch for all, inputs `[B, ...]`."""
        if len(self) == 1:
            return self.nets[0](batch)[None]
        if self.nets[0].is_linear:
            return self._linear_logits(batch)
        if self._batches():
            return vmap(self._call, in_dims=(0, None))(dict(self.parameters), batch)
        return torch.stack([self._call(weights, batch) for weights in self._each()])

    def state(self, r: int) -> State:
        """Return copies of the weights of one replicate that learn, on the CPU."""
        one = len(self) == 1
        return {name: (p if one else p[r]).detach().cpu().clone() for name, p in self.parameters.items()}

    def load(self, r: int, state: Mapping[str, Tensor]) -> None:
        """Put weights that learn back into one replicate."""
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                (parameter if len(self) == 1 else parameter[r]).copy_(state[name])

    def _linear_logits(self, batch: Mapping[str, Tensor], keep: Tensor | None = None) -> Tensor:
        """Return logits `[R, B, classes]` by one product, of embeddings `[R, B, width]` or, for all, `[B, width]`."""
        embedding = self.nets[0].embedding(batch)
        assert embedding is not None
        read = embedding if keep is None else embedding * keep
        weight, bias = self.parameters["classifier.weight"], self.parameters["classifier.bias"]
        # Weights first: their gradient is then a product of rows as they lie in memory, three times as fast.
        return torch.matmul(weight, read.mT).mT + bias.unsqueeze(1)

    def _batches(self) -> bool:
        """Tell whether one batched computation beats R small ones: not on a CPU.

        There, convolutions in groups take longer than as many single ones.
        """
        return self.device.type != "cpu"

    def _each(self) -> list[dict[str, Tensor]]:
        """Return the weights of each replicate, all taken apart at once, so that gradients are put together at once."""
        parts = zip(*(parameter.unbind() for parameter in self.parameters.values()), strict=True)
        return [dict(zip(self.parameters, weights, strict=True)) for weights in parts]

    def _call(self, weights: Mapping[str, Tensor], batch: Mapping[str, Tensor], keep: Tensor | None = None) -> Tensor:
        logits: Tensor = functional_call(self.nets[0], dict(weights), (batch, keep))
        return logits


def learned_state(net: VariantNet) -> State:
    """Return copies of the weights of a network that learn, on the CPU."""
    return Team([net]).state(0)


def load_learned(net: VariantNet, state: State) -> None:
    """Put weights that learn back into `net`."""
    Team([net]).load(0, state)
