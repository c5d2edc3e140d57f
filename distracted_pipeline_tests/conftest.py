"""Fixtures shared by every room: a tiny Kaggle tree, drawn, never photographed."""

import atexit
import csv
import gc
import io
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

# Before torch or Dagster load: tests use little, talk to nobody, and never see the developer's own data.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["DAGSTER_DISABLE_TELEMETRY"] = "1"
for _name in [
    name for name in os.environ if name.startswith("DISTRACTED_") and not name.startswith("DISTRACTED_TEST_")
]:
    del os.environ[_name]

# Partitions are read when the definitions load: from an empty folder, not from data/ or data/demo of this checkout.
_NO_DATA = tempfile.TemporaryDirectory(prefix="distracted-no-data-")
os.environ["DISTRACTED_DATA"] = _NO_DATA.name

import numpy as np
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from PIL import Image

from distracted_pipeline import standing
from distracted_pipeline.dataset import STATE_FARM
from distracted_pipeline.settings import Settings
from distracted_pipeline.training import tracking
from distracted_pipeline_tests.once import made_once

LONGEST = (
    "test_chain.py",
    "test_resume.py",
    "test_toy_chain.py",
    "test_train.py",
    "test_servers.py",
    "test_champion.py",
    "test_looks.py",
    "test_build.py",
    "test_pages.py",
    "test_instance.py",
    "test_current.py",
    "test_tables.py",
    "test_tracking.py",
    "test_networks.py",
    "test_team.py",
    "test_predict.py",
    "test_families.py",
)
"""Files of tests that take longest: they begin first, so that no process is left with one of them at the end.

Of `test_champion.py` and `test_looks.py` others use what they make: done early, nobody waits for it.

`test_resume.py` has a further reason: its fork server is preloaded only if no test before it has started one.
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first; `make test` hands out whole files in this order."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


def pytest_sessionfinish() -> None:
    """Spare pytest its five last looks for garbage through all that torch, transformers and Dagster have loaded."""
    gc.freeze()
    atexit.register(gc.unfreeze)  # some libraries complain of what is left when the process ends


DRIVERS = ("p002", "p012", "p014", "p015", "p026", "p041", "p047", "p081")
"""Eight of Kaggle's drivers: four of the original split's train part, two of dev, two of test."""


def draw_frame(driver: int, klass: int, frame: int, size: tuple[int, int] = (64, 48)) -> Image.Image:
    """Return a frame whose colours tell the driver and whose bright square tells the class."""
    width, height = size
    rng = np.random.default_rng([driver, klass, frame])
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[:] = rng.integers(0, 12, (height, width, 1), dtype=np.uint8)
    pixels[:, :, driver % 3] += np.uint8(40 + 12 * (driver % 8))
    x, y = width * (klass % 5) // 5, height * (klass // 5) // 2
    pixels[y : y + height // 3, x : x + width // 6] = 240
    return Image.fromarray(pixels)


@cache
def _jpeg(driver: int, klass: int, frame: int, size: tuple[int, int]) -> bytes:
    """Return a drawn frame as a file; hundreds of tests begin with the same 163."""
    file = io.BytesIO()
    draw_frame(driver, klass, frame, size).save(file, "JPEG", quality=92)
    return file.getvalue()


def write_kaggle_tree(
    root: Path,
    drivers: Sequence[str] = DRIVERS,
    frames: int = 2,
    test_frames: int = 3,
    size: tuple[int, int] = (64, 48),
) -> Path:
    """Write `imgs/train/c*/`, `imgs/test/` and `driver_imgs_list.csv` under `root`; return `root`."""
    number = 0
    rows = []
    for d, driver in enumerate(drivers):
        for k, classname in enumerate(STATE_FARM.class_ids):
            for f in range(frames):
                number += 1
                img = f"img_{number}.jpg"
                path = root / "imgs" / "train" / classname / img
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(_jpeg(d, k, f, size))
                rows.append((driver, classname, img))
    for f in range(test_frames):
        path = root / "imgs" / "test" / f"img_{900_000 + f}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_jpeg(99, f % 10, f, size))
    with (root / "driver_imgs_list.csv").open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(("subject", "classname", "img"))
        writer.writerows(rows)
    return root


@pytest.fixture(scope="session", autouse=True)
def _fresh_stores_are_copies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Give every data root a moved copy of one fresh MLflow store: its migrations take five seconds each time."""
    follow_move = tracking.follow_move
    made: list[Path] = []

    def make(folder: Path) -> None:
        made.append(folder)
        folder.mkdir()
        tracking.open_client(Settings(data=folder))

    def copied(settings: Settings) -> bool:
        path = settings.mlflow_database
        if not settings.mlflow and not path.exists() and settings.data not in made:
            shutil.copyfile(Settings(data=made_once(tmp_path_factory, "store", make)).mlflow_database, path)
        return follow_move(settings)

    tracking.follow_move = copied
    yield
    tracking.follow_move = follow_move


@pytest.fixture(scope="session", autouse=True)
def _migrations_are_read_once() -> Iterator[None]:
    """Keep what Dagster's databases are migrated by: each new one reads sixty modules, and so does each run's."""
    kept: dict[str | None, ScriptDirectory] = {}
    read = ScriptDirectory.from_config

    def once(config: Config) -> ScriptDirectory:
        place = config.get_main_option("script_location")
        if place not in kept:
            kept[place] = read(config)
        return kept[place]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ScriptDirectory, "from_config", once)
        yield


@pytest.fixture(scope="session", autouse=True)
def _nothing_waits_for_the_disk() -> Iterator[None]:
    """Write files without waiting until they would survive a power cut: thousands of times some milliseconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield


@pytest.fixture(autouse=True)
def _data_roots_of_other_tests_may_go() -> Iterator[None]:
    """Forget the data roots that a test has used: a process remembers them, lest a moved one grows a shadow.

    The one that a command leaves in the environment, for what it starts, too.
    """
    before = os.environ.get("DISTRACTED_DATA")
    yield
    standing.forget()
    os.environ.pop("DISTRACTED_DATA", None)
    if before is not None:
        os.environ["DISTRACTED_DATA"] = before


@pytest.fixture
def kaggle_tree(tmp_path: Path) -> Path:
    """A fresh raw data root of 160 labelled and 3 unlabelled frames, free to be damaged."""
    return write_kaggle_tree(tmp_path / "data")


@pytest.fixture
def settings(kaggle_tree: Path) -> Settings:
    """Settings over a fresh raw data root; nothing ingested yet."""
    return Settings(data=kaggle_tree)
