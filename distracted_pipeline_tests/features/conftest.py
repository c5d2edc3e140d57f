"""An ingested data root and backbones for this room's tests; masks are not needed here."""

import pytest

from distracted_pipeline.settings import Settings
from distracted_pipeline_tests.training.rooted import ingested, own_root
from distracted_pipeline_tests.variants.tiny import efficientnet, other_families

__all__ = ["efficientnet", "ingested", "other_families", "own_root", "prepared"]


@pytest.fixture(scope="session")
def prepared(ingested: Settings) -> Settings:
    """Shared by the session: tests that change the data take `own_root`."""
    return ingested
