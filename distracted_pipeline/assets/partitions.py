"""The partitions of the assets: subjects, and variants by folds.

Static on purpose: they are read from small files whenever the definitions load, so they are the same
with a temporary Dagster instance and with a persistent one. What a subject or variant *is* belongs to
`images` and `variants`.
"""

import warnings

import dagster as dg

from distracted_pipeline.images.names import TEST_PREFIX
from distracted_pipeline.settings import load_settings
from distracted_pipeline.variants.config import load_catalogue
from distracted_pipeline.vocabulary import FOLDS

_settings = load_settings()

VARIANT_DIMENSION = "variant"
FOLD_DIMENSION = "fold"

subject_partitions = dg.StaticPartitionsDefinition(_settings.subjects())
driver_partitions = dg.StaticPartitionsDefinition(
    [subject for subject in _settings.subjects() if not subject.startswith(TEST_PREFIX)]
)
"""Subjects without the shards of unlabelled images, which nothing learns from."""
variant_partitions = dg.StaticPartitionsDefinition(list(load_catalogue(_settings)))
variant_fold_partitions = dg.MultiPartitionsDefinition(
    {FOLD_DIMENSION: dg.StaticPartitionsDefinition(list(FOLDS)), VARIANT_DIMENSION: variant_partitions}
)

with warnings.catch_warnings():  # the mapping is marked beta; every process would say so
    warnings.simplefilter("ignore", dg.BetaWarning)
    FOLDS_OF_VARIANT = dg.MultiToSingleDimensionPartitionMapping(VARIANT_DIMENSION)
"""From variant and fold to variant: what concerns a variant needs all of its folds."""
