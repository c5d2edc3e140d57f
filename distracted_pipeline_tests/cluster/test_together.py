"""Two processes on one data root, and two machines that share nothing but a store."""

import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from distracted_pipeline_tests.chain import write_chain_root

pytestmark = pytest.mark.cluster


def start(root: Path, home: Path, *words: str, store: Path | None = None) -> "subprocess.Popen[str]":
    environment = {
        **os.environ,
        "DISTRACTED_DATA": str(root),
        "DAGSTER_HOME": str(home),
        "DISTRACTED_EXECUTOR": "in_process",
        **({"DISTRACTED_STORE": store.as_uri()} if store else {}),
    }
    command = [str(Path(sys.executable).with_name(words[0])), *words[1:]]
    return subprocess.Popen(
        command, cwd=root.parent, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def test_two_runs_at_once_on_fresh_data_and_a_fresh_home_both_end_well(tmp_path: Path) -> None:
    root = write_chain_root(tmp_path / "data")
    runs = [start(root, tmp_path / "home", "distracted", "run") for _ in range(2)]
    said = [run.communicate(timeout=900)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], "\n".join(said)
    assert all("0 failed" in lines for lines in said)
    assert len(list(root.glob("models/*/*/config.json"))) == 12
    for path in root.glob("predictions/*/*.parquet"):
        imgs = pq.read_table(path, partitioning=None)["img"].to_pylist()
        assert len(imgs) == len(set(imgs))
    assert not list(root.rglob("*.part"))


def test_what_one_machine_made_another_one_reports_from_the_store(tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    first, second = write_chain_root(tmp_path / "first" / "data"), tmp_path / "second" / "data"
    second.mkdir(parents=True)
    (tmp_path / "second" / "home").mkdir()
    run = start(first, tmp_path / "first" / "home", "distracted", "run", store=store)
    said = run.communicate(timeout=900)[0]
    assert run.returncode == 0, said
    module = ("-m", "distracted_pipeline.definitions")
    made_there = start(
        second,
        tmp_path / "second" / "home",
        "dagster",
        "asset",
        "materialize",
        *module,
        "--select",
        "report",
        store=store,
    )
    said = made_there.communicate(timeout=300)[0]
    assert made_there.returncode == 0, said
    page = (second / "reports" / "latest" / "index.html").read_text(encoding="utf-8")
    assert "masks_fused" in page
    assert list((store / "reports").glob("*/index.html"))
