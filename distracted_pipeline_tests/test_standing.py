"""A data root that is moved, removed or unmounted under a command: one sentence, and no shadow at the old place."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from click.testing import CliRunner

from distracted_pipeline import standing
from distracted_pipeline.assets.step import user_errors_as_failures
from distracted_pipeline.cli import main
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.files import locked, write_json
from distracted_pipeline.operations import run as runs
from distracted_pipeline.operations.missing import Item, Outcome, Step
from distracted_pipeline.settings import Settings, load_settings
from distracted_pipeline.standing import GoneError
from distracted_pipeline.training import tracking


@pytest.fixture
def moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """A data root that a command has begun to use, and that has been moved since."""
    monkeypatch.setattr(standing, "_roots", {})
    root = tmp_path / "data"
    (root / "imgs").mkdir(parents=True)
    settings = load_settings({}, data=root)
    root.rename(tmp_path / "elsewhere")
    yield settings
    assert not root.exists() or not list(root.iterdir())  # no shadow


def test_nothing_is_written_at_the_old_place(moved: Settings) -> None:
    with pytest.raises(GoneError, match="data is gone: it was moved, removed or unmounted while this command used it"):
        write_json(moved.models / "top_only" / "0" / "config.json", {})
    with pytest.raises(GoneError), locked(moved.data / "mlflow.lock", what="the MLflow store"):
        pass
    with pytest.raises(GoneError):
        tracking.open_client(moved)


def test_the_empty_folder_that_an_unmounted_disk_leaves_is_no_data_root(moved: Settings) -> None:
    moved.data.mkdir()
    with pytest.raises(GoneError):
        write_json(moved.manifest, {})


def test_a_root_that_came_back_and_a_new_one_are_written_to(moved: Settings, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").rename(moved.data)
    write_json(moved.data / "a.json", {})
    moved.data.rename(tmp_path / "elsewhere")
    new = load_settings({}, data=tmp_path / "new")
    write_json(new.data / "a.json", {})


def test_whatever_a_step_fails_of_the_root_is_named(moved: Settings) -> None:
    for error in (FileNotFoundError("images.parquet"), DistractedError("images.parquet does not exist yet")):
        with pytest.raises(dg.Failure) as caught, user_errors_as_failures():
            raise error
        assert f"{moved.data} is gone" in str(caught.value.description)


def test_a_run_ends_at_the_first_step_that_finds_the_root_gone(moved: Settings) -> None:
    ran: list[str] = []

    def crew(items: Iterator[Item]) -> Iterator[Outcome]:
        for (step,) in items:
            ran.append(step.label)
            yield step, "it failed"

    summary = runs.RunSummary(failed={"before": "its own reason"})
    runner = runs.Runner(crew, crew, 1, moved, summary, lambda line: None)  # type: ignore[arg-type]
    with pytest.raises(GoneError) as caught, runs._naming_failures(summary):
        runner.run([Step(("report",), "first"), Step(("report",), "second")])
    assert ran == ["first"]
    assert "before" not in str(caught.value)


def test_a_command_ends_in_that_one_sentence(moved: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise FileNotFoundError(2, "No such file or directory", str(moved.manifest))

    monkeypatch.setattr("distracted_pipeline.operations.run.run_missing", missing)
    said = CliRunner().invoke(main, ["run"])
    assert said.exit_code == 1
    assert said.stderr.startswith(f"Error: {moved.data} is gone")
    assert len(said.stderr.splitlines()) == 1
