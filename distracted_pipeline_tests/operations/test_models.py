"""Before any work: which models are missing, all at once, and the hub asked no more than it takes."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import huggingface_hub
import pytest

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.operations import models
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


def half_cached(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have `nobody/model` in the cache without its weights, as a download that was broken off leaves it."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda name, file: str(folder / file))


@pytest.mark.parametrize("role", ["segmenter", "backbone"])
def test_half_a_model_in_the_cache_is_named_before_any_work(
    role: str, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    half_cached(tmp_path / "snapshot", monkeypatch)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(huggingface_hub, "model_info", offline)
    settings = replace(settings, **{role: "nobody/model"})
    with pytest.raises(DistractedError, match=rf"nobody/model  \(setting DISTRACTED_{role.upper()}\): only part of it"):
        require_models(settings, _variants(one=None))
    (tmp_path / "snapshot" / "model.safetensors").write_bytes(b"weights")
    require_models(settings, _variants(one=None))
    (tmp_path / "snapshot" / "model.safetensors").rename(tmp_path / "snapshot" / "model-00001-of-00002.safetensors")
    (tmp_path / "snapshot" / "model.safetensors.index.json").write_text(
        '{"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}'
    )
    with pytest.raises(DistractedError, match="only part of it is here"):
        require_models(settings, _variants(one=None))


def offline(name: str, **options: object) -> None:
    raise huggingface_hub.errors.OfflineModeIsEnabled("HF_HUB_OFFLINE=1")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A socket on this machine that is asked instead of the hub; connections wait in it."""
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(huggingface_hub.hf_api.api, "endpoint", f"http://127.0.0.1:{server.getsockname()[1]}")
        yield server


def test_a_hub_or_proxy_that_takes_the_question_and_never_answers_costs_a_bounded_wait(
    settings: Settings, hub: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "TIMEOUT_S", 0.3)
    started = time.monotonic()
    with pytest.raises(DistractedError, match=r"2 models .*\n.*does not answer \(ReadTimeout\)"):
        require_models(replace(settings, segmenter="nobody/a", backbone="nobody/b"), _variants(one=None))
    assert time.monotonic() - started < 8 * 0.3  # asked once, for both


def test_a_refused_token_is_said(settings: Settings, hub: socket.socket) -> None:
    def refuse() -> None:
        connection, _ = hub.accept()
        with connection:
            connection.recv(65_536)
            connection.sendall(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    answering = threading.Thread(target=refuse)
    answering.start()
    with pytest.raises(DistractedError, match=r"nobody/a .*the hub refuses it \(.*401\).*HF_TOKEN"):
        require_models(replace(settings, segmenter="nobody/a"), {})
    answering.join()


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
