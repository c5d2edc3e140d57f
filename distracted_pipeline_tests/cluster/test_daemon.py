"""A real daemon, over real ticks: the night's backfill makes what is missing, and only that."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest

from distracted_pipeline.operations.activation import MODULE
from distracted_pipeline.operations.instance import open_instance
from distracted_pipeline_tests.chain import write_chain_root
from distracted_pipeline_tests.conftest import DRIVERS

MASKS = dg.AssetKey("subject_masks")
WAIT_S = 600.0


@contextmanager
def daemon(environment: dict[str, str], log: Path) -> Iterator[None]:
    with log.open("w") as lines:
        process = subprocess.Popen(
            [sys.executable, "-m", "dagster._daemon", "run", "-m", MODULE], env=environment, stdout=lines, stderr=lines
        )
        try:
            yield
            assert process.poll() is None, log.read_text()[-2000:]
        finally:
            process.terminate()
            process.wait(30)


def materialize(environment: dict[str, str], *arguments: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "dagster", "asset", "materialize", "-m", MODULE, "--select", *arguments],
        env=environment,
        check=True,
        capture_output=True,
    )


@pytest.mark.cluster
def test_a_daemon_fills_the_missing_subjects_in_one_backfill(tmp_path: Path) -> None:
    root, home = write_chain_root(tmp_path / "data"), tmp_path / "home"
    environment = {
        **os.environ,
        "DISTRACTED_DATA": str(root),
        "DAGSTER_HOME": str(home),
        "DISTRACTED_EXECUTOR": "in_process",
        "DISTRACTED_NIGHTLY": "* * * * *",
    }
    with open_instance(home):
        pass
    materialize(environment, "images")
    materialize(environment, "subject_masks", "--partition", DRIVERS[0])
    with open_instance(home) as instance, daemon(environment, tmp_path / "daemon.log"):
        deadline = time.monotonic() + WAIT_S
        while len(instance.get_materialized_partitions(MASKS)) < len(DRIVERS) + 1:
            assert time.monotonic() < deadline, (tmp_path / "daemon.log").read_text()[-3000:]
            time.sleep(2)
        (backfill,) = instance.get_backfills()
        asked = {
            run.tags["dagster/partition"]
            for run in instance.get_runs(dg.RunsFilter(tags={"distracted/asked_by": "nightly"}))
        }
        assert DRIVERS[0] not in asked
        assert asked == {*DRIVERS[1:], "test-000"}
        assert backfill.tags["distracted/asked_by"] == "nightly"
