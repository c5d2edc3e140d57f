"""A training on a data set that is not State Farm: sizes, names and chance are that data set's."""

from pathlib import Path

from mlflow import MlflowClient
from safetensors.torch import load_file

from distracted_pipeline.images.ingest import ingest
from distracted_pipeline.masks.fill import fill_missing
from distracted_pipeline.options import RunOptions
from distracted_pipeline.settings import load_settings
from distracted_pipeline.training.checkpoint import WEIGHTS, is_trained, load_trained
from distracted_pipeline.training.checks import check_trained
from distracted_pipeline.training.train import train_variant
from distracted_pipeline_tests.toy import CATEGORIES, CLASSES, DRIVERS, write_toy_root

QUIET = RunOptions("cpu", log=lambda line: None)


def test_a_model_has_the_classes_and_the_mask_channels_of_its_data_set(tmp_path: Path) -> None:
    settings = load_settings({}, data=write_toy_root(tmp_path / "data"))
    ingest(settings, log=QUIET.log)
    fill_missing(settings, options=QUIET)
    result = train_variant(settings, "masks_fused", "original", QUIET)
    assert result.metas[0]["classes"] == list(CLASSES)
    assert {*result.metas[0]["train_subjects"], *result.metas[0]["validation_subjects"]} < set(DRIVERS)
    weights = load_file(result.folder / "0" / WEIGHTS)
    assert weights["classifier.weight"].shape[0] == len(CLASSES)
    assert weights["mask_head.conv1.weight"].shape[1] == 1 + len(CATEGORIES)
    assert is_trained(settings, "masks_fused", "original")
    assert load_trained(settings, "masks_fused", "original", "cpu").net.classifier.out_features == len(CLASSES)

    checks = {check.name: check for check in check_trained(settings, result)}
    assert checks["better_than_chance"].facts["chance"] == 1 / len(CLASSES)
    assert checks["drivers_disjoint"].passed
    assert checks["finite"].passed

    client = MlflowClient(tracking_uri=settings.mlflow_uri)
    run = client.get_run(result.metas[0]["mlflow_run_id"])
    recalls = {name for name in run.data.metrics if name.startswith("recall_validation/")}
    assert recalls == {f"recall_validation/{name}" for name in CLASSES}
    picture = Path(client.download_artifacts(run.info.run_id, "confusion_validation.svg", str(tmp_path)))
    drawn = picture.read_text(encoding="utf-8")
    assert drawn.startswith("<svg")
    assert "phone in the left hand" in drawn
