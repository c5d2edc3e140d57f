"""Backbones for this room's tests."""

from distracted_pipeline_tests.variants.tiny import efficientnet, other_families

__all__ = ["efficientnet", "other_families"]
