"""Which weights learn how fast: parameter groups by name, optimisers, schedules.

Belongs here: everything about an optimiser except taking its steps (`loop`).
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from distracted_pipeline.variants.config import VariantConfig

_LAYER = re.compile(r"(.*\.\d+)\.|((?:[^.]+\.){3}[^.]+)\.")
"""A body parameter's layer: its name up to the last number (`….encoder.blocks.5`), else the part of the model it
is in (`trunk.model.efficientnet.embeddings`)."""


LBFGS_ITERATIONS = 20
"""Of one epoch of L-BFGS, each with a line search over the whole batch."""


def build_optimizer(
    parameters: Mapping[str, nn.Parameter], config: VariantConfig, device: torch.device | None = None
) -> torch.optim.Optimizer:
    """Return the variant's optimiser over what learns, by name, as `parameter_groups` says.

    On a CUDA device rates are tensors, which `set_rate` changes in place: a recorded step reads them there.
    """
    groups = parameter_groups(parameters, config)
    if config.optimizer == "lbfgs":
        return torch.optim.LBFGS(
            groups[0]["params"],
            lr=config.top_lr,
            max_iter=LBFGS_ITERATIONS,
            max_eval=25 * LBFGS_ITERATIONS,  # never what ends an epoch: `steps.is_solved` counts iterations
            history_size=LBFGS_ITERATIONS,
            tolerance_grad=1e-8,
            tolerance_change=1e-11,
            line_search_fn="strong_wolfe",
        )
    recordable = device is not None and device.type == "cuda"
    if recordable:
        for group in groups:
            group["lr"] = torch.tensor(float(group["lr"]), device=device)
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, fused=True, capturable=recordable)
    return torch.optim.Adadelta(groups, capturable=recordable)


def set_rate(group: dict[str, Any], rate: float) -> None:
    """Let a parameter group learn at a rate, in place where that is a tensor."""
    if isinstance(group["lr"], Tensor):
        group["lr"].fill_(rate)
    else:
        group["lr"] = rate


def parameter_groups(parameters: Mapping[str, nn.Parameter], config: VariantConfig) -> list[dict[str, Any]]:
    """Return the top at `top_lr`, then the body of a kind that trains one, its last layer at `body_lr`.

    With a `layer_decay` below 1 every layer of the body is a group, its rate that factor below the next one's.
    """
    technique = config.technique
    top = [parameter for name, parameter in parameters.items() if not technique.is_body(name)]
    groups: list[dict[str, Any]] = [{"params": top, "lr": config.top_lr, "weight_decay": config.top_decay}]
    layers: dict[str, list[nn.Parameter]] = {}
    for name, parameter in parameters.items():
        if technique.is_body(name):
            layers.setdefault(_layer(name) if config.layer_decay < 1 else "body", []).append(parameter)
    for depth, layer in enumerate(reversed(layers.values())):
        rate = config.body_lr * config.layer_decay**depth
        groups.append({"params": layer, "lr": rate, "weight_decay": config.body_decay})
    return groups


def rate_factor(config: VariantConfig, epoch: int) -> float:
    """Return what learning rates are multiplied by in an epoch, counted from 1."""
    if config.scheduler == "cosine":
        return 0.5 * (1 + math.cos(math.pi * (epoch - 1) / config.epochs))
    return config.gamma ** (epoch - 1)


def optimizer_state(optimizer: torch.optim.Optimizer, replicate: int, replicates: int) -> dict[int, dict[str, Any]]:
    """Return what an optimiser knows of one replicate, by the position of a parameter, as it would know it alone.

    Args:
        optimizer: Over parameters of all replicates, stacked on the first axis where there are several.
        replicate: Which.
        replicates: How many there are.
    """
    found: dict[int, dict[str, Any]] = {}
    for position, parameter in enumerate(_parameters(optimizer)):
        facts = optimizer.state.get(parameter, {})
        stacked = {name for name, value in facts.items() if replicates > 1 and _alike(value, parameter)}
        if facts:
            found[position] = {k: value[replicate] if k in stacked else value for k, value in facts.items()}
    return found


def load_optimizer_state(optimizer: torch.optim.Optimizer, states: Sequence[Mapping[int, Mapping[str, Any]]]) -> None:
    """Put back what `optimizer_state` gave for each replicate, in their order."""
    first, *others = states
    joined: dict[int, dict[str, Any]] = {}
    for position, parameter in enumerate(_parameters(optimizer)):
        joined[position] = {
            name: torch.stack([state[position][name] for state in states])
            if others and isinstance(value, Tensor) and value.shape == parameter.shape[1:]
            else value
            for name, value in first.get(position, {}).items()
        }
    known = {position: facts for position, facts in joined.items() if facts}
    optimizer.load_state_dict({"state": known, "param_groups": optimizer.state_dict()["param_groups"]})
    for parameter, facts in optimizer.state.items():
        for name, value in facts.items():
            if _alike(value, parameter):
                # Laid out in memory as before: another order of the elements may round differently.
                facts[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def _parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _alike(value: Any, parameter: Tensor) -> bool:
    return isinstance(value, Tensor) and value.shape == parameter.shape


def _layer(name: str) -> str:
    found = _LAYER.match(name)
    return next(part for part in found.groups() if part) if found else name
