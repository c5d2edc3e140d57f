"""`distracted setup` puts its exports into the environment's own activate scripts."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from distracted_pipeline.operations.activation import (
    MODULE,
    MODULE_VARIABLES,
    WARNINGS,
    write_conda_hooks,
    write_exports,
)


def _scripts(tmp_path: Path) -> Path:
    for name in ("activate", "activate.fish", "Activate.ps1"):
        (tmp_path / name).write_text("# made by venv\n")
    return tmp_path


@pytest.mark.parametrize("variable", MODULE_VARIABLES)
def test_a_shell_that_activates_gets_both_variables(variable: str, tmp_path: Path) -> None:
    home = tmp_path / "my home"
    write_exports(home, _scripts(tmp_path))
    shown = subprocess.run(
        ["sh", "-c", f'. ./activate; echo "${variable}|$DAGSTER_HOME"'],
        cwd=tmp_path, env={}, text=True, capture_output=True, check=True,
    )  # fmt: skip
    assert shown.stdout == f"{MODULE}|{home}\n"


@pytest.mark.parametrize(("theirs", "seen"), [(None, WARNINGS), ("error", "error")])
def test_one_warning_of_dagsters_commands_is_off_unless_the_shell_says_otherwise(
    tmp_path: Path, theirs: str | None, seen: str
) -> None:
    write_exports(tmp_path / "home", _scripts(tmp_path))
    environment = {"PYTHONWARNINGS": theirs} if theirs else {}
    shown = subprocess.run(
        ["sh", "-c", '. ./activate; echo "$PYTHONWARNINGS"'],
        cwd=tmp_path, env=environment, text=True, capture_output=True, check=True,
    )  # fmt: skip
    assert shown.stdout == f"{seen}\n"


@pytest.mark.parametrize(("warnings", "said"), [("", True), (WARNINGS, False)])
def test_only_the_line_about_superseded_commands_is_filtered(warnings: str, said: bool) -> None:
    code = (
        "import click, warnings\n"
        "def old(): warnings.warn('Function `x` is superseded', FutureWarning, 2)\n"
        "warnings.warn('Function `y` is superseded', FutureWarning)\n"
        "click.Command('c', callback=old)([], standalone_mode=False)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONWARNINGS": warnings}, text=True, capture_output=True, check=True,
    )  # fmt: skip
    assert ("`x`" in run.stderr) is said
    assert "`y`" in run.stderr


def test_a_home_already_in_the_shell_wins(tmp_path: Path) -> None:
    write_exports(tmp_path / "home", _scripts(tmp_path))
    command = ["sh", "-c", '. ./activate; echo "$DAGSTER_HOME"']
    shown = subprocess.run(
        command, cwd=tmp_path, env={"DAGSTER_HOME": "/mine"}, text=True, capture_output=True, check=True
    )
    assert shown.stdout == "/mine\n"


def test_a_conda_environment_has_no_activate_script_and_gets_hooks(tmp_path: Path) -> None:
    assert write_conda_hooks(tmp_path / "home", tmp_path) == []
    (tmp_path / "conda-meta").mkdir()
    for _ in range(2):
        hooks = write_conda_hooks(tmp_path / "home", tmp_path)
    assert {hook.suffix for hook in hooks} == {".sh", ".fish", ".csh", ".ps1", ".bat"}
    shown = subprocess.run(
        ["sh", "-c", f'. etc/conda/activate.d/distracted_pipeline.sh; echo "${MODULE_VARIABLES[0]}|$DAGSTER_HOME"'],
        cwd=tmp_path, env={}, text=True, capture_output=True, check=True,
    )  # fmt: skip
    assert shown.stdout == f"{MODULE}|{tmp_path / 'home'}\n"


def test_running_it_again_replaces_its_own_lines_only(tmp_path: Path) -> None:
    scripts = _scripts(tmp_path)
    write_exports(tmp_path / "first", scripts)
    assert [p.name for p in write_exports(tmp_path / "second", scripts)] == [
        "activate",
        "activate.fish",
        "Activate.ps1",
    ]
    text = (scripts / "activate").read_text()
    assert text.startswith("# made by venv\n")
    assert "first" not in text
    assert all(text.count(name) == 1 for name in MODULE_VARIABLES)
