"""The executor is the environment's choice, and what an op needs reaches whoever grants it."""

import os
import re
import subprocess
import sys
from functools import partialmethod
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.executor.step_delegating import StepDelegatingExecutor

from distracted_pipeline.assets.compute import SEGMENT
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.operations import executors
from distracted_pipeline.operations.executors import STEP_VARIABLES, executor_from_environment
from distracted_pipeline_tests.operations.kubernetes_api import kubernetes_api

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
needs_ray = pytest.mark.skipif(find_spec("dagster_ray") is None, reason="extra [ray] not installed")
needs_k8s = pytest.mark.skipif(find_spec("dagster_k8s") is None, reason="extra [k8s] not installed")


@pytest.mark.parametrize(
    ("name", "executor"),
    [
        ("", "multiprocess"),
        ("multiprocess", "multiprocess"),
        ("in_process", "in_process"),
        pytest.param("ray", "ray", marks=needs_ray),
        pytest.param("k8s", "k8s", marks=[needs_k8s, pytest.mark.slow]),
    ],
)
def test_the_name_picks_the_executor(name: str, executor: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTRACTED_EXECUTOR", name)
    assert executor_from_environment().name == executor


def test_an_unknown_name_is_refused_with_the_choices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTRACTED_EXECUTOR", "dask")
    with pytest.raises(DistractedError, match="DISTRACTED_EXECUTOR=dask.*multiprocess, in_process, ray or k8s"):
        executor_from_environment()


@pytest.mark.parametrize("name", ["ray", "k8s"])
def test_a_missing_extra_is_named_with_what_to_type(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTRACTED_EXECUTOR", name)
    monkeypatch.setattr(executors, "find_spec", lambda module: None)
    with pytest.raises(DistractedError, match=rf'DISTRACTED_EXECUTOR={name}: .*pip install .* -e "\.\[{name}\]"'):
        executor_from_environment()


def test_every_setting_of_the_package_reaches_a_step_on_ray() -> None:
    named = {
        name
        for path in (ROOT / "distracted_pipeline").rglob("*.py")
        for name in re.findall(r"DISTRACTED_[A-Z0-9_]*[A-Z0-9]\b", path.read_text(encoding="utf-8"))
    }
    assert named <= set(STEP_VARIABLES), "add them to settings.VARIABLES and to deploy/ray/dagster.yaml"
    launcher = yaml.safe_load((DEPLOY / "ray" / "dagster.yaml").read_text())["run_launcher"]["config"]["ray"]
    assert launcher["env_vars"] == list(STEP_VARIABLES)


@needs_ray
def test_on_ray_only_the_ops_say_what_they_need(monkeypatch: pytest.MonkeyPatch) -> None:
    # Anything said by the executor would override, or mix into, the op's tags.
    monkeypatch.setenv("DISTRACTED_EXECUTOR", "ray")
    wanted = executor_from_environment().apply_config_mapping({"config": {}}).value["config"]["ray"]
    assert wanted["env_vars"] == list(STEP_VARIABLES)
    assert all(wanted.get(name) is None for name in ("num_cpus", "num_gpus", "memory", "resources"))


@needs_ray
@needs_k8s
@pytest.mark.parametrize("name", ["ray", "k8s"])
def test_a_cluster_costs_the_definitions_no_heavy_import(name: str) -> None:
    heavy = ("torch", "torchvision", "transformers", "mlflow", "pandas", "matplotlib", "pyarrow", "PIL")
    code = f"import sys, distracted_pipeline.definitions; print(*[m for m in {heavy!r} if m in sys.modules])"
    loaded = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "DISTRACTED_EXECUTOR": name},
        text=True,
        capture_output=True,
        check=True,
    )
    assert loaded.stdout.strip() == ""


@dg.op(tags=SEGMENT.op_tags(), retry_policy=dg.RetryPolicy(max_retries=1))
def needs_a_gpu() -> None:
    raise AssertionError("the step's pod, which nobody starts, would run this")


def _one_step() -> dg.JobDefinition:
    @dg.job(executor_def=executor_from_environment())
    def one_step() -> None:
        needs_a_gpu()

    return one_step


# Two names for one job: Dagster remembers what it has reconstructed, and with it the executor.
def job_on_kubernetes() -> dg.JobDefinition:
    return _one_step()


def job_on_ray() -> dg.JobDefinition:
    return _one_step()


@needs_k8s
@pytest.mark.slow
def test_a_gpu_step_becomes_a_job_with_limits_image_environment_and_volumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTRACTED_EXECUTOR", "k8s")
    impatient = partialmethod(StepDelegatingExecutor.__init__, check_step_health_interval_seconds=0)
    monkeypatch.setattr(StepDelegatingExecutor, "__init__", impatient)
    with kubernetes_api(tmp_path) as api:
        shipped: dict[str, Any] = yaml.safe_load((DEPLOY / "k8s" / "dagster.yaml").read_text())
        launcher = shipped["run_launcher"]
        launcher["config"] |= {"load_incluster_config": False, "kubeconfig_file": str(api.kubeconfig)}
        with dg.instance_for_test(temp_dir=str(tmp_path), overrides={"run_launcher": launcher}) as instance:
            result = dg.execute_job(dg.reconstructable(job_on_kubernetes), instance)
            assert not result.success  # the API says that the pod failed
            retries = [event for event in result.all_events if event.is_step_up_for_retry]
        assert [job["path"] for job in api.jobs] == ["/apis/batch/v1/namespaces/distracted/jobs"] * 2
        assert len(retries) == 1
    pod = api.jobs[0]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    wanted = {"nvidia.com/gpu": "1", "cpu": "8", "memory": "16Gi"}
    assert container["resources"] == {"limits": wanted, "requests": wanted}
    assert container["image"] == launcher["config"]["job_image"]
    assert "execute_step" in container["args"]
    environment = {item["name"]: item.get("value") for item in container["env"]}
    assert environment["DISTRACTED_EXECUTOR"] == "k8s"
    assert environment["DISTRACTED_DATA"] == "/data"
    assert environment["DAGSTER_HOME"] == "/opt/dagster/home"
    assert container["envFrom"] == [{"secretRef": {"name": "distracted-secrets"}}]
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    assert mounts["/data"] == "data"
    assert mounts["/cache/huggingface"] == "weights"
    claims = {
        v["name"]: v["persistentVolumeClaim"]["claimName"] for v in pod["volumes"] if "persistentVolumeClaim" in v
    }
    assert claims == {"data": "distracted-data", "weights": "distracted-weights"}
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["serviceAccountName"] == "distracted"


@needs_ray
def test_a_run_whose_ray_does_not_answer_fails_with_what_to_type(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DISTRACTED_EXECUTOR", "ray")
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://127.0.0.1:9")  # discard: nobody listens
    with (
        dg.instance_for_test(temp_dir=str(tmp_path)) as instance,
        pytest.raises(DistractedError, match=r"Ray, configured in .*http://127.0.0.1:9.*distracted doctor"),
    ):
        dg.execute_job(dg.reconstructable(job_on_ray), instance)
