"""Fixtures that cost seconds are made once in a run, not once in each of its processes and rooms.

Belongs here: the folder that all processes of a run share. Does not belong here: what lies in it.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return the folder that `make` made in the first process that asked for `name`; the others wait.

    Nobody may change it.

    Args:
        factory: Where folders of this run lie.
        name: Of the folder.
        make: Makes the folder that it is given.
    """
    base = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # pytest-xdist gives each process a folder below the run's
    folder, done = base / "once" / name, base / "once" / f"{name}.done"
    folder.parent.mkdir(exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of a process that failed on the way
            make(folder)
            done.touch()
    return folder


def copy_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return a folder of the caller's own: made by it where it is the first of a run, else a copy."""
    own = factory.mktemp(name) / "data"

    def publish(folder: Path) -> None:
        make(own)
        shutil.copytree(own, folder)

    made = made_once(factory, name, publish)
    return own if own.exists() else shutil.copytree(made, own)
