"""What `distracted doctor` says in odd surroundings: a line, never a traceback, and the rest is looked at too."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from distracted_pipeline.advice import RUN
from distracted_pipeline.dataset import STATE_FARM
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.operations import doctor
from distracted_pipeline.operations.doctor import Finding, examine, memory_limit
from distracted_pipeline.settings import Settings


def services(settings: Settings) -> list[Finding]:
    return list(doctor._services(settings))


@pytest.mark.parametrize("text", [b"a: [", b"- 1", b"\xff\xfe"])
def test_a_dagster_yaml_that_is_no_yaml_is_a_note(text: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    (tmp_path / "dagster.yaml").write_bytes(text)
    (found,) = services(Settings(data=tmp_path))
    assert (found.state, found.topic) == ("note", "history")
    assert "dagster.yaml is no YAML: the next run sets it aside" in found.words


def test_a_dagster_yaml_with_values_of_another_kind_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    (tmp_path / "dagster.yaml").write_text("storage: 3\n")
    (found,) = services(Settings(data=tmp_path))
    assert found.state == "missing"
    assert "dagster.yaml is not as Dagster wants it" in found.words


def test_a_home_that_is_a_file_or_below_one_is_a_note_and_one_that_is_not_there_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    for home in ("file", "file/home"):
        monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / home))
        (found,) = services(Settings(data=tmp_path))
        assert f"{tmp_path / 'file'} is a file" in found.words
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "none" / "home"))
    assert services(Settings(data=tmp_path)) == []
    assert not (tmp_path / "none").exists()


def test_what_ends_one_part_of_the_examination_leaves_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(settings: Settings) -> Iterator[Finding]:
        raise DistractedError("settings.env says nothing")
        yield

    end.__name__ = "_weights"
    monkeypatch.setattr(doctor, "_weights", end)
    for part in ("_torch", "_services"):
        monkeypatch.setattr(doctor, part, lambda settings: iter(()))
    found = {finding.topic: finding for finding in examine(Settings(data=tmp_path, backbone="a/b", segmenter="a/b"))}
    assert (found["weights"].state, found["weights"].words) == ("missing", "settings.env says nothing")
    assert "exports" in found


def test_a_damaged_manifest_is_said_once_and_is_the_next_run_s_to_mend(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for part in ("_weights", "_torch", "_services"):
        monkeypatch.setattr(doctor, part, lambda settings: iter(()))
    monkeypatch.setattr(doctor, "is_here", lambda name: True)
    settings.manifest.write_bytes(b"no table")
    found = [finding for finding in examine(settings) if "images.parquet" in finding.words]
    assert [(finding.topic, finding.state, finding.remedy) for finding in found] == [("images", "to do", RUN)]


def test_the_limit_of_a_control_group_counts(tmp_path: Path) -> None:
    assert memory_limit(tmp_path) is None
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text("1073741824\n")
    assert memory_limit(tmp_path) == 1.0
    (tmp_path / "memory.max").write_text("max\n")
    assert memory_limit(tmp_path) is None
    (tmp_path / "memory.max").write_text("536870912\n")
    assert memory_limit(tmp_path) == 0.5


def test_only_a_data_set_of_known_size_is_told_of_in_full() -> None:
    assert doctor._in_full(STATE_FARM).startswith(f"{STATE_FARM.name} in full: 22,424 frames, 26 drivers")
    kitchen = replace(STATE_FARM, name="Kitchen", frames=0, drivers=())
    assert doctor._in_full(kitchen) == "Kitchen: 10 classes"
