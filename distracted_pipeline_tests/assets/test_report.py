from pathlib import Path

import dagster as dg
import pytest
from PIL import Image

from distracted_pipeline.assets.report import report
from distracted_pipeline.evaluation.parent_runs import ROLE
from distracted_pipeline.reports.build import ReportResult
from distracted_pipeline.reports.publish import SHEET, log_summary
from distracted_pipeline.settings import Settings
from distracted_pipeline.training import tracking
from distracted_pipeline.variants.config import load_catalogue
from distracted_pipeline_tests.conftest import write_kaggle_tree
from distracted_pipeline_tests.reports.conftest import prepared


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.chdir("/")  # no .env of the developer's
    return monkeypatch


def test_the_asset_shows_verdict_place_and_picture_and_warns_of_absent_variants(
    evaluated: Settings, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("DISTRACTED_DATA", str(evaluated.data))
    environment.setenv("DISTRACTED_SEGMENTER", evaluated.segmenter)
    environment.setenv("DISTRACTED_VARIANTS", str(evaluated.variants_file))
    environment.setenv("DISTRACTED_SYNTHETIC", "1")
    client, experiment = tracking.open_client(evaluated)
    parent = client.create_run(experiment, tags={ROLE: "variant", "variant": "fine_tune"}).info.run_id
    result = dg.materialize([report], instance=dg.DagsterInstance.ephemeral())
    (event,) = result.asset_materializations_for_node("report")
    assert "compared with Top only: not testable: fewer than 10 drivers" in str(event.metadata["verdict"].value)
    assert Path(str(event.metadata["path"].value)).is_file()
    page = Path(str(event.metadata["path"].value))
    assert str(event.metadata["url"].value) == f"http://127.0.0.1:3002/{page.parent.name}/index.html"
    assert "| Top only |" in str(event.metadata["leaderboard"].value)
    (run,) = client.search_runs([experiment], "attributes.run_name = 'report'")
    assert run.data.tags["report"] == page.parent.name
    assert str(event.metadata["mlflow"].value).endswith(f"/runs/{run.info.run_id}?workflowType=machine_learning")
    (artifact,) = client.list_artifacts(run.info.run_id)
    kept = Path(client.download_artifacts(run.info.run_id, artifact.path))
    assert kept.read_bytes() == (page.parent / "summary.html").read_bytes()
    assert "data:image/jpeg;base64," in str(event.metadata["picture"].value)
    assert [file.path for file in client.list_artifacts(parent)] == [SHEET]
    with Image.open(client.download_artifacts(parent, SHEET)) as sheet:
        assert sheet.height > sheet.width > 300, "a row for each of some images: frame, masks, Grad-CAMs"
    (check,) = result.get_asset_check_evaluations()
    assert not check.passed
    assert check.severity == dg.AssetCheckSeverity.WARN
    assert list(load_catalogue(evaluated))[-1] in str(check.description)


def test_the_asset_fails_with_the_next_command_where_nothing_was_evaluated(
    tmp_path: Path, environment: pytest.MonkeyPatch
) -> None:
    settings = prepared(write_kaggle_tree(tmp_path / "data", ["p002", "p014"], frames=1, test_frames=0))
    environment.setenv("DISTRACTED_DATA", str(settings.data))
    result = dg.materialize([report], instance=dg.DagsterInstance.ephemeral(), raise_on_error=False)
    assert not result.success
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    described = failure.step_failure_data.user_failure_data
    assert described is not None
    assert "distracted run" in str(described.description)


def test_a_tracking_store_that_does_not_answer_costs_the_copy_not_the_report(
    evaluated: Settings, built: ReportResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Settings) -> None:
        raise ConnectionError("refused")

    monkeypatch.setattr(tracking, "open_client", refuse)
    said: list[str] = []
    assert log_summary(evaluated, built, log=said.append) is None
    assert "refused" in said[0]
    assert "The report is written" in said[0]


def test_the_asset_waits_for_every_gradcam() -> None:
    keys = {dep.asset_key.to_user_string() for spec in report.specs for dep in spec.deps}
    assert keys == {"class_accuracy", "gradcam"}
