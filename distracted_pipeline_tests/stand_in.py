"""A stand-in for CUDA graphs where there is no GPU: it runs the work again on the recorded inputs."""

from collections.abc import Callable
from typing import Any

import torch


class StandIn:
    """Records like a CUDA graph: nothing runs before it is replayed, and the result is overwritten.

    Args:
        types: Of the tensors that the work returns; of several, in a tuple.
    """

    def __init__(self, *types: torch.dtype) -> None:
        self.recorded, self.replayed = 0, 0
        self._types = types or (torch.float32,)

    def __call__(self, work: Callable[[], Any], place: Any) -> tuple[Callable[[], object], Any]:
        """Return what replays the work, and where its result will be."""
        self.recorded += 1
        kept = [torch.empty(0, dtype=dtype) for dtype in self._types]

        def replay() -> None:
            self.replayed += 1
            values = work()
            for slot, value in zip(kept, values if len(kept) > 1 else (values,), strict=True):
                slot.set_(value.detach().clone())

        return replay, tuple(kept) if len(kept) > 1 else kept[0]
