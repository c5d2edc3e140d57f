"""Before any work: which models are missing, all at once, and the hub asked no more than it takes."""

import os
from dataclasses import replace
from pathlib import Path

import huggingface_hub
import pytest

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.operations.doctor import _disk
from distracted_pipeline.operations.hints import hint
from distracted_pipeline.operations.models import require_models
from distracted_pipeline.settings import Settings
from distracted_pipeline.variants.config import VariantConfig


def _variants(**model_names: str | None) -> dict[str, VariantConfig]:
    return {
        name: VariantConfig(name=name, kind="linear_probe", model_name=model_name)
        for name, model_name in model_names.items()
    }


def test_a_hub_that_does_not_answer_is_asked_once_and_every_missing_model_named(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def no_network(name: str, **options: object) -> None:
        asked.append(name)
        raise ConnectionError("no network")

    monkeypatch.setattr(huggingface_hub, "model_info", no_network)
    settings = replace(settings, segmenter="nobody/segmenter", backbone="nobody/backbone")
    with pytest.raises(DistractedError) as caught:
        require_models(settings, _variants(one=None, two=None, three="nobody/other"))
    assert asked == ["nobody/segmenter"]
    said = str(caught.value)
    assert said.startswith("3 models are neither on this machine nor to be had")
    for words in ("DISTRACTED_SEGMENTER", "DISTRACTED_BACKBONE", "model_name of variant three", "distracted doctor"):
        assert words in said


def test_only_what_the_hub_refuses_is_named(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "model_info", lambda name, **options: None)
    settings = replace(settings, segmenter="folder:maps", backbone="nobody/backbone")
    require_models(settings, _variants(one=None))


def test_a_folder_that_is_not_there_is_no_question_for_the_hub(settings: Settings) -> None:
    settings = replace(settings, segmenter="/no/such/folder", backbone=str(settings.data))
    with pytest.raises(DistractedError, match=r"1 model is .*\n  /no/such/folder .*no such folder"):
        require_models(settings, _variants(one=None))


def test_doctor_says_that_the_data_root_is_read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # as on a read-only disk, for root as well
    disk = next(finding for finding in _disk(Settings(data=tmp_path)) if finding.topic == "disk")
    assert (disk.state, disk.words) == ("missing", f"{tmp_path} is read-only: nothing can be made there")
    assert "DISTRACTED_DATA" in disk.remedy


@pytest.mark.parametrize(
    ("message", "answer"),
    [
        ("Failure condition: Partition ranges with the CLI require all selected assets", "distracted run"),
        ("All selected assets must share the same PartitionsDefinition or have no", "distracted run"),
        ("Asset has partitions, but no '--partition' option was provided", "--partition"),
    ],
)
def test_what_a_bare_command_cannot_do_is_answered_with_what_to_type(message: str, answer: str) -> None:
    assert answer in (hint(message) or "")
