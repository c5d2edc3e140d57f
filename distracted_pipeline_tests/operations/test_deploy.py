"""Container and manifests agree with `dagster.yaml` and with each other; `make try-image` builds and runs an image."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
K8S = ROOT / "deploy" / "k8s"
USER = 65532


@pytest.fixture(scope="module")
def stages() -> list[list[str]]:
    """The Dockerfile's instructions by stage, comments gone and continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", (K8S / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    starts = [i for i, line in enumerate(lines) if line.startswith("FROM ")]
    return [lines[start:end] for start, end in zip(starts, [*starts[1:], len(lines)], strict=True)]


@pytest.fixture(scope="module")
def launcher() -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((K8S / "dagster.yaml").read_text())["run_launcher"]["config"]
    return config


@pytest.fixture(scope="module")
def manifests() -> dict[str, list[dict[str, Any]]]:
    kinds: dict[str, list[dict[str, Any]]] = {}
    for document in yaml.safe_load_all((K8S / "manifests.yaml").read_text()):
        kinds.setdefault(document["kind"], []).append(document)
    return kinds


def position(stage: list[str], start: str) -> int:
    (found,) = (i for i, line in enumerate(stage) if line.startswith(start))
    return found


def test_what_the_lock_names_is_a_layer_that_no_change_of_the_code_makes_again(stages: list[list[str]]) -> None:
    dependencies, project, final = stages
    assert dependencies[0].endswith(" AS dependencies")
    copied = [line for line in dependencies if line.startswith("COPY ")]
    assert copied == ["COPY requirements-image.lock ./"]  # the only file of the project that this layer hangs on
    installed = position(dependencies, "RUN pip install --require-hashes -r requirements-image.lock")
    assert dependencies.index(copied[0]) < installed
    assert project[0] == "FROM dependencies AS project"
    install = project[position(project, "RUN ")]
    assert {"--no-deps", "--no-build-isolation", "--prefix"} <= set(install.split())  # fetches nothing
    assert position(project, "COPY distracted_pipeline distracted_pipeline") < position(project, "RUN ")
    assert final[0] == "FROM dependencies"  # copied out of it, the layer would be written and kept twice
    assert [line for line in final if line.startswith("COPY ")] == ["COPY --from=project /opt/project /opt/venv"]


def test_the_image_is_built_in_stages_and_runs_in_another_without_root(stages: list[list[str]]) -> None:
    known = {"FROM", "ENV", "RUN", "WORKDIR", "COPY", "USER", "CMD"}
    assert {line.split()[0] for stage in stages for line in stage} <= known
    final = stages[-1]
    assert not any("--no-compile" in line or "PIP_NO_COMPILE" in line for stage in stages for line in stage)
    assert [line for line in final if line.startswith("USER")] == [f"USER {USER}:{USER}"]
    assert final.index(f"USER {USER}:{USER}") > max(i for i, line in enumerate(final) if line.startswith("RUN"))
    assert not any(re.search(r"\bpip\b|apt-get", line) for line in final)
    assert stages[0][0].split()[1] == "python:3.11-slim"


def test_what_the_image_copies_is_there_and_holds_no_data(stages: list[list[str]]) -> None:
    copied = [
        source
        for stage in stages
        for line in stage
        if line.startswith("COPY ") and "--from=" not in line
        for source in line.split()[1:-1]
    ]
    assert "distracted_pipeline" in copied
    assert all((ROOT / source).exists() for source in copied)
    sent = [line for line in (K8S / "Dockerfile.dockerignore").read_text().splitlines() if line[:1] in ("*", "!")]
    assert sent[0] == "*"  # nothing of the checkout, data least of all, but what is named after it
    assert {line.removeprefix("!") for line in sent if line.startswith("!")} == set(copied)


def test_image_launcher_and_pods_agree(
    stages: list[list[str]], launcher: dict[str, Any], manifests: dict[str, list[dict[str, Any]]]
) -> None:
    (deployment,) = manifests["Deployment"]
    pod = deployment["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsUser"] == USER
    security = launcher["run_k8s_config"]["pod_spec_config"]["security_context"]
    assert (security["runAsUser"], security["fsGroup"], security["runAsNonRoot"]) == (USER, USER, True)
    environment = " ".join(line for line in stages[-1] if line.startswith("ENV"))
    mounts = {mount["name"]: mount["mountPath"] for mount in launcher["volume_mounts"]}
    assert f"DISTRACTED_DATA={mounts['data']}" in environment
    assert f"HF_HOME={mounts['weights']}" in environment
    assert f"DAGSTER_HOME={launcher['dagster_home']}" in environment
    for container in pod["containers"]:
        assert container["image"] == launcher["job_image"]
        assert mounts.items() <= {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}.items()
    claims = {claim["metadata"]["name"] for claim in manifests["PersistentVolumeClaim"]}
    assert {volume["persistentVolumeClaim"]["claimName"] for volume in launcher["volumes"]} == claims
    namespaces = {document["metadata"]["namespace"] for kind in manifests.values() for document in kind}
    assert namespaces == {launcher["job_namespace"]}
    assert {account["metadata"]["name"] for account in manifests["ServiceAccount"]} == {
        launcher["service_account_name"]
    }
    assert pod["serviceAccountName"] == launcher["service_account_name"]


def test_the_role_allows_what_launching_a_job_takes(manifests: dict[str, list[dict[str, Any]]]) -> None:
    (role,) = manifests["Role"]
    allowed = {(resource, verb) for rule in role["rules"] for resource in rule["resources"] for verb in rule["verbs"]}
    assert {("jobs", verb) for verb in ("create", "get", "list", "delete")} <= allowed
    assert {("pods", "list"), ("pods/log", "get")} <= allowed
    assert all("*" not in pair for pair in allowed)


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder of programs that holds all that trying the image calls, but no builder."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("basename", "chmod", "dirname", "mktemp", "sh"):
        (folder / name).symlink_to(str(shutil.which(name)))
    return folder


def try_image(programs: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": str(programs), "TMPDIR": str(programs.parent)}
    command = [str(K8S / "try-image.sh"), *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_without_a_builder_trying_the_image_says_what_to_install(programs: Path) -> None:
    said = try_image(programs)
    assert said.returncode == 1
    assert "install docker, podman or buildah" in said.stderr


@pytest.mark.parametrize("builder", ["docker", "podman", "buildah"])
def test_trying_the_image_builds_it_without_the_data_and_runs_the_demo_in_it(programs: Path, builder: str) -> None:
    (programs / builder).write_text(f'#!/bin/sh\necho "$@" >> {programs.parent}/log\n')
    (programs / builder).chmod(0o755)
    assert try_image(programs, "--build-only").returncode == 0
    log = programs.parent / "log"
    (build,) = log.read_text().splitlines()
    assert build.startswith("build ")
    assert ("--layers" in build) is (builder == "buildah")  # else it makes all of them each time
    assert " -f deploy/k8s/Dockerfile " in build
    assert ("--ignorefile deploy/k8s/Dockerfile.dockerignore" in build) is (
        builder != "docker"
    )  # docker finds it itself
    assert try_image(programs).returncode == 0
    (run,) = [line for line in log.read_text().splitlines() if line.startswith("run ")]
    assert run.endswith("distracted demo --data /data/demo")
