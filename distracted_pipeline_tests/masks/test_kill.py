"""Real processes, killed at random moments: no shard is ever partial and finished ones are never repeated."""

import multiprocessing
import os
import random
import time
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distracted_pipeline.images.ingest import ingest
from distracted_pipeline.masks import fill as engine
from distracted_pipeline.masks.cache import MaskCache, cache_of
from distracted_pipeline.options import RunOptions
from distracted_pipeline.settings import Settings
from distracted_pipeline_tests.conftest import write_kaggle_tree

KILLS = 20
FINGERPRINT = "0123456789ab"


class Slow:
    """Bright pixels are a cup, after a while."""

    name, fingerprint = "slow", FINGERPRINT

    def segment(self, images: Sequence[np.ndarray], names: Sequence[str]) -> list[np.ndarray]:
        time.sleep(0.004 * len(images))
        return [((image.max(2) > 200) * 4).astype(np.uint8) for image in images]


def fill(root: str) -> None:
    engine.SHARD_IMAGES = 5
    engine.fill_missing(
        Settings(data=Path(root)), options=RunOptions(batch_size=2, log=lambda line: None), segmenter=Slow()
    )


def start(root: Path) -> BaseProcess:
    # Forked from a server that has imported all of it, so that the kill falls into the work.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    process = context.Process(target=fill, args=(str(root),))
    process.start()
    return process


def finish(process: BaseProcess) -> None:
    process.join()
    assert process.exitcode == 0


def content(cache: MaskCache) -> list[dict[str, Any]]:
    rows = [row for path in cache.root.glob("subject=*/*.parquet") for row in cache.read_shard(path).to_pylist()]
    return sorted(rows, key=lambda row: row["img"])


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="needs fork")
def test_two_processes_at_once_leave_what_one_leaves(tmp_path: Path) -> None:
    roots = [write_kaggle_tree(tmp_path / name, drivers=("p002", "p014"), frames=2) for name in ("a", "b")]
    for root in roots:
        ingest(Settings(data=root), log=lambda line: None)
    for process in [start(roots[0]), *[start(roots[1]) for _ in range(3)]]:
        finish(process)
    one, several = (cache_of(Settings(data=root), FINGERPRINT) for root in roots)
    assert content(several) == content(one)
    assert several.subjects_done() == ["p002", "p014", "test-000"]


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="needs fork")
def test_killed_at_random_moments_the_cache_ends_as_if_it_never_was(tmp_path: Path) -> None:
    roots = [write_kaggle_tree(tmp_path / name, drivers=("p002", "p014", "p026"), frames=3) for name in ("a", "b")]
    for root in roots:
        ingest(Settings(data=root), log=lambda line: None)
    whole, broken = (cache_of(Settings(data=root), FINGERPRINT) for root in roots)
    finish(start(roots[0]))
    moments = random.Random(0)
    kills = 0
    written: dict[Path, int] = {}
    while kills < KILLS:
        process = start(roots[1])
        time.sleep(moments.uniform(0.0, 0.2))
        killed = process.is_alive()
        process.kill()
        process.join()
        kills += killed
        for path in broken.root.glob("subject=*/part-*.parquet"):
            status = path.stat()
            assert written.setdefault(path, status.st_mtime_ns) == status.st_mtime_ns  # never written a second time
        seen = content(broken)  # every shard that is there reads in full
        assert len({row["img"] for row in seen}) == len(seen)
        if not killed:  # finished before the blow: begin anew, with the kills counted so far
            for path in broken.root.glob("subject=*/*"):
                path.unlink()
            written.clear()
    finish(start(roots[1]))
    assert content(broken) == content(whole)
    assert list(broken.root.rglob("*.part")) == []
