"""Backbones for this room's tests."""

from distracted_pipeline_tests.variants.tiny import efficientnet

__all__ = ["efficientnet"]
