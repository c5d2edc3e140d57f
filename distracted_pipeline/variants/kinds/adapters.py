"""Small trainable layers behind or beside EfficientNet's base blocks, and the top; the body is frozen.

What is below the first adapter is computed once. The adapters themselves are `variants.adapters`.
"""

from typing import TYPE_CHECKING

from distracted_pipeline.variants.kinds import Kind, Option

if TYPE_CHECKING:
    from distracted_pipeline.variants.config import VariantConfig
    from distracted_pipeline.variants.trunks import Trunk


def _reads(config: "VariantConfig") -> tuple[str, ...]:
    return (f"block{min(config.adapters)}_input",)


def _insert(trunk: "Trunk", config: "VariantConfig") -> None:
    from distracted_pipeline.variants.adapters import insert_adapters
    from distracted_pipeline.variants.trunks import EfficientNetTrunk

    assert isinstance(trunk, EfficientNetTrunk)
    insert_adapters(trunk, config.adapters, config.adapter_weight)


def _check(config: "VariantConfig") -> str | None:
    blocks = config.adapters
    if len(set(blocks)) < len(blocks) or any(block < 0 for block in blocks):
        return f"adapters is {list(blocks)}: base blocks are distinct numbers from 0"
    return None


KIND = Kind(
    name="adapters",
    trains="adapters, top_conv, top_bn, classifier",
    reads=_reads,
    learns=r"\.adapter\.|\.top_(conv|bn)\.",
    insert=_insert,
    options=(Option("adapters", ((),), "kind adapters takes at least one base block, others none", bool),),
    defaults={"adapters": (3,), "replicates": 2},
    check=_check,
    families=("efficientnet",),
    because="cuts into EfficientNet's blocks",
)
