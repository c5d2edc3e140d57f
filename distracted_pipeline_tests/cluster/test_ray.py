"""On a real PostgreSQL and a two-node Ray: a backfill whose worker is killed, and what wrong credentials are told."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import psutil
import pytest
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from PIL import Image

from distracted_pipeline.images.ingest import ingest
from distracted_pipeline.masks.cache import MaskCache, open_cache
from distracted_pipeline.masks.fill import SHARD_IMAGES, fill_missing
from distracted_pipeline.options import RunOptions
from distracted_pipeline.settings import Settings
from distracted_pipeline_tests.cluster.services import (
    Postgres,
    Ray,
    end_with_children,
    postgres_programs,
    running_postgres,
    running_ray,
)
from distracted_pipeline_tests.conftest import write_kaggle_tree

DEPLOY = Path(__file__).parents[2] / "deploy"
DRIVERS = ("p002", "p014", "p026")
VICTIM = "p014"
FRAMES = 90
TIMEOUT_S = 480

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(postgres_programs() is None, reason="PostgreSQL is not installed (initdb not found)"),
    pytest.mark.skipif(
        find_spec("dagster_ray") is None or find_spec("ray") is None, reason="extra [ray] not installed"
    ),
    pytest.mark.skipif(find_spec("dagster_postgres") is None, reason="extra [postgres] not installed"),
    pytest.mark.skipif(sys.platform != "linux", reason="several loopback addresses"),
]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    # Ray's sockets need a short path; pytest's is too long.
    path = Path(tempfile.mkdtemp(prefix="dp-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def settings(folder: Path) -> Settings:
    """Drivers of 900 frames with given class maps: four shards each, so that a kill can fall between two."""
    root = write_kaggle_tree(folder / "data", drivers=DRIVERS, frames=FRAMES, test_frames=0)
    maps = root / "maps"
    maps.mkdir()
    for path in root.glob("imgs/train/*/*.jpg"):
        with Image.open(path) as image:
            bright = np.asarray(image).max(2) > 200
        Image.fromarray((bright * np.uint8(1 + int(path.parent.name[1:]) % 6)).astype(np.uint8)).save(
            maps / f"{path.stem}.png"
        )
    settings = Settings(data=root, segmenter=f"folder:{maps}")
    ingest(settings, log=lambda line: None)
    return settings


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="module")
def ray(folder: Path, postgres: Postgres) -> Iterator[Ray]:
    (folder / "ray").mkdir()
    secrets = {"DAGSTER_POSTGRES_URL": postgres.url, "DAGSTER_DISABLE_TELEMETRY": "1"}
    with running_ray(folder / "ray", secrets) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def home(folder: Path) -> Path:
    """Dagster's home with the shipped example as it is."""
    home = folder / "home"
    home.mkdir()
    shutil.copyfile(DEPLOY / "ray" / "dagster.yaml", home / "dagster.yaml")
    return home


@pytest.fixture(scope="module")
def environment(settings: Settings, postgres: Postgres, ray: Ray, home: Path) -> dict[str, str]:
    return {
        **os.environ,
        **ray.environment,
        "DAGSTER_HOME": str(home),
        "DAGSTER_POSTGRES_URL": postgres.url,
        "DISTRACTED_DATA": str(settings.data),
        "DISTRACTED_SEGMENTER": settings.segmenter,
        "DISTRACTED_EXECUTOR": "ray",
    }


def contents(cache: MaskCache) -> dict[str, list[dict[str, Any]]]:
    return {
        subject: sorted(
            (row for shard in cache.shards(subject) for row in cache.read_shard(shard).to_pylist()),
            key=lambda row: row["img"],
        )
        for subject in cache.subjects_done()
    }


def test_a_backfill_with_a_killed_worker_ends_as_on_one_machine(
    settings: Settings, environment: dict[str, str], home: Path, ray: Ray, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    fill_missing(settings, options=RunOptions(log=lambda line: None))
    expected = contents(open_cache(settings))
    assert {subject: len(rows) for subject, rows in expected.items()} == dict.fromkeys(DRIVERS, FRAMES * 10)
    settings.masks.rename(folder / "masks-of-one-machine")

    log = (folder / "daemon.log").open("wb")
    command = [sys.executable, "-m", "dagster._daemon", "run", "-m", "distracted_pipeline.definitions"]
    with dg.DagsterInstance.from_config(str(home)) as instance:
        daemon = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
        try:
            instance.add_backfill(_backfill())
            killed = _kill_in_the_middle(settings, daemon, folder)
            _await_end(instance, daemon, folder)
        finally:
            end_with_children(daemon.pid)
            log.close()
        runs = {run.tags["dagster/partition"]: run for run in instance.get_runs()}
        assert {subject: run.status for subject, run in runs.items()} == dict.fromkeys(
            DRIVERS, dg.DagsterRunStatus.SUCCESS
        )
        assert instance.get_materialized_partitions(dg.AssetKey("subject_masks")) == set(DRIVERS)
        retried = instance.all_logs(runs[VICTIM].run_id, of_type=dg.DagsterEventType.STEP_UP_FOR_RETRY)
        assert len(retried) == 1

    cache = open_cache(settings)
    assert contents(cache) == expected
    for subject in DRIVERS:
        assert max(Counter(cache.imgs(subject)).values()) == 1
    # The shard that was whole before the kill is the one that is there now.
    assert {path.name: path.stat().st_mtime_ns for path in cache.shards(VICTIM) if path.name in killed} == killed
    assert not list(settings.masks.rglob("*.part"))


def test_the_services_answer_and_wrong_credentials_are_named(
    environment: dict[str, str], postgres: Postgres, ray: Ray, home: Path
) -> None:
    assert _asked(environment) == f"PostgreSQL at 127.0.0.1:{postgres.port}, database dagster; Ray at {ray.address}"
    wrong = _asked({**environment, "DAGSTER_POSTGRES_URL": postgres.url.replace(postgres.password, "guess")})
    assert 'password authentication failed for user "dagster"' in wrong
    assert "guess" not in wrong
    for token in ({"RAY_AUTH_TOKEN": "0" * 64}, {"RAY_AUTH_MODE": "disabled"}):
        wrong = _asked({**environment, **token})
        assert f"Ray, configured in {home / 'dagster.yaml'}" in wrong
        assert "RAY_AUTH_TOKEN_PATH" in wrong


def _asked(environment: dict[str, str]) -> str:
    """Return what a process with this environment is told; Ray reads its token once a process."""
    code = (
        "from distracted_pipeline.operations.service_errors import check_services as check\n"
        "from distracted_pipeline.operations.instance import dagster_home\n"
        "from distracted_pipeline.errors import DistractedError\n"
        "try: print('; '.join(check(dagster_home())))\n"
        "except DistractedError as error: print(error)\n"
    )
    asked = subprocess.run([sys.executable, "-c", code], env=environment, text=True, capture_output=True, check=True)
    return asked.stdout.strip()


def _backfill() -> PartitionBackfill:
    from distracted_pipeline.definitions import defs

    with dg.DagsterInstance.ephemeral() as nothing:
        return PartitionBackfill.from_asset_partitions(
            backfill_id="masks",
            asset_graph=defs.resolve_asset_graph(),
            partition_names=list(DRIVERS),
            asset_selection=[dg.AssetKey("subject_masks")],
            backfill_timestamp=time.time(),
            tags={},
            dynamic_partitions_store=nothing,
            all_partitions=False,
            title=None,
            description=None,
            run_config=None,
        )


def _kill_in_the_middle(settings: Settings, daemon: subprocess.Popen[bytes], folder: Path) -> dict[str, int]:
    """Kill -9 the Ray worker that makes one driver's masks after its first shard; return the shards it had written."""
    cache = open_cache(settings)
    deadline = time.monotonic() + TIMEOUT_S
    while not cache.shards(VICTIM):
        assert time.monotonic() < deadline, _tail(folder)
        assert daemon.poll() is None, _tail(folder)
        time.sleep(0.005)
    (step,) = [process for process in psutil.process_iter() if _makes(process, VICTIM)]
    step.suspend()  # so that it cannot finish between the look and the blow
    assert cache.index(VICTIM) is None, "the step was faster than the test"
    written = {path.name: path.stat().st_mtime_ns for path in cache.shards(VICTIM)}
    assert 1 <= len(written) < FRAMES * 10 / SHARD_IMAGES
    worker = next(parent for parent in step.parents() if parent.name().startswith("ray::"))
    below = worker.children(recursive=True)
    for process in [worker, *below]:
        process.kill()
    psutil.wait_procs([worker, *below], timeout=30)
    return written


def _makes(process: psutil.Process, subject: str) -> bool:
    """Tell whether a process holds the lock of a subject's masks."""
    try:
        return any(Path(file.path).name == f".{subject}.lock" for file in process.open_files())
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


def _await_end(instance: dg.DagsterInstance, daemon: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        backfill = instance.get_backfill("masks")
        assert backfill
        if backfill.status in (BulkActionStatus.COMPLETED, BulkActionStatus.COMPLETED_SUCCESS):
            return
        assert backfill.status == BulkActionStatus.REQUESTED, _tail(folder)
        assert time.monotonic() < deadline, _tail(folder)
        assert daemon.poll() is None, _tail(folder)
        time.sleep(1)


def _tail(folder: Path) -> str:
    return (folder / "daemon.log").read_text()[-4000:]
