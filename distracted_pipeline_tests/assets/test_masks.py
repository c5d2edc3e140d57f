import subprocess
import sys
from collections.abc import Callable, Iterator

import dagster as dg
import pytest

from distracted_pipeline.assets import compute
from distracted_pipeline.assets.masks import CHECKS, masks, subject_masks
from distracted_pipeline.assets.partitions import BACKFILL, backfill_policy
from distracted_pipeline.dataset import STATE_FARM
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.images.manifest import of_subject, read_manifest
from distracted_pipeline.masks import fill
from distracted_pipeline.masks.cache import open_cache
from distracted_pipeline.masks.fill import FillResult
from distracted_pipeline.settings import Settings


@pytest.fixture
def in_force(with_mask2former: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The with_mask2former data root as the environment names it."""
    monkeypatch.setenv("DISTRACTED_DATA", str(with_mask2former.data))
    monkeypatch.setenv("DISTRACTED_SEGMENTER", with_mask2former.segmenter)
    return with_mask2former


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def run(asset: dg.AssetsDefinition, instance: dg.DagsterInstance, **options: object) -> dg.ExecuteInProcessResult:
    return dg.materialize([asset], instance=instance, **options)  # type: ignore[arg-type]


def test_one_driver_is_a_partition_with_metadata_and_a_check(in_force: Settings, instance: dg.DagsterInstance) -> None:
    result = run(subject_masks, instance, partition_key="p002")
    (event,) = result.asset_materializations_for_node("subject_masks")
    values = {key: value.value for key, value in event.metadata.items()}
    assert (values["images_made"], values["images_reused"], values["images_failed"], values["masks"]) == (10, 0, 0, 10)
    assert values["images_per_second"] > 0
    assert values["precision"] == "fp32"
    assert values["cpu_ms_per_image"]["decode"] > 0
    assert 0 < values["share_of_time_in_model"] < 1
    (record,) = event.metadata["coverage_by_subject"].records
    assert record.data["subject"] == "p002"
    assert sum(record.data[name] for name in STATE_FARM.category_names) > 0
    assert values["fingerprint"] == open_cache(in_force).fingerprint
    assert values["path"] == str(open_cache(in_force).folder("p002"))
    assert values["overlays"].count("data:image/jpeg") == 4
    assert [record.data["category"] for record in event.metadata["coverage"].records] == list(STATE_FARM.category_names)
    (check,) = result.get_asset_check_evaluations()
    assert check.passed
    assert open_cache(in_force).subjects_done() == ["p002"]


def failing_for_p014(fill_one: Callable[..., FillResult]) -> Callable[..., FillResult]:
    """Return what fills a subject, but for one of them."""

    def one(source: object, subject: str, rows: object, images: int) -> FillResult:
        if subject == "p014":
            raise DistractedError("no room left")
        return fill_one(source, subject, rows, images)

    return one


def test_one_run_of_many_partitions_keeps_what_it_finished_when_one_fails(
    in_force: Settings, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fill, "_fill", failing_for_p014(fill._fill))
    asked = {"dagster/asset_partition_range_start": "p002", "dagster/asset_partition_range_end": "p026"}
    own = dg.StaticPartitionsDefinition(["p002", "p014", "p026", "test-000"])
    three = subject_masks.map_asset_specs(lambda spec: spec.replace_attributes(partitions_def=own))
    result = run(three, instance, tags=asked, raise_on_error=False)
    assert not result.success
    records = instance.fetch_materializations(subject_masks.key, limit=100).records
    done = {record.partition_key for record in records}
    seen = {record.partition_key: record.asset_materialization.metadata for record in records}
    assert seen["p002"]["path"].value == str(open_cache(in_force).folder("p002"))
    assert "data:image/jpeg" in seen["p002"]["overlays"].value, (
        "as on the page of a partition that has a run of its own"
    )
    assert "p014" not in done
    assert done == set(open_cache(in_force).subjects_done())
    assert {"p002", "p026"} <= done


@pytest.mark.parametrize(("asked", "runs"), [("", None), ("one_run", dg.BackfillPolicy.single_run())])
def test_a_backfill_is_a_run_for_each_partition_unless_one_run_is_asked_for(
    asked: str, runs: dg.BackfillPolicy | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(BACKFILL, asked)
    assert backfill_policy() == runs
    monkeypatch.setenv(BACKFILL, "two_runs")
    with pytest.raises(DistractedError, match="DISTRACTED_BACKFILL=two_runs: set it to one_run"):
        backfill_policy()


def test_bare_masks_fills_what_is_missing_on_disk_and_logs_each_subject(
    in_force: Settings, instance: dg.DagsterInstance
) -> None:
    run(subject_masks, instance, partition_key="p002")
    result = run(masks, instance)
    assert len(open_cache(in_force).subjects_done()) == 4
    logged = {
        record.partition_key
        for record in instance.fetch_materializations(subject_masks.key, limit=100).records
        if record.run_id == result.run_id
    }
    assert logged == {"p014", "p026", "test-000"}
    event = result.asset_materializations_for_node("masks")[-1]
    assert event.metadata["images_made"].value == 23
    assert event.metadata["images_reused"].value == 10
    checks = {check.check_name: check for check in result.get_asset_check_evaluations()}
    assert set(checks) == set(CHECKS)
    assert checks["complete"].passed
    assert not checks["expected_in_most_frames"].passed  # the tiny model knows no persons
    (again,) = run(masks, instance).asset_materializations_for_node("masks")
    assert again.metadata["images_made"].value == 0
    assert again.metadata["images_reused"].value == 33


def test_a_run_that_makes_no_mask_says_that_they_are_there(
    in_force: Settings, instance: dg.DagsterInstance, capfd: pytest.CaptureFixture[str]
) -> None:
    run(subject_masks, instance, partition_key="p002")
    capfd.readouterr()
    run(subject_masks, instance, partition_key="p002")
    assert "p002: 10 masks there already, none made" in capfd.readouterr().err


def test_no_gpu_is_claimed_while_nothing_is_missing(
    in_force: Settings, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(subject_masks, instance, partition_key="p002")

    def refuse(device: str, log: object) -> str:
        raise DistractedError("a GPU was claimed")

    monkeypatch.setattr(compute, "claim_gpu", refuse)
    assert run(subject_masks, instance, partition_key="p002").success
    with pytest.raises(dg.Failure, match="claimed"):
        run(subject_masks, instance, partition_key="p014")


def test_images_without_a_mask_fail_the_check_by_name(in_force: Settings, instance: dg.DagsterInstance) -> None:
    row = of_subject(read_manifest(in_force), "p002").slice(0, 1).to_pylist()[0]
    (in_force.data / row["path"]).write_bytes(b"")
    result = run(masks, instance)
    assert result.success
    check = next(check for check in result.get_asset_check_evaluations() if check.check_name == "complete")
    assert not check.passed
    assert check.severity == dg.AssetCheckSeverity.ERROR
    assert "32 of 33" in str(check.description)
    assert f"1 could not be read, such as {row['img']}: " in str(check.description)
    table = check.metadata["without_mask"]
    assert isinstance(table, dg.TableMetadataValue)
    (lacking,) = table.records
    assert lacking.data["image"] == row["img"]
    assert check.metadata["images_without_mask"].value == 1, "a number is plotted"


def test_a_driver_whose_masks_are_complete_says_so_by_name_and_hides_nothing_behind_a_button(
    in_force: Settings, instance: dg.DagsterInstance
) -> None:
    (check,) = run(subject_masks, instance, partition_key="p002").get_asset_check_evaluations()
    assert check.description == "p002: 10 of 10 images have a mask"
    assert check.metadata["without_mask"].value == "none"


def test_failed_subjects_are_named_at_the_end_and_the_others_kept(
    in_force: Settings, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fill, "_fill", failing_for_p014(fill._fill))
    result = run(masks, instance, raise_on_error=False)
    assert not result.success
    failure = result.get_step_failure_events()[0].step_failure_data.user_failure_data
    assert failure is not None
    assert "1 of 4 subjects" in str(failure.description)
    assert "p014: " in str(failure.description)
    assert "no room left" in str(failure.description)
    assert len(open_cache(in_force).subjects_done()) == 3


def test_absent_model_fails_once_with_the_remedy_and_no_traceback_of_ours(
    in_force: Settings, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTRACTED_SEGMENTER", "nobody/nothing")
    with pytest.raises(dg.Failure) as error:
        run(masks, instance)
    assert "nobody/nothing" in str(error.value.description)
    assert "DISTRACTED_SEGMENTER" in str(error.value.description)
    assert not error.value.allow_retries


def test_importing_the_assets_loads_no_model_library() -> None:
    code = (
        "import sys, distracted_pipeline.assets.masks; "
        "heavy = {'torch', 'torchvision', 'transformers', 'pandas', 'pyarrow', 'PIL', 'numpy'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
