"""A linear classifier on the pooled embedding, from which what tells the training drivers apart was removed."""

from typing import TYPE_CHECKING

from distracted_pipeline.variants.kinds import Kind
from distracted_pipeline.variants.kinds.linear_probe import SOLVABLE

if TYPE_CHECKING:
    from distracted_pipeline.variants.networks import VariantNet
    from distracted_pipeline.variants.subspace import Embedded


def _remove_driver(net: "VariantNet", train: "Embedded", validation: "Embedded") -> None:
    from distracted_pipeline.variants.subspace import directions_to_remove

    net.standardise.remove(directions_to_remove(net.standardise, train, validation))


KIND = Kind(
    name="linear_probe_without_driver",
    trains="classifier, on the embedding without its driver directions",
    reads=("pooled",),
    adjust=_remove_driver,
    options=(SOLVABLE,),
    stacks=True,
)
