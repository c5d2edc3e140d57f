"""Scale and shift of every batch norm of the backbone, and the classifier."""

from typing import TYPE_CHECKING

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.variants.kinds import Kind

if TYPE_CHECKING:
    from distracted_pipeline.variants.networks import VariantNet


def _learns(net: "VariantNet") -> set[str]:
    from torch import nn

    norms = [name for name, module in net.named_modules() if isinstance(module, nn.BatchNorm2d)]
    if not norms:
        raise DistractedError(
            f"kind batch_norm trains batch norms, and {net.trunk.family if net.trunk else 'this'} has none: set "
            "DISTRACTED_BACKBONE, or the variant's `model_name`, to a network that has some, as any EfficientNet does"
        )
    return {f"{name}.{part}" for name in norms for part in ("weight", "bias")}


KIND = Kind(
    name="batch_norm",
    trains="scale and shift of every batch norm, classifier",
    reads=("pixels",),
    learns=_learns,
    defaults={"replicates": 2},
)
