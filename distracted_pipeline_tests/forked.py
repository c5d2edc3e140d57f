"""`distracted run` in a process of its own that is forked from one with everything imported: no memory but the disk."""

import multiprocessing
import os
from collections.abc import Callable, Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any


def start(target: Callable[..., None], *args: object) -> BaseProcess:
    """Call `target` in a forked process."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["distracted_pipeline_tests.preloaded"])
    process = context.Process(target=target, args=args)
    process.start()
    return process


def run_typed(environment: Mapping[str, str]) -> tuple[int, str]:
    """Return the exit code of `distracted run`, and what it printed."""
    code, said = _answer_of(_run_typed, environment) or (-1, "it died")
    return code, said


def run_once(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the failed steps of a run, with the reasons."""
    failed: dict[str, str] | None = _answer_of(_run_once, environment)
    return {"run": "it died"} if failed is None else failed


def run_twice(environment: Mapping[str, str]) -> tuple[list[str], dict[str, str], list[str]]:
    """Return what a run said, its failed steps with the reasons, and what one more run after it said."""
    return _answer_of(_run_twice, environment) or ([], {"run": "it died"}, [])


def _answer_of(target: Callable[..., None], environment: Mapping[str, str]) -> Any:
    """Return what `target` answers in a forked process; None where it died."""
    answer = multiprocessing.get_context("forkserver").SimpleQueue()
    process = start(target, dict(environment), answer)
    while process.is_alive() and answer.empty():
        process.join(0.05)
    found = None if answer.empty() else answer.get()
    process.join()
    return found


def _prepare(environment: Mapping[str, str]) -> None:
    """Leave out what is half the time: `test_chain.py` keeps a history, `serving/test_champion.py` exports models."""
    os.environ.update(environment)
    os.chdir(Path(environment["DISTRACTED_DATA"]).parent)
    import dagster as dg

    from distracted_pipeline.operations import run
    from distracted_pipeline.serving import export

    run.open_instance = lambda **_: dg.DagsterInstance.ephemeral()  # type: ignore[assignment]
    export.save_classifier = _save_nothing


def _run_typed(environment: Mapping[str, str], answer: Any) -> None:
    _prepare(environment)
    from click.testing import CliRunner

    from distracted_pipeline.cli import main

    result = CliRunner().invoke(main, ["run"])
    answer.put((result.exit_code, result.output))


def _run_once(environment: Mapping[str, str], answer: Any) -> None:
    _prepare(environment)
    from distracted_pipeline.operations import run
    from distracted_pipeline.settings import load_settings

    answer.put(run.run_missing(load_settings(), log=lambda _: None).failed)


def _run_twice(environment: Mapping[str, str], answer: Any) -> None:
    _prepare(environment)
    from distracted_pipeline.operations import run
    from distracted_pipeline.settings import load_settings

    said: list[str] = []
    summary = run.run_missing(load_settings(), log=said.append)
    again: list[str] = []
    run.run_missing(load_settings(), log=again.append)
    answer.put((said, summary.failed, again))


def _save_nothing(module: Any, folder: Path, metadata: dict[str, Any]) -> None:
    folder.mkdir()
    (folder / "MLmodel").touch()
