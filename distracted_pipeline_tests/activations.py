"""Whether the numbers inside a network are at a scale that processors compute with at full speed."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


def denormal_activations(model: nn.Module, run: Callable[[], Any]) -> dict[str, float]:
    """Return the share of denormal numbers in what each module returns while `run()` is called; those without any
    are left out.

    Such numbers take an Intel CPU a hundred times as long, and say that almost nothing arrives.
    """
    smallest, shares = torch.finfo(torch.float32).tiny, dict[str, float]()

    def look(name: str, output: Any) -> None:
        for each in output if isinstance(output, (tuple, list)) else [output]:
            if isinstance(each, Tensor) and each.is_floating_point():
                share = float(((each != 0) & (each.abs() < smallest)).float().mean())
                if share:
                    shares[name] = max(share, shares.get(name, 0.0))

    handles = [
        module.register_forward_hook(lambda module, args, output, name=name: look(name, output))
        for name, module in model.named_modules()
    ]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    return shares


def refuse_denormals(model: nn.Module, run: Callable[[], Any]) -> None:
    """End a benchmark whose network computes with denormal numbers: its times would say nothing."""
    with torch.no_grad():
        found = denormal_activations(model, run)
    if found:
        raise SystemExit(f"activations are denormal, and times would say nothing: {found}")
