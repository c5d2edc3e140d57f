"""The assets as Dagster runs them: metadata, checks, and failures a person can act on."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from distracted_pipeline.assets import evaluation as assets
from distracted_pipeline.assets import explanation
from distracted_pipeline.errors import NoMap
from distracted_pipeline.evaluation.predictions import predictions_path
from distracted_pipeline.explanation import selection
from distracted_pipeline.settings import Settings
from distracted_pipeline_tests.conftest import draw_frame
from distracted_pipeline_tests.damage import write_unsealed
from distracted_pipeline_tests.evaluation.fakes import DRIVERS, make_root, predict
from distracted_pipeline_tests.evaluation.tiny import TinyNet
from distracted_pipeline_tests.explanation.fakes import FakeTrained, FusedNet, fused_inputs


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A data root in the environment, over the shipped catalogue."""
    made = make_root(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DISTRACTED_DATA", str(made.data))
    return Settings(data=made.data)


def materialize(asset: dg.AssetsDefinition, **options) -> dg.ExecuteInProcessResult:
    return dg.materialize([asset], instance=dg.DagsterInstance.ephemeral(), raise_on_error=False, **options)


def test_class_accuracy_shows_recalls_a_table_and_a_picture(root: Settings) -> None:
    predict(root, "top_only", wrong={6: 5}, drivers=DRIVERS[1:])
    predict(root, "adapter_serial")
    result = materialize(assets.class_accuracy)
    assert result.success
    metadata = result.asset_materializations_for_node("class_accuracy")[0].metadata
    assert metadata["best_variant"].value == "adapter_serial"
    assert [metadata[f"recall_c{c}"].value for c in range(10)] == [1.0] * 10
    assert metadata["scope"].value == "oof: out-of-fold predictions over all drivers"
    assert "| adapter_serial | 1.00 |" in metadata["recall_by_class"].md_str
    assert "adapter_serial: 1 of 10 classes improved, 0 worsened" in metadata["against_the_reference"].md_str
    assert metadata["picture"].md_str.startswith("![Recall minus the reference")
    assert "fine_tune: no predictions yet" in metadata["missing"].md_str
    checks = {check.check_name: check for check in result.get_asset_check_evaluations()}
    assert not checks["every_variant_predicted"].passed
    assert checks["every_variant_predicted"].severity == dg.AssetCheckSeverity.WARN
    assert "adapter_parallel: no predictions yet" in checks["every_variant_predicted"].description
    assert checks["predictions_usable"].passed


def test_an_unusable_file_fails_its_check_and_not_the_asset(root: Settings) -> None:
    predict(root, "top_only", ["0", "1"])
    path = predictions_path(root, "top_only", "0")
    table = pq.read_table(path)
    nan = np.full(table.num_rows, np.nan, np.float32)
    write_unsealed(path, table.set_column(4, table.schema.field("p_c0"), [nan]))
    result = materialize(assets.class_accuracy)
    assert result.success
    checks = {check.check_name: check for check in result.get_asset_check_evaluations()}
    assert not checks["predictions_usable"].passed
    assert "NaN" in checks["predictions_usable"].description


def test_nothing_predicted_fails_with_the_next_command(root: Settings) -> None:
    result = materialize(assets.class_accuracy)
    assert not result.success
    (failure,) = [event.step_failure_data for event in result.all_node_events if event.is_step_failure]
    assert "run `distracted run`" in failure.user_failure_data.description


@pytest.fixture
def predicted(root: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Predictions of one variant, a network that stands in for the trained one, frames, and no mask."""
    from distracted_pipeline.features import taps
    from distracted_pipeline.images import decode
    from distracted_pipeline.masks import cache
    from distracted_pipeline.training import checkpoint, inputs

    predict(root, "masks_only", ["0", "1"], wrong={3: 1})
    monkeypatch.setattr(selection, "SHARED", 0)
    trained = SimpleNamespace(net=TinyNet().eval(), config=SimpleNamespace(model_name=None))
    masks = SimpleNamespace(imgs=lambda subject: [], mask=None, content=lambda subjects: "none")
    no_taps = SimpleNamespace(missing=lambda subject, names: names)
    monkeypatch.setattr(taps, "TapStore", lambda settings, model_name: no_taps)
    monkeypatch.setattr(cache, "open_cache", lambda settings: masks)
    monkeypatch.setattr(checkpoint, "is_trained", lambda *_: True)
    monkeypatch.setattr(checkpoint, "load_trained", lambda *_: trained)
    monkeypatch.setattr(
        inputs, "load_inputs", lambda settings, names, imgs, model_name: {"pixels": torch.randn(len(imgs), 3, 12, 16)}
    )
    monkeypatch.setattr(decode.ImageReader, "rgb", lambda self, path: np.asarray(draw_frame(0, 0, 0)))


@pytest.mark.usefixtures("predicted")
def test_gradcam_shows_lifts_and_a_picture() -> None:
    result = materialize(explanation.gradcam, partition_key="masks_only")
    assert result.success
    metadata = result.asset_materializations_for_node("gradcam")[0].metadata
    assert (
        metadata["cams"].value == 9 * 4 + 4 * 2
    )  # class 3 has no right ones, and two rows for each of its confused ones
    assert metadata["lifts"].md_str.startswith("| category | lift | permuted | ratio | 95% | drivers | images |\n")
    assert "\n| person | – | – | – | – | 0 | 0 |\n" in metadata["lifts"].md_str  # no image has a mask here
    assert metadata["picture"].md_str.startswith("![Grad-CAM of one image per class](data:image/png;base64,")
    assert not {"image_share", "mask_share", "picture_of_mask_branch"} & set(metadata)
    assert [check.check_name for check in result.get_asset_check_evaluations()] == ["cams_not_all_zero"]


@pytest.mark.usefixtures("predicted")
def test_gradcam_of_a_network_without_a_map_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_args: object) -> None:
        raise NoMap("vit ends in tokens, not in a map")

    monkeypatch.setattr("distracted_pipeline.explanation.gradcam.explained", none)
    result = materialize(explanation.gradcam, partition_key="masks_only")
    assert result.success
    said = result.asset_materializations_for_node("gradcam")[0].metadata["left_out"].value
    assert said == "CAMs of masks_only are left out: vit ends in tokens, not in a map"
    assert all(check.passed for check in result.get_asset_check_evaluations())


@pytest.mark.usefixtures("predicted")
def test_gradcam_of_a_fused_variant_shows_both_branches_and_their_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    from distracted_pipeline.training import checkpoint, inputs

    trained = FakeTrained(FusedNet(of_masks=2.0).eval(), SimpleNamespace(model_name=None))
    monkeypatch.setattr(checkpoint, "load_trained", lambda *_: trained)
    monkeypatch.setattr(inputs, "load_inputs", fused_inputs)
    result = materialize(explanation.gradcam, partition_key="masks_only")
    assert result.success
    metadata = result.asset_materializations_for_node("gradcam")[0].metadata
    assert metadata["image_share"].value + metadata["mask_share"].value == pytest.approx(1, abs=1e-3)
    assert metadata["picture_of_mask_branch"].md_str.startswith(
        "![Grad-CAM of the mask branch of one image per class]("
    )


@pytest.mark.slow
def test_loading_the_assets_imports_nothing_heavy() -> None:
    code = (
        "import sys, distracted_pipeline.assets.evaluation; "
        "print(*sorted({'torch', 'torchvision', 'transformers', 'mlflow', 'pandas', 'matplotlib', 'scipy', "
        "'statsmodels', 'sklearn', 'PIL', 'pyarrow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
