"""The assets around training: partitions map, checks report, users' errors fail without a traceback."""

import re
from collections.abc import Iterator

import dagster as dg
import pytest

from distracted_pipeline.settings import Settings


def environment(settings: Settings) -> dict[str, str]:
    """The settings as the variables that the assets read."""
    return {
        "DISTRACTED_DATA": str(settings.data),
        "DISTRACTED_BACKBONE": settings.backbone,
        "DISTRACTED_SEGMENTER": settings.segmenter,
        "DISTRACTED_VARIANTS": str(settings.variants_file),
        "DISTRACTED_BASELINE": settings.baseline,
        **({"DISTRACTED_REPLICATES": str(settings.replicates)} if settings.replicates else {}),
    }


@pytest.fixture
def in_force(prepared: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """`prepared`, as the environment of the assets."""
    for name, value in environment(prepared).items():
        monkeypatch.setenv(name, value)
    return prepared


def run(names: list[str], partition: str) -> dg.ExecuteInProcessResult:
    from distracted_pipeline.assets import evaluation, features, serving, training

    selected = [
        asset
        for asset in dg.load_assets_from_modules([features, training, evaluation, serving])
        if asset.key.to_user_string() in names
    ]
    return dg.materialize(selected, partition_key=partition, raise_on_error=False)


def test_training_and_predicting_one_partition_reports_metadata_and_checks(in_force: Settings) -> None:
    result = run(["trained_model", "predictions"], "0|masks_only")
    assert result.success
    metadata = result.asset_materializations_for_node("trained_model")[0].metadata
    assert "data:image/svg+xml;base64" in metadata["curve"].value
    assert metadata["trainable_parameters"].value > 0
    assert metadata["mlflow_run"].url.startswith("http://127.0.0.1:3001/#/experiments/")
    assert all(re.fullmatch("[a-z0-9_]+", name) for name in metadata)
    checks = {check.check_name: check.passed for check in result.get_asset_check_evaluations()}
    assert set(checks) == {"drivers_disjoint", "finite", "better_than_chance", "valid_probabilities"}
    assert checks["drivers_disjoint"]
    assert checks["finite"]
    assert checks["valid_probabilities"]
    predicted = result.asset_materializations_for_node("predictions")[0].metadata
    assert predicted["images"].value > 0


def test_a_run_that_makes_nothing_says_that_all_is_there_for_dagster_would_say_nothing(
    in_force: Settings, capfd: pytest.CaptureFixture[str]
) -> None:
    for assets, partition in ((["features"], "p002"), (["trained_model", "predictions"], "0|masks_only")):
        run(assets, partition)
        capfd.readouterr()
        assert run(assets, partition).success
        said = capfd.readouterr().err
        assert "already" in said, assets
    assert "masks_only, fold 0: trained already" in said
    assert "masks_only, fold 0: predicted already" in said


def test_the_checkpoint_and_its_mlflow_run_name_the_dagster_run(
    own_root: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    from distracted_pipeline.training.checkpoint import model_folder, read_meta

    for name, value in environment(own_root).items():
        monkeypatch.setenv(name, value)
    result = run(["trained_model"], "2|masks_only")
    assert result.success
    meta = read_meta(model_folder(own_root, "masks_only", "2"))
    assert meta["dagster_run_id"] == result.run_id
    tags = MlflowClient(tracking_uri=own_root.mlflow_uri).get_run(meta["mlflow_run_id"]).data.tags
    assert tags["dagster_run_id"] == result.run_id
    assert tags["package_version"]


def test_the_champion_is_an_asset_whose_check_says_whether_it_is_registered(
    crowned: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from distracted_pipeline.assets.serving import champion

    for name, value in environment(crowned).items():
        monkeypatch.setenv(name, value)
    result = dg.materialize([champion])
    metadata = result.asset_materializations_for_node("champion")[0].metadata
    assert metadata["version"].value == "1"
    assert "models:/distracted_driver@champion" in metadata["load"].value
    assert [check.passed for check in result.get_asset_check_evaluations()] == [True]
    monkeypatch.setenv("DISTRACTED_MLFLOW", "nonsense://nowhere")
    result = dg.materialize([champion])
    assert result.success, "a store that is down is nobody's failure"
    assert [check.passed for check in result.get_asset_check_evaluations()] == [False]


def test_the_taps_of_a_driver_are_an_asset_partition(in_force: Settings) -> None:
    result = run(["features"], "p002")
    assert result.success
    metadata = result.asset_materializations_for_node("features")[0].metadata
    assert metadata["images"].value == 20


def test_a_users_error_is_a_failure_with_its_message_and_no_retry(in_force: Settings) -> None:
    result = run(["submission"], "adapter_serial")
    assert not result.success
    failure = next(event for event in result.all_events if event.is_step_failure).step_failure_data.user_failure_data
    assert failure is not None
    assert 'dagster asset materialize --select trained_model --partition "original|adapter_serial"' in (
        failure.description or ""
    )


def test_one_training_depends_on_every_subjects_taps_and_the_submission_on_the_trained_models() -> None:
    from distracted_pipeline.assets.serving import submission
    from distracted_pipeline.assets.training import trained_model

    mapping = trained_model.get_partition_mapping(dg.AssetKey("features"))
    assert isinstance(mapping, dg.AllPartitionMapping)
    assert submission.asset_deps[dg.AssetKey("submission")] == {dg.AssetKey("trained_model")}
