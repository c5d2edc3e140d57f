"""The partitions of the assets: subjects, and variants by folds.

Static on purpose: they are read from small files whenever the definitions load, so they are the same
with a temporary Dagster instance and with a persistent one. What a subject or variant *is* belongs to
`images` and `variants`.
"""

import sys
import warnings
from functools import cache

import dagster as dg

from distracted_pipeline.dataset import TEST_PREFIX
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.scopes import FOLDS, canonical_fold
from distracted_pipeline.settings import load_settings, variable
from distracted_pipeline.variants.config import every_variant

_settings = load_settings()

BACKFILL = "DISTRACTED_BACKFILL"
ONE_RUN = "one_run"

VARIANT_DIMENSION = "variant"
FOLD_DIMENSION = "fold"


class FoldsByVariant(dg.MultiPartitionsDefinition):
    """Folds by variants; a key that names a fold as earlier versions did (`seed|top_only`) is understood."""

    def get_partition_key_from_str(self, partition_key_str: str) -> dg.MultiPartitionKey:
        """Return the key as it is today, and say so on standard error where it was written as it used to be."""
        key = super().get_partition_key_from_str(partition_key_str)
        named = key.keys_by_dimension
        today = dg.MultiPartitionKey({**named, FOLD_DIMENSION: canonical_fold(named[FOLD_DIMENSION])})
        if today != key:
            note_former_name(key, today)
        return today


@cache
def note_former_name(former: str, today: str) -> None:
    """Say once, on standard error, that what was asked for has another name now."""
    print(f"note: {former} is called {today} now", file=sys.stderr)


def fold_and_variant(partition: str) -> tuple[str, str]:
    """Return what a key of `variant_fold_partitions` names."""
    assert isinstance(partition, dg.MultiPartitionKey)
    named = partition.keys_by_dimension
    return named[FOLD_DIMENSION], named[VARIANT_DIMENSION]


subject_partitions = dg.StaticPartitionsDefinition(_settings.subjects())
driver_partitions = dg.StaticPartitionsDefinition(
    [subject for subject in _settings.subjects() if not subject.startswith(TEST_PREFIX)]
)
"""Subjects without the shards of unlabelled images, which nothing learns from."""
variant_partitions = dg.StaticPartitionsDefinition(list(every_variant(_settings)))
variant_fold_partitions = FoldsByVariant(
    {FOLD_DIMENSION: dg.StaticPartitionsDefinition(list(FOLDS)), VARIANT_DIMENSION: variant_partitions}
)


def backfill_policy() -> dg.BackfillPolicy | None:
    """Return how a backfill is cut into runs: one a partition, unless `DISTRACTED_BACKFILL=one_run` asks for one run.

    A run of its own keeps a partition from the bad luck of others, and shows it in the timeline. One run for all loads
    the model once; `--partition-range` of the command line does nothing else.

    Raises:
        DistractedError: The variable holds another word.
    """
    asked = variable(BACKFILL)
    if asked not in ("", ONE_RUN):
        raise DistractedError(f"{BACKFILL}={asked}: set it to {ONE_RUN}, or unset it for one run a partition.")
    if not asked:
        return None
    # It is marked beta, and every process would say so twice.
    warnings.filterwarnings("ignore", "Parameter `backfill_policy`", dg.BetaWarning)
    return dg.BackfillPolicy.single_run()


with warnings.catch_warnings():  # the mapping is marked beta; every process would say so
    warnings.simplefilter("ignore", dg.BetaWarning)
    FOLDS_OF_VARIANT = dg.MultiToSingleDimensionPartitionMapping(VARIANT_DIMENSION)
"""From variant and fold to variant: what concerns a variant needs all of its folds."""
