"""Backbones and a prepared data root for this room's tests."""

from distracted_pipeline_tests.training.rooted import ingested, own_root, prepared
from distracted_pipeline_tests.variants.tiny import efficientnet

__all__ = ["efficientnet", "ingested", "own_root", "prepared"]
