"""Runs of `distracted run` are in the UI's timeline, and none that was killed seems to go on."""

import dagster as dg
import pytest

from distracted_pipeline.operations.timeline import (
    CODE_LOCATION,
    close_killed_runs,
    killed_runs_end,
    run_tags,
    show_in_timeline,
)


@dg.asset
def small() -> None: ...


def test_a_run_of_the_terminal_names_the_code_location_that_the_ui_loads() -> None:
    job = dg.Definitions([small]).resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.ephemeral() as instance:
        show_in_timeline(instance)
        job.execute_in_process(instance=instance, tags=run_tags())
        (run,) = instance.get_runs()
    origin = run.remote_job_origin
    assert origin is not None, "the timeline leaves out runs without one"
    assert origin.location_name == CODE_LOCATION
    assert (origin.repository_origin.repository_name, origin.job_name) == ("__repository__", "__ASSET_JOB")
    assert run.tags["distracted/asked_by"] == "distracted run"
    assert run.tags["dagster/max_retries"] == "0", "the daemon leaves it to the next `distracted run`"
    shown = [key for key in run.tags if not key.startswith((".dagster/", "dagster/"))]
    assert shown == ["distracted/asked_by"], "the list of runs shows every other tag below the run"


@pytest.mark.parametrize(("process", "status"), [("killed", "CANCELED"), ("this", "STARTED")])
def test_a_run_whose_process_was_killed_counts_as_canceled(process: str, status: str) -> None:
    job = dg.Definitions([small]).resolve_implicit_global_asset_job_def()
    started = {**run_tags(), **({".dagster/distracted.process_started": "1"} if process == "killed" else {})}
    with dg.DagsterInstance.ephemeral() as instance:
        run = instance.create_run_for_job(job, tags=started, status=dg.DagsterRunStatus.STARTED)
        close_killed_runs(instance)
        found = instance.get_run_by_id(run.run_id)
    assert found is not None
    assert found.status == dg.DagsterRunStatus[status]


def test_the_ui_closes_killed_runs_without_another_run() -> None:
    job = dg.Definitions([small]).resolve_implicit_global_asset_job_def()
    killed = {**run_tags(), ".dagster/distracted.process_started": "1"}
    with dg.DagsterInstance.ephemeral() as instance:
        run = instance.create_run_for_job(job, tags=killed, status=dg.DagsterRunStatus.STARTED)
        first, second = (killed_runs_end(dg.build_sensor_context(instance)) for _ in range(2))
    assert isinstance(first, dg.SkipReason)
    assert isinstance(second, dg.SkipReason)
    assert first.skip_message == f"counted as canceled: {run.run_id}"
    assert second.skip_message == "no process was killed"


def test_the_repository_names_the_code_location_the_same_everywhere() -> None:
    from pathlib import Path

    import yaml

    root = Path(__file__).parents[2]
    (entry,) = yaml.safe_load((root / "workspace.yaml").read_text())["load_from"]
    assert entry["python_module"]["location_name"] == CODE_LOCATION
    assert f'code_location_name = "{CODE_LOCATION}"' in (root / "pyproject.toml").read_text()
