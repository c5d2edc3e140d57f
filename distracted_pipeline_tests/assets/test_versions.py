"""Data versions: an asset that is made again with nothing to do leaves all that was made from it up to date."""

import dagster as dg
import pytest
from dagster._core.definitions.data_version import StaleStatus
from dagster._utils.test.data_versions import get_stale_status_resolver

from distracted_pipeline.assets.images import images
from distracted_pipeline.assets.masks import masks, subject_masks
from distracted_pipeline.settings import Settings


@dg.asset(deps=["masks", "images"])
def made_from_masks() -> None:
    """Stands for whatever reads all masks."""


@dg.asset(deps=["subject_masks"], partitions_def=subject_masks.partitions_def)
def made_from_one_subject() -> None:
    """Stands for whatever reads one subject's masks."""


GRAPH = [images, subject_masks, masks, made_from_masks, made_from_one_subject]


@pytest.fixture
def instance(with_mask2former: Settings, monkeypatch: pytest.MonkeyPatch) -> dg.DagsterInstance:
    monkeypatch.setenv("DISTRACTED_DATA", str(with_mask2former.data))
    monkeypatch.setenv("DISTRACTED_SEGMENTER", with_mask2former.segmenter)
    return dg.DagsterInstance.ephemeral()


def make(instance: dg.DagsterInstance, asset: dg.AssetsDefinition, partition: str | None = None) -> str:
    """Materialise an asset and return its data version."""
    result = dg.materialize(GRAPH, instance=instance, selection=[asset.key], partition_key=partition)
    event = result.asset_materializations_for_node(asset.op.name)[-1]
    assert event.tags is not None
    return event.tags["dagster/data_version"]


def status(instance: dg.DagsterInstance, asset: dg.AssetsDefinition, partition: str | None = None) -> StaleStatus:
    return get_stale_status_resolver(instance, GRAPH).get_status(asset.key, partition)


def test_masks_with_nothing_to_do_make_nothing_stale(instance: dg.DagsterInstance) -> None:
    made = make(instance, images), make(instance, masks)
    make(instance, made_from_masks)
    make(instance, made_from_one_subject, "p002")
    assert status(instance, made_from_masks) == StaleStatus.FRESH
    assert status(instance, made_from_one_subject, "p002") == StaleStatus.FRESH
    assert (make(instance, images), make(instance, masks)) == made
    assert status(instance, made_from_masks) == StaleStatus.FRESH
    assert status(instance, made_from_one_subject, "p002") == StaleStatus.FRESH


def test_a_subject_has_the_same_version_whoever_made_its_masks(instance: dg.DagsterInstance) -> None:
    make(instance, images)
    make(instance, masks)
    (record,) = instance.fetch_materializations(
        dg.AssetRecordsFilter(subject_masks.key, asset_partitions=["p002"]), limit=10
    ).records
    logged = record.asset_materialization
    assert logged is not None
    assert logged.tags is not None
    assert make(instance, subject_masks, "p002") == logged.tags["dagster/data_version"]


def test_other_masks_make_what_was_made_from_them_stale(
    instance: dg.DagsterInstance, with_mask2former: Settings
) -> None:
    make(instance, images)
    before = make(instance, masks)
    make(instance, made_from_masks)
    row = next((with_mask2former.data / "imgs" / "train" / "c3").iterdir())
    other = next((with_mask2former.data / "imgs" / "train" / "c4").iterdir())
    row.write_bytes(other.read_bytes() + b"\0")
    make(instance, images)
    assert make(instance, masks) != before
    assert status(instance, made_from_masks) == StaleStatus.STALE
