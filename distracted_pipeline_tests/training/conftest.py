"""A prepared data root and backbones for this room's tests."""

from distracted_pipeline_tests.training.rooted import ingested, own_root, prepared
from distracted_pipeline_tests.variants.tiny import efficientnet, other_families

__all__ = ["efficientnet", "ingested", "other_families", "own_root", "prepared"]
