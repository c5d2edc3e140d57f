"""A device that is too small, for any room."""

from typing import Any

import pytest
import torch


def small_memory(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, most: int) -> list[int]:
    """Let a function run out of memory where any argument holds more than `most` images; return the sizes it sees.

    Arguments are tensors, or batches of tensors by name.
    """
    real, sizes = getattr(owner, name), list[int]()

    def limited(*args: Any, **options: Any) -> Any:
        batches = [each for one in args for each in (one.values() if isinstance(one, dict) else [one])]
        sizes.append(max(len(each) for each in batches if isinstance(each, torch.Tensor) and each.ndim > 1))
        if sizes[-1] > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB")
        return real(*args, **options)

    monkeypatch.setattr(owner, name, limited)
    return sizes
