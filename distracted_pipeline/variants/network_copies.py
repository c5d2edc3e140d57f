"""Copies of a network, as `copy.deepcopy` makes them and ten times as fast where the network is small.

A training begins with a copy of a pretrained network, and a small network has a hundred modules of a dozen
dictionaries: walking through them in Python takes longer than copying the weights. Pickle walks in C.

Does not belong here: loading, saving, or whatever leaves the process.
"""

import io
import pickle
from typing import Any, Final, Generic, TypeVar

import torch
from torch import nn

Network = TypeVar("Network", bound=nn.Module)


class Original(Generic[Network]):
    """A network that is kept to take copies of; it must not be changed.

    Tensors that share memory without being the same object have memory of their own in a copy.
    """

    def __init__(self, network: Network) -> None:
        outline = io.BytesIO()
        writer = _Writer(outline)
        writer.dump(network)
        self._outline: Final = outline.getvalue()
        self._tensors: Final = writer.tensors

    def copy(self) -> Network:
        """Return a network of the caller's own."""
        tensors = [_copied(tensor) for tensor in self._tensors]
        network: Network = _Reader(io.BytesIO(self._outline), tensors).load()
        return network


def _copied(tensor: torch.Tensor) -> torch.Tensor:
    copied = tensor.detach().clone()  # in the memory format of the original
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(copied, requires_grad=tensor.requires_grad)
    return copied.requires_grad_(tensor.requires_grad)


class _Writer(pickle.Pickler):
    """Leaves tensors out of the pickle and collects them."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self.tensors: list[torch.Tensor] = []
        self._places: dict[int, int] = {}

    def persistent_id(self, obj: Any) -> int | None:
        if not isinstance(obj, torch.Tensor):
            return None
        if id(obj) not in self._places:
            self._places[id(obj)] = len(self.tensors)
            self.tensors.append(obj)
        return self._places[id(obj)]


class _Reader(pickle.Unpickler):
    """Puts tensors where `_Writer` left some out."""

    def __init__(self, file: io.BytesIO, tensors: list[torch.Tensor]) -> None:
        super().__init__(file)
        self._tensors = tensors

    def persistent_load(self, pid: int) -> torch.Tensor:
        return self._tensors[pid]
