"""Which weights learn how fast: parameter groups by name, optimisers, schedules.

Belongs here: everything about an optimiser except taking its steps (`loop`).
"""

import math
import re
from typing import Any

import torch
from torch import Tensor, nn

from distracted_pipeline.variants.config import VariantConfig
from distracted_pipeline.variants.networks import VariantNet

_LAYER = re.compile(r"(.*\.\d+)\.|((?:[^.]+\.){3}[^.]+)\.")
"""A body parameter's layer: its name up to the last number (`….encoder.blocks.5`), else the part of the model it
is in (`trunk.model.efficientnet.embeddings`)."""


def build_optimizer(net: VariantNet, config: VariantConfig) -> torch.optim.Optimizer:
    """Return the variant's optimiser over what learns, as `parameter_groups` says."""
    groups = parameter_groups(net, config)
    if config.optimizer == "lbfgs":
        return torch.optim.LBFGS(
            groups[0]["params"],
            lr=config.top_lr,
            max_iter=8,
            history_size=10,
            tolerance_grad=1e-9,
            line_search_fn="strong_wolfe",
        )
    return torch.optim.AdamW(groups) if config.optimizer == "adamw" else torch.optim.Adadelta(groups)


def parameter_groups(net: VariantNet, config: VariantConfig) -> list[dict[str, Any]]:
    """Return the top at `top_lr`, then the body of a kind that trains one, its last layer at `body_lr`.

    With a `layer_decay` below 1 every layer of the body is a group, its rate that factor below the next one's.
    """
    technique = config.technique
    top = [parameter for name, parameter in net.learning() if not technique.is_body(name)]
    groups: list[dict[str, Any]] = [{"params": top, "lr": config.top_lr, "weight_decay": config.top_decay}]
    layers: dict[str, list[nn.Parameter]] = {}
    for name, parameter in net.learning():
        if technique.is_body(name):
            layers.setdefault(_layer(name) if config.layer_decay < 1 else "body", []).append(parameter)
    for depth, parameters in enumerate(reversed(layers.values())):
        rate = config.body_lr * config.layer_decay**depth
        groups.append({"params": parameters, "lr": rate, "weight_decay": config.body_decay})
    return groups


def rate_factor(config: VariantConfig, epoch: int) -> float:
    """Return what learning rates are multiplied by in an epoch, counted from 1."""
    if config.scheduler == "cosine":
        return 0.5 * (1 + math.cos(math.pi * (epoch - 1) / config.epochs))
    return config.gamma ** (epoch - 1)


def load_optimizer_state(optimizer: torch.optim.Optimizer, state: dict[Any, Any]) -> None:
    """Put back what `optimizer.state_dict()["state"]` gave, for the same parameters in the same order."""
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    for parameter, facts in optimizer.state.items():
        for name, value in facts.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                # Laid out in memory as before: another order of the elements may round differently.
                facts[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def _layer(name: str) -> str:
    found = _LAYER.match(name)
    return next(part for part in found.groups() if part) if found else name
