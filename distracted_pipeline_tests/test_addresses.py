"""Links lead to the ports that `distracted ui` was started on."""

import re
from pathlib import Path

import pytest

from distracted_pipeline.addresses import FILE, Ports, dagster_run_url, ports_of, remember_ports, report_url
from distracted_pipeline.cli import ui
from distracted_pipeline.settings import Settings
from distracted_pipeline.training.tracking import run_url


def test_before_the_ui_was_started_they_are_the_ones_that_it_starts_on(tmp_path: Path) -> None:
    (port,) = (option.default for option in ui.params if option.name == "port")
    assert Ports.from_first(port) == ports_of(tmp_path)


def test_links_to_runs_and_reports_follow_the_ports_of_the_last_start(tmp_path: Path) -> None:
    remember_ports(tmp_path, Ports.from_first(13000))
    assert dagster_run_url(tmp_path, "a/b") == "http://127.0.0.1:13000/runs/a%2Fb"
    assert report_url(tmp_path, "today") == "http://127.0.0.1:13002/today/index.html"
    assert run_url(Settings(data=tmp_path), "abc").startswith("http://127.0.0.1:13001/#/runs/abc")


def test_a_named_mlflow_server_shows_its_own_runs(tmp_path: Path) -> None:
    remote = Settings(data=tmp_path, mlflow="https://user:secret@tracking.example/")
    assert re.fullmatch(r"https://tracking\.example/#/runs/a%2Fb(\?.*)?", run_url(remote, "a/b"))


@pytest.mark.parametrize("damaged", ["", "[]", '{"dagster": 1, "more": 2}'])
def test_a_damaged_note_of_the_ports_costs_only_itself(damaged: str, tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(damaged)
    assert ports_of(tmp_path) == Ports()
