"""The executor is the environment's choice."""

import pytest

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.orchestration.executors import executor_from_environment


@pytest.mark.parametrize(
    ("name", "executor"), [("", "multiprocess"), ("multiprocess", "multiprocess"), ("in_process", "in_process")]
)
def test_the_name_picks_the_executor(name: str, executor: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTRACTED_EXECUTOR", name)
    assert executor_from_environment().name == executor


def test_an_unknown_name_is_refused_with_the_choices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTRACTED_EXECUTOR", "dask")
    with pytest.raises(DistractedError, match="DISTRACTED_EXECUTOR=dask.*in_process or multiprocess"):
        executor_from_environment()
