"""The words of the field: ten classes, six mask categories, the seed's driver split.

Facts only: no functions, no I/O, no third-party imports. What a folder of images actually holds is
the manifest's business (`distracted_pipeline.images`), not this module's.
"""

from typing import Final

CLASSES: Final[dict[str, str]] = {
    "c0": "safe driving",
    "c1": "texting - right",
    "c2": "talking on the phone - right",
    "c3": "texting - left",
    "c4": "talking on the phone - left",
    "c5": "operating the radio",
    "c6": "drinking",
    "c7": "reaching behind",
    "c8": "hair and makeup",
    "c9": "talking to passenger",
}
"""Kaggle's class ids and their meaning, in Kaggle's order (never sorted by name)."""

CLASS_IDS: Final[tuple[str, ...]] = tuple(CLASSES)

MASK_CATEGORIES: Final[tuple[str, ...]] = ("person", "bottle", "cell phone", "cup", "car", "chair")
"""The seed's six categories by COCO name; the id in a mask is the position plus one, 0 is none."""

MASK_NONE: Final = "none"

MASK_NAMES: Final[tuple[str, ...]] = (MASK_NONE, *MASK_CATEGORIES)
"""What each mask id 0..6 means."""

SEED_SPLIT: Final[dict[str, tuple[str, ...]]] = {
    "train": (
        "p002", "p012", "p015", "p016", "p021", "p022", "p024", "p035", "p039",
        "p042", "p045", "p052", "p056", "p061", "p064", "p072", "p075", "p081",
    ),
    "dev": ("p026", "p047", "p050", "p051"),
    "test": ("p014", "p041", "p049", "p066"),
}  # fmt: skip
"""Drivers of the seed's split (github:Ispanicus/Distracted-Drivers, `dataset_loader.py`)."""

SUBJECTS: Final[tuple[str, ...]] = tuple(sorted(s for part in SEED_SPLIT.values() for s in part))
"""Kaggle's 26 drivers."""

SEED_FOLD: Final = "seed"
"""Name of the fold that is the seed's split: train on 18, choose the epoch on dev, report dev and test."""

CROSS_FOLDS: Final[tuple[str, ...]] = ("0", "1", "2", "3", "4")
"""Driver-disjoint folds whose held-out parts together cover every driver once."""

FOLDS: Final[tuple[str, ...]] = (SEED_FOLD, *CROSS_FOLDS)

KAGGLE_LABELLED: Final = 22_424
"""Labelled frames of the full State Farm data."""

KAGGLE_TEST: Final = 79_726
"""Unlabelled frames of the full State Farm data."""

TEST_SHARD: Final = 1_000
"""Unlabelled frames per shard: they have no driver, so shards stand in for subjects."""

MOST_TEST_SHARDS: Final = 20_000
"""Shards grow beyond this many: Dagster's UI is made for up to 100,000 partitions of an asset."""
