"""User errors become failures without retries; bugs stay bugs; each partition of a run counts for itself."""

from pathlib import Path

import dagster as dg
import pytest
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG

from distracted_pipeline.assets.step import Events, each_partition, user_errors_as_failures
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.settings import Settings

_PAIRS = dg.MultiPartitionsDefinition(
    {
        "fold": dg.StaticPartitionsDefinition(["original", "0", "1"]),
        "variant": dg.StaticPartitionsDefinition(["a", "b"]),
    }
)


@dg.asset
def source() -> dg.MaterializeResult:
    return dg.MaterializeResult(data_version=dg.DataVersion("of the source"))


@dg.asset(
    partitions_def=_PAIRS,
    deps=[source],
    code_version="7",
    output_required=False,
    check_specs=[dg.AssetCheckSpec("fine", asset="made")],
)
def made(context: dg.AssetExecutionContext) -> Events:
    def one(settings: Settings, partition: str) -> dg.MaterializeResult:
        if str(settings.data).endswith(f"without {partition[0]}"):
            raise DistractedError(f"no frames for {partition}")
        found = dg.AssetCheckResult(check_name="fine", passed=partition != "1|a", description=f"as for {partition}")
        return dg.MaterializeResult(
            metadata={"of": str(partition)}, data_version=dg.DataVersion(f"of {partition}"), check_results=[found]
        )

    yield from each_partition(context, one)


def records(instance: dg.DagsterInstance) -> dict[str, dg.AssetMaterialization]:
    found = instance.fetch_materializations(made.key, limit=20).records
    assert len(found) == len({record.partition_key for record in found})
    return {str(record.partition_key): record.asset_materialization for record in found}  # type: ignore[misc]


def run_range(instance: dg.DagsterInstance, start: str, end: str) -> dg.ExecuteInProcessResult:
    dg.materialize([source], instance=instance)
    tags = {ASSET_PARTITION_RANGE_START_TAG: start, ASSET_PARTITION_RANGE_END_TAG: end}
    return dg.materialize([source, made], selection=[made], instance=instance, tags=tags, raise_on_error=False)


def test_a_run_of_several_partitions_tells_of_each_what_a_run_of_its_own_would_have_told() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        assert run_range(instance, "original|a", "1|a").success
        together = records(instance)
        assert set(together) == {"original|a", "0|a", "1|a"}
        dg.materialize([source, made], selection=[made], instance=instance, partition_key="0|a")
        alone = instance.fetch_materializations(made.key, limit=1).records[0].asset_materialization
        assert alone is not None
        assert together["0|a"].metadata == alone.metadata
        assert together["0|a"].tags == alone.tags
        assert alone.tags is not None
        assert alone.tags["dagster/data_version"] == "of 0|a"
        assert together["1|a"].tags is not None
        assert together["1|a"].tags["dagster/data_version"] == "of 1|a"


def test_a_check_of_several_partitions_passes_if_all_did_and_names_those_that_did_not() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        (check,) = run_range(instance, "original|a", "1|a").get_asset_check_evaluations()
    assert not check.passed
    assert check.description == "1|a: as for 1|a"


def test_a_check_of_one_partition_names_it_for_its_page_lists_those_of_all() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        dg.materialize([source], instance=instance)
        result = dg.materialize([source, made], selection=[made], instance=instance, partition_key="0|a")
    (check,) = result.get_asset_check_evaluations()
    assert check.description == "0|a: as for 0|a"


def test_a_partition_that_fails_is_named_and_costs_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTRACTED_DATA", str(tmp_path / "without 0"))
    with dg.DagsterInstance.ephemeral() as instance:
        result = run_range(instance, "original|b", "1|b")
        assert not result.success
        assert set(records(instance)) == {"original|b", "1|b"}
    failure = result.get_step_failure_events()[0].step_failure_data.user_failure_data
    assert failure is not None
    assert failure.description == ("1 of 3 partitions failed; the others are kept. 0|b: no frames for 0|b")


def test_a_users_error_becomes_a_failure_that_is_not_retried() -> None:
    with pytest.raises(dg.Failure) as caught, user_errors_as_failures():
        raise DistractedError("no data in x; type y")
    assert caught.value.description == "no data in x; type y"
    assert caught.value.allow_retries is False


def test_a_bug_keeps_its_own_type() -> None:
    with pytest.raises(ZeroDivisionError), user_errors_as_failures():
        print(1 / 0)
