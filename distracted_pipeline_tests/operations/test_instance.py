"""Dagster's home: first use is safe from several processes, and what is wrong with it is said."""

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import dagster as dg
import pytest
import yaml

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.operations.instance import dagster_home, open_instance
from distracted_pipeline_tests.damage import DAMAGES, damage


@dg.asset
def small() -> None: ...


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a history."""
    home = tmp_path_factory.mktemp("made") / "home"
    with open_instance(home) as instance:
        assert dg.materialize([small], instance=instance).success
    return home


FIRST_RUN = """
import sys, warnings
warnings.simplefilter("ignore")
from pathlib import Path
import dagster as dg
from distracted_pipeline.operations.instance import open_instance

@dg.asset
def small(): ...

with open_instance(Path(sys.argv[1])) as instance:
    assert dg.materialize([small], instance=instance).success
"""


@pytest.mark.slow
def test_three_first_runs_at_once_on_a_fresh_home_all_end_well(tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "DAGSTER_HOME"}
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", FIRST_RUN, str(tmp_path / "home")],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for run in runs:
        _, errors = run.communicate(timeout=120)
        assert run.returncode == 0, errors
    with open_instance(tmp_path / "home") as instance:
        assert instance.get_runs_count() == 3


def test_the_shipped_settings_queue_gpu_runs_and_retry_only_crashed_workers(tmp_path: Path) -> None:
    with open_instance(tmp_path / "home") as instance:
        assert not instance.telemetry_enabled
        assert not instance.nux_enabled
        pools = instance.get_concurrency_config().pool_config
        assert pools.pool_granularity is not None
        assert pools.pool_granularity.value == "run"
        assert pools.default_pool_limit == 1
        assert instance.get_settings("run_monitoring")["free_slots_after_run_end_seconds"] == 60
        assert instance.run_retries_enabled
        assert instance.get_settings("run_retries")["retry_on_asset_or_op_failure"] is False


def test_an_edited_dagster_yaml_is_kept(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with open_instance(home):
        pass
    settings = yaml.safe_load((home / "dagster.yaml").read_text())
    settings["concurrency"]["pools"]["default_limit"] = 4
    (home / "dagster.yaml").write_text(yaml.safe_dump(settings))
    with open_instance(home) as instance:
        assert instance.get_concurrency_config().pool_config.default_pool_limit == 4


def test_without_dagster_home_the_history_is_beside_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    assert dagster_home() == tmp_path / "data" / "dagster_home"


def test_a_history_of_an_older_schema_says_how_to_migrate_it(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with open_instance(home):
        pass
    with closing(sqlite3.connect(home / "history" / "runs" / "index.db")) as database:
        database.execute("ALTER TABLE asset_keys DROP COLUMN last_materialization_timestamp")
        database.commit()
    with (
        pytest.raises(DistractedError, match=r"home.*another version of Dagster.*dagster instance migrate"),
        open_instance(home),
    ):
        pass


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("history/runs/index.db", "emptied"),
        *(pytest.param("history/runs/index.db", how, marks=pytest.mark.slow) for how in DAMAGES if how != "emptied"),
        ("history/runs.db", "truncated"),
        ("schedules/schedules.db", "flipped"),
    ],
)
def test_a_damaged_history_is_set_aside_and_begins_anew(name: str, how: str, made: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(made, home)
    if how == "flipped":  # in the header of the first page, where SQLite cannot miss it
        (home / name).write_bytes(b"sqlite" + (home / name).read_bytes()[6:])
    else:
        damage(home / name, how)
    said: list[str] = []
    with open_instance(home, said.append) as instance:
        assert dg.materialize([small], instance=instance).success
    aside = list(home.glob("damaged-*"))
    assert bool(aside) == bool(said) == (how != "deleted")
    if aside:
        assert name.rpartition("/")[2] in said[0]
        assert str(aside[0]) in said[0]
        assert (aside[0] / name).is_file()
    with open_instance(home, said.append):
        assert len(said) == len(aside), "set aside once"


@pytest.mark.parametrize("content", [b"telemetry: {", b"\xff\xfe", b"- 1"])
def test_a_dagster_yaml_that_is_no_yaml_any_more_is_set_aside(content: bytes, tmp_path: Path) -> None:
    home, said = tmp_path / "home", list[str]()
    home.mkdir()
    (home / "dagster.yaml").write_bytes(content)
    with open_instance(home, said.append) as instance:
        assert not instance.telemetry_enabled
    assert [path.read_bytes() for path in home.glob("dagster.yaml.damaged-*")] == [content]
    assert "dagster.yaml was no YAML" in said[0]


def test_a_home_that_cannot_be_written_to_costs_the_history_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    said: list[str] = []
    with open_instance(tmp_path / "file" / "home", said.append) as instance:
        assert dg.materialize([small], instance=instance).success
    (line,) = said
    assert str(tmp_path / "file" / "home") in line
    assert "DAGSTER_HOME" in line
    assert "leaves no history" in line
