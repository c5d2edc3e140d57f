"""Kaggle's data arrives linked into the data root, or the three steps are said and nothing is left behind."""

import sys
from pathlib import Path

import pytest
import requests

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.images.fetch import COMPETITION, fetch
from distracted_pipeline.images.ingest import ingest
from distracted_pipeline.settings import Settings
from distracted_pipeline_tests.conftest import write_kaggle_tree

kagglehub = pytest.importorskip("kagglehub")


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """An empty data root, and an account of nobody."""
    for name in ("KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_API_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path / "kaggle"))
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "cache"))
    # It looks for its callers in every loaded module, with those of torch and transformers for a second each time.
    monkeypatch.setattr("kagglehub.clients.get_user_agent", lambda: "tests")
    return Settings(data=tmp_path / "data")


def expect_the_three_steps(settings: Settings, words: str) -> None:
    with pytest.raises(DistractedError, match=rf"(?s){words}.*1\. .*rules.*2\. .*token.*3\. .*distracted fetch.*zip"):
        fetch(settings)
    assert not (settings.data / "imgs").exists()


def test_a_download_is_linked_and_read_in(fresh: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = write_kaggle_tree(tmp_path / "cache" / "competition", frames=1)
    (copy / "sample_submission.csv").write_text("img,c0\n")
    asked = []
    monkeypatch.setattr(kagglehub, "competition_download", lambda handle: asked.append(handle) or str(copy))
    assert fetch(fresh)
    assert asked == [COMPETITION]
    assert (fresh.data / "sample_submission.csv").is_file()
    assert ingest(fresh).table.num_rows == 83


def test_data_that_is_there_is_left_alone(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kagglehub, "competition_download", lambda handle: pytest.fail("must not download"))
    assert not fetch(settings)


def test_without_credentials_the_steps_are_said(fresh: Settings) -> None:
    expect_the_three_steps(fresh, "no credentials were found")


def test_a_damaged_credentials_file_is_named(fresh: Settings, tmp_path: Path) -> None:
    (tmp_path / "kaggle").mkdir()
    (tmp_path / "kaggle" / "kaggle.json").write_text("{")
    expect_the_three_steps(fresh, "kaggle.json")


def test_rules_that_are_not_accepted_are_the_reason(fresh: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    from kagglehub.exceptions import KaggleApiHTTPError

    def refuse(handle: str) -> str:
        response = requests.Response()
        response.status_code = 403
        raise KaggleApiHTTPError("403 Client Error", response=response)

    monkeypatch.setattr(kagglehub, "competition_download", refuse)
    expect_the_three_steps(fresh, "403.*rules are not accepted")


def test_a_network_that_is_down_is_the_reason(fresh: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAGGLE_USERNAME", "nobody")
    monkeypatch.setenv("KAGGLE_KEY", "none")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")  # nothing listens there
    expect_the_three_steps(fresh, "could not be reached")


def test_without_kagglehub_the_extra_is_named(fresh: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    expect_the_three_steps(fresh, r"pip install .*\[fetch\]")
