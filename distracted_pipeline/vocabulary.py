"""To be removed: State Farm's facts as constants, for code that does not ask `settings.dataset` yet."""

from typing import Final

from distracted_pipeline.dataset import MASK_NONE, STATE_FARM
from distracted_pipeline.scopes import CROSS_FOLDS, FOLDS, ORIGINAL_FOLD

__all__ = ["CLASSES", "CLASS_IDS", "CROSS_FOLDS", "FOLDS", "MASK_CATEGORIES", "MASK_NAMES", "MASK_NONE", "SUBJECTS"]

CLASSES: Final[dict[str, str]] = dict(zip(STATE_FARM.class_ids, STATE_FARM.class_names, strict=True))
CLASS_IDS: Final[tuple[str, ...]] = STATE_FARM.class_ids
MASK_CATEGORIES: Final[tuple[str, ...]] = STATE_FARM.category_names
MASK_NAMES: Final[tuple[str, ...]] = STATE_FARM.mask_names
SEED_SPLIT: Final[dict[str, tuple[str, ...]]] = dict(STATE_FARM.split)
SUBJECTS: Final[tuple[str, ...]] = STATE_FARM.drivers
SEED_FOLD: Final = ORIGINAL_FOLD
KAGGLE_LABELLED: Final = STATE_FARM.frames
TEST_SHARD: Final = 1_000
"""Unlabelled frames per shard: they have no driver, so shards stand in for subjects."""
MOST_TEST_SHARDS: Final = 20_000
"""Shards grow beyond this many: Dagster's UI is made for up to 100,000 partitions of an asset."""
