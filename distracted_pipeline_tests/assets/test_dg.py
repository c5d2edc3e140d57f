"""Dagster's newer command line, `dg`, works as typed from the repository's root."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from distracted_pipeline.operations.instance import prepare_home
from distracted_pipeline.settings import Settings

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def home(own_root: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A fresh Dagster home over a small data root, typed from the repository's root."""
    home = tmp_path / "home"
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    prepare_home(home)
    monkeypatch.setenv("DISTRACTED_DATA", str(own_root.data))
    monkeypatch.setenv("DISTRACTED_SEGMENTER", own_root.segmenter)
    monkeypatch.setenv("DISTRACTED_EXECUTOR", "in_process")
    monkeypatch.chdir(REPOSITORY)
    return home


def typed(*words: str) -> str:
    done = subprocess.run([Path(sys.executable).with_name("dg"), *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_dg_launch_makes_assets_and_single_partitions(home: Path) -> None:
    typed("launch", "--assets", "images")
    typed("launch", "--assets", "subject_masks", "--partition", "p002")
    with dg.DagsterInstance.from_config(str(home)) as instance:
        assert instance.get_latest_materialization_event(dg.AssetKey("images")) is not None
        assert instance.get_materialized_partitions(dg.AssetKey("subject_masks")) == {"p002"}


def test_dg_list_defs_and_dg_check_defs_know_the_project(home: Path) -> None:
    listed = json.loads(typed("list", "defs", "--json"))
    assert {"assets", "jobs"} <= set(listed)
    for name in ("images", "subject_masks", "report"):
        assert f'"{name}"' in json.dumps(listed["assets"])
    for name in ("everything", "make_masks", "make_report"):
        assert f'"{name}"' in json.dumps(listed["jobs"])
    assert "definitions loaded successfully" in typed("check", "defs")
