"""What a variant's network is made of, in lines for a terminal: parts, parameters, base blocks.

Belongs here: the description. The network itself is `networks`.
"""

import re
from collections.abc import Iterator
from itertools import pairwise

from distracted_pipeline.settings import Settings
from distracted_pipeline.variants.backbones import load_backbone, why_unsupported
from distracted_pipeline.variants.config import VariantConfig, variant_named
from distracted_pipeline.variants.networks import VariantNet, build_network
from distracted_pipeline.variants.trunks import EfficientNetTrunk

_PART = re.compile(r"trunk\.model\.(?:(?:[^.]+\.)*?[^.]*\.\d+(?=\.)|[^.]+\.[^.]+\.[^.]+|[^.]+\.[^.]+)|[^.]+")
"""A parameter's part: a numbered block of the backbone, else its first names."""


def describe(settings: Settings, name: str) -> Iterator[str]:
    """Yield lines on a variant: its options, then its parts with trainable and all parameters.

    Raises:
        DistractedError: There is no such variant, or its backbone cannot be loaded.
    """
    config = variant_named(settings, name)
    yield f"{config.name}: {config.title}"
    if config.description:
        yield config.description.strip()
    given = config.model_dump(exclude_defaults=True, exclude={"name", "label", "description"})
    yield "options: " + ", ".join(f"{key} {_shown(value)}" for key, value in given.items())
    yield f"trains: {config.technique.trains}"
    yield f"reads: {', '.join(config.inputs)}"
    reason = why_unsupported(settings, config)
    if reason:
        yield f"cannot be trained here: {reason}"
        return
    backbone = load_backbone(settings, config.model_name) if config.taps else None
    net = build_network(config, backbone, settings.dataset)
    if config.taps:
        yield f"backbone: {config.model_name or settings.backbone}"
    yield ""
    yield f"{'part':44}{'trainable':>12}{'total':>12}"
    for part, (learning, total) in _parts(net, config).items():
        yield f"{part:44}{learning:12,}{total:12,}"
    learning, total = net.count()
    yield f"{'all':44}{learning:12,}{total:12,}   ({learning / total:.2%} trainable)"
    if isinstance(net.trunk, EfficientNetTrunk):
        starts = net.trunk.first_repeats()
        yield f"base blocks for adapters: 0 to {len(starts) - 1}"


def _parts(net: VariantNet, config: VariantConfig) -> dict[str, tuple[int, int]]:
    """Return trainable and all parameters by part, in the order of the network; EfficientNet's by base block."""
    blocks = _base_blocks(net)
    counts: dict[str, tuple[int, int]] = {}
    for name, parameter in net.named_parameters():
        part = _part(name, blocks)
        learning, total = counts.get(part, (0, 0))
        counts[part] = (learning + parameter.numel() * parameter.requires_grad, total + parameter.numel())
    return counts


def _base_blocks(net: VariantNet) -> list[str]:
    """Return what to call the blocks of an EfficientNet, by their position; empty for other backbones."""
    if not isinstance(net.trunk, EfficientNetTrunk):
        return []
    starts = [*net.trunk.first_repeats(), len(net.trunk.encoder.blocks)]
    names: list[str] = []
    for base, (start, end) in enumerate(pairwise(starts)):
        repeats = "1 repeat" if end - start == 1 else f"{end - start} repeats"
        names += [f"base block {base} ({repeats})"] * (end - start)
    return names


def _part(name: str, blocks: list[str]) -> str:
    found = re.search(r"\.encoder\.blocks\.(\d+)\.", name)
    if blocks and found:
        where = blocks[int(found[1])]
        return f"  adapter in {where}" if ".adapter." in name else where
    matched = _PART.match(name)
    return (matched[0] if matched else name).removeprefix("trunk.model.")


def _shown(value: object) -> str:
    return str(list(value)) if isinstance(value, tuple) else str(value)
