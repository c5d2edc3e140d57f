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


def run_twice(environment: Mapping[str, str]) -> tuple[list[str], dict[str, str], list[str]]:
    """Return what a run said, its failed steps with the reasons, and what one more run after it said."""
    answer = multiprocessing.get_context("forkserver").SimpleQueue()
    process = start(_run_twice, dict(environment), answer)
    while process.is_alive() and answer.empty():
        process.join(0.05)
    found = ([], {"run": "it died"}, []) if answer.empty() else answer.get()
    process.join()
    return found


def _run_twice(environment: Mapping[str, str], answer: Any) -> None:
    os.environ.update(environment)
    os.chdir(Path(environment["DISTRACTED_DATA"]).parent)
    import dagster as dg

    from distracted_pipeline.operations import run
    from distracted_pipeline.serving import export
    from distracted_pipeline.settings import load_settings

    # Half the time, and no fault's matter: `test_chain.py` keeps a history, `serving/test_champion.py` exports models.
    run.open_instance = lambda **_: dg.DagsterInstance.ephemeral()  # type: ignore[assignment]
    export.save_classifier = _save_nothing
    said: list[str] = []
    summary = run.run_missing(load_settings(), log=said.append)
    again: list[str] = []
    run.run_missing(load_settings(), log=again.append)
    answer.put((said, summary.failed, again))


def _save_nothing(module: Any, folder: Path, metadata: dict[str, Any]) -> None:
    folder.mkdir()
    (folder / "MLmodel").touch()
