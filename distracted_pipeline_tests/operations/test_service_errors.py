"""A service that does not answer is named, with where it was configured and what to type."""

import importlib
import re
import shutil
import socket
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster._config import process_config, resolve_to_config_type
from dagster._core.instance.ref import InstanceRef

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.operations import doctor
from distracted_pipeline.operations.instance import open_instance
from distracted_pipeline.operations.service_errors import check_services, explain, explained
from distracted_pipeline.settings import Settings
from distracted_pipeline_tests.operations.kubernetes_api import kubernetes_api

DEPLOY = Path(__file__).parents[2] / "deploy"
needs_ray = pytest.mark.skipif(find_spec("dagster_ray") is None, reason="extra [ray] not installed")
needs_k8s = pytest.mark.skipif(find_spec("dagster_k8s") is None, reason="extra [k8s] not installed")
needs_postgres = pytest.mark.skipif(find_spec("dagster_postgres") is None, reason="extra [postgres] not installed")


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _home(tmp_path: Path, example: str, **changes: Any) -> Path:
    """Return a home with a shipped example, of which only `changes` differ."""
    config = yaml.safe_load((DEPLOY / example / "dagster.yaml").read_text()) | changes
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump({k: v for k, v in config.items() if v is not None}))
    return tmp_path


@needs_ray
@needs_k8s
@needs_postgres
@pytest.mark.parametrize("example", ["local", "ray", "k8s"])
def test_dagster_takes_each_example(example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", "postgresql+psycopg2://someone:secret@127.0.0.1/dagster")
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://127.0.0.1:8265")
    shutil.copyfile(DEPLOY / example / "dagster.yaml", tmp_path / "dagster.yaml")
    ref = InstanceRef.from_dir(str(tmp_path))  # validates all but the configuration of the classes it names
    assert ref.settings
    assert ref.settings["concurrency"]["pools"]["granularity"] == "run"
    assert ref.storage_data.class_name == "DagsterPostgresStorage"
    for data in (ref.storage_data, ref.run_launcher_data):
        assert data
        schema = getattr(importlib.import_module(data.module_name), data.class_name).config_type()
        result = process_config(resolve_to_config_type(schema or {}), data.config_dict)
        assert result.success, [error.message for error in result.errors or []]


@needs_postgres
def test_a_database_that_does_not_answer(tmp_path: Path, closed_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    home = _home(tmp_path, "local")
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", f"postgresql+psycopg2://me:secret@127.0.0.1:{closed_port}/dagster")
    with pytest.raises(DistractedError) as caught:
        check_services(home)
    said = str(caught.value)
    assert str(home / "dagster.yaml") in said
    assert f"port {closed_port} failed: Connection refused" in said
    assert "DAGSTER_POSTGRES_URL" in said
    assert "secret" not in said


@needs_postgres
def test_a_scheme_that_means_another_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", "postgresql://me:secret@127.0.0.1/dagster")
    with pytest.raises(DistractedError, match=r"postgresql\+psycopg2://"):
        check_services(_home(tmp_path, "local"))


@needs_postgres
def test_opening_the_instance_explains_a_variable_that_is_not_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DAGSTER_POSTGRES_URL", raising=False)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    home = _home(tmp_path, "local")
    with pytest.raises(DistractedError, match=rf"{re.escape(str(home))}.*DAGSTER_POSTGRES_URL"), open_instance(home):
        pass


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ('FATAL:  password authentication failed for user "me"', "Correct username and password"),
        ('FATAL:  database "dagster" does not exist', "createdb"),
    ],
)
def test_wrong_credentials_and_a_missing_database_are_told_apart(said: str, advice: str, tmp_path: Path) -> None:
    psycopg2 = pytest.importorskip("psycopg2")
    explanation = explain(psycopg2.OperationalError(said), tmp_path / "dagster.yaml")
    assert explanation
    assert said in explanation
    assert advice in explanation


@needs_ray
def test_a_ray_cluster_that_does_not_answer(tmp_path: Path, closed_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", f"http://127.0.0.1:{closed_port}")
    with pytest.raises(
        DistractedError, match=rf"Ray, configured in .*http://127.0.0.1:{closed_port}.*http://HEAD:8265"
    ):
        check_services(_home(tmp_path, "ray", storage=None))


@needs_ray
def test_a_token_that_ray_refuses(tmp_path: Path) -> None:
    from ray.exceptions import AuthenticationError

    explanation = explain(AuthenticationError("Invalid authentication token"), tmp_path / "dagster.yaml")
    assert explanation
    assert "RAY_AUTH_TOKEN_PATH" in explanation


@needs_k8s
def test_outside_of_a_kubernetes_cluster_without_a_kubeconfig(tmp_path: Path) -> None:
    with pytest.raises(DistractedError, match=r"Kubernetes, configured in .*no credentials.*kubeconfig_file"):
        check_services(_home(tmp_path, "k8s", storage=None))


@needs_k8s
def test_kubernetes_answers_or_refuses(tmp_path: Path) -> None:
    launcher = yaml.safe_load((DEPLOY / "k8s" / "dagster.yaml").read_text())["run_launcher"]
    with kubernetes_api(tmp_path) as api:
        launcher["config"] |= {"load_incluster_config": False, "kubeconfig_file": str(api.kubeconfig)}
        home = _home(tmp_path, "k8s", storage=None, run_launcher=launcher)
        assert check_services(home) == ["Kubernetes, namespace distracted"]
        api.status = 403
        with pytest.raises(DistractedError, match=r"access denied \(403.*kubectl apply -f deploy/k8s/manifests.yaml"):
            check_services(home)


def test_a_key_that_dagster_does_not_know(tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_text("storrage: {}\n")
    with pytest.raises(DistractedError, match=rf"{re.escape(str(tmp_path))}.*storrage"):
        check_services(tmp_path)


def test_a_missing_extra_is_told_from_a_missing_module(tmp_path: Path) -> None:
    config = tmp_path / "dagster.yaml"
    assert '".[ray]"' in str(explain(ModuleNotFoundError("no", name="dagster_ray"), config))
    assert explain(ModuleNotFoundError("no", name="json5"), config) is None


def test_a_bug_stays_a_bug(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), explained(tmp_path):
        print(1 / 0)


def test_the_doctor_tells_what_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.setenv("DISTRACTED_EXECUTOR", "dask")
    (finding,) = doctor._services(Settings(data=tmp_path))
    assert finding.state == "missing"
    assert "DISTRACTED_EXECUTOR=dask: no such executor" in finding.words
    assert "distracted doctor" in finding.remedy


def test_on_one_machine_there_is_nothing_to_ask(tmp_path: Path) -> None:
    assert check_services(tmp_path) == []
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    assert check_services(tmp_path) == []
