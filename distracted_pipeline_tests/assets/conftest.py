"""The data roots of the rooms below, each under a name of its own."""

from distracted_pipeline_tests.masks.conftest import ingested as with_mask2former
from distracted_pipeline_tests.masks.conftest import tiny_mask2former
from distracted_pipeline_tests.reports.conftest import built, evaluated, small
from distracted_pipeline_tests.serving.crowned import crowned
from distracted_pipeline_tests.training.rooted import ingested, own_root, prepared
from distracted_pipeline_tests.variants.tiny import efficientnet

__all__ = [
    "built",
    "crowned",
    "efficientnet",
    "evaluated",
    "ingested",
    "own_root",
    "prepared",
    "small",
    "tiny_mask2former",
    "with_mask2former",
]
