"""The demo's data set on disk: Kaggle's tree, drawn, with exact label maps beside it.

Belongs here: files, names, what is finished. What is drawn belongs to `demo.poses` and `demo.scenes`, the
models that work on it to `demo.models`.
"""

import csv
import io
import multiprocessing
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from distracted_pipeline.dataset import STATE_FARM
from distracted_pipeline.demo.drivers import demo_drivers, driver_look
from distracted_pipeline.demo.poses import scene_of
from distracted_pipeline.demo.scenes import paint
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.files import create_folder, locked, read_json, write_json, write_text
from distracted_pipeline.images.source import DEMO_STAMP
from distracted_pipeline.progress import Log, Progress, duration
from distracted_pipeline.settings import DATA_SETTINGS_FILE, RAW_CSV, has_data

DRIVERS, FRAMES = 18, 5
"""Of the usual demo: drivers count, as tests swap whole ones; frames of one are near-duplicates."""

LABEL_MAPS = "label_maps"
"""What was drawn, pixel by pixel: `demo.story` measures the masks against it, and nothing trains on it."""

BACKBONE_FOLDER = "backbones/tiny-efficientnet"
SEGMENTER_FOLDER = "segmenters/tiny-mask2former"
VARIANTS_FILE = "variants.yaml"
_SETTINGS = f"""\
# Models that belong to this drawn data set; the environment and .env go before it.
DISTRACTED_SEGMENTER={SEGMENTER_FOLDER}
DISTRACTED_BACKBONE={BACKBONE_FOLDER}
DISTRACTED_SYNTHETIC=1
DISTRACTED_VARIANTS={VARIANTS_FILE}
# Frames of one driver and class are alike, and a visitor has ten minutes: `distracted why` alters one of each.
DISTRACTED_WHY_FRAMES=1
"""
VARIANTS = """\
# A network of 60,000 weights takes larger steps than the shipped rates, which suit pretrained ones of millions;
# and a visitor has ten minutes, so everything trains for few epochs, and slows down towards its end. What trains its
# body, and parallel adapters, are left out: they would double the time and find nothing here.
top_only: &baseline {epochs: 8, batch_size: 64, scheduler: cosine, top_lr: 1.0, top_decay: 0.001, dropout: 0.3}
placebo:
  <<: *baseline
  label: Placebo
  description: The baseline once more, from another seed. Whatever differs between the two is chance.
  kind: top_only
  seed: 1
adapter_serial: {<<: *baseline, epochs: 4}
masks_only: {epochs: 6, replicates: 2}
masks_fused: {epochs: 6, replicates: 2}
embedding_only: {epochs: 6}
adapter_parallel: null
fine_tune: null
embedding_augmented: null
masks_fused_checkpoint: null
embedding_checkpoint: null
lora: null
batch_norm: null
"""

_VERSION = 4
_STRANGERS = 900
"""Unlabelled frames show drivers from this number on, as Kaggle's test drivers are none of the 26."""
_STRANGERS_FRAMES = 8
_JPEG_QUALITY = 80
_CHUNK = 16
_WORTH_PROCESSES = 200


@dataclass(frozen=True)
class DemoDataset:
    """What lies in a demo's data root.

    Attributes:
        drivers: Kaggle's ids, from every part of the original split.
        labelled: Frames with a class.
        unlabelled: Frames under `imgs/test`.
        seconds: What drawing took; 0 where everything was there.
        drawn: False where everything was there.
    """

    root: Path
    drivers: tuple[str, ...]
    labelled: int
    unlabelled: int
    seconds: float
    drawn: bool


@dataclass(frozen=True)
class _Frame:
    picture: Path
    label_map: Path
    driver: int
    classname: str
    frame: int


def generate(
    root: Path,
    *,
    drivers: int = DRIVERS,
    frames: int = FRAMES,
    test_frames: int = 40,
    seed: int = 0,
    log: Log = print,
    equip: Callable[[Path], None] = lambda root: None,
) -> DemoDataset:
    """Draw a data set in Kaggle's layout, unless it is there already.

    Writes `imgs/train/c*/img_N.jpg`, `imgs/test/img_N.jpg`, `driver_imgs_list.csv`, `label_maps/img_N.png` (mask
    ids 0..6, for labelled and unlabelled frames) and `settings.env`. The same arguments give the same bytes.
    A run that was killed is repeated; a finished one costs nothing.

    Args:
        root: Data root; created.
        drivers: Kaggle's drivers to draw, 3 to 26.
        frames: Frames of each driver in each of the ten classes.
        test_frames: Unlabelled frames, of drivers that are not among the labelled ones.
        seed: Another seed draws other people and other frames.
        log: Receives progress lines.
        equip: Puts the models that `settings.env` names into the data root.

    Raises:
        DistractedError: `root` holds other data, a demo drawn with other arguments, or a count is out of range; or a
            process that draws was killed.
    """
    if frames < 1 or test_frames < 0:
        raise DistractedError(
            f"frames={frames}, test_frames={test_frames}: the demo draws at least 1 frame a class "
            f"and no negative count. Type `distracted demo` for the usual {FRAMES} and 40."
        )
    names = demo_drivers(drivers)
    wanted = {"version": _VERSION, "drivers": drivers, "frames": frames, "test_frames": test_frames, "seed": seed}
    root = Path(root)
    with locked(root / f".{DEMO_STAMP}.lock", what=f"the demo data set in {root}"):
        drawn = not _is_complete(root, wanted)
        started = time.monotonic()
        if drawn:
            _clear(root)
            write_json(root / DEMO_STAMP, {**wanted, "complete": False})
            equip(root)
            write_text(root / DATA_SETTINGS_FILE, _SETTINGS)
            write_text(root / VARIANTS_FILE, VARIANTS)
            rows, plan = _plan(root, names, frames, test_frames, seed)
            _draw(plan, seed, log)
            write_text(root / RAW_CSV, _csv(rows))
            write_json(root / DEMO_STAMP, {**wanted, "complete": True})
        seconds = time.monotonic() - started if drawn else 0.0
    labelled = len(names) * len(STATE_FARM.class_ids) * frames
    done = f"drew it in {duration(seconds)}" if drawn else "already there"
    log(f"demo data set in {root}: {labelled:,} frames of {len(names)} drivers, {test_frames} unlabelled ({done})")
    return DemoDataset(root, names, labelled, test_frames, seconds, drawn)


def _is_complete(root: Path, wanted: dict[str, Any]) -> bool:
    """Tell whether exactly this data set is there; refuse to touch any other."""
    stamp = root / DEMO_STAMP
    if not stamp.is_file():
        if has_data(root):
            raise DistractedError(
                f"{root} holds images that the demo did not draw, and they stay as they are. "
                "Give the demo a folder of its own: `distracted demo --data data/demo`."
            )
        return False
    found = read_json(stamp)
    if found is None or not found.get("complete"):  # damaged, or killed while it drew: drawn again, the same
        return False
    if found != {**wanted, "complete": True}:
        other = ", ".join(f"{k}={found.get(k)}" for k, v in wanted.items() if found.get(k) != v)
        asked = ", ".join(f"{k}={v}" for k, v in wanted.items() if found.get(k) != v)
        raise DistractedError(
            f"{stamp} says this demo was drawn with {other}, not {asked}; results in this folder belong to it. "
            f"Remove {root}, or name another folder with `distracted demo --data`."
        )
    return True


def _clear(root: Path) -> None:
    """Remove what an unfinished run drew; only a root with the demo's stamp has any."""
    for folder in (root / "imgs", root / LABEL_MAPS):
        if folder.is_dir():
            shutil.rmtree(folder)


def _plan(
    root: Path, names: tuple[str, ...], frames: int, test_frames: int, seed: int
) -> tuple[list[tuple[str, str, str]], list[_Frame]]:
    """Return the csv's rows and everything to draw; names are shuffled, as Kaggle's tell nothing either."""
    total = len(names) * len(STATE_FARM.class_ids) * frames + test_frames
    numbers = iter(np.random.default_rng(seed).permutation(total) + 1)
    rows, plan = [], []

    def add(folder: str, driver: int, classname: str, frame: int) -> str:
        stem = f"img_{next(numbers)}"
        plan.append(
            _Frame(root / "imgs" / folder / f"{stem}.jpg", root / LABEL_MAPS / f"{stem}.png", driver, classname, frame)
        )
        return f"{stem}.jpg"

    for name in names:
        for classname in STATE_FARM.class_ids:
            for frame in range(frames):
                rows.append((name, classname, add(f"train/{classname}", int(name[1:]), classname, frame)))
    for k in range(test_frames):
        add("test", _STRANGERS + k // _STRANGERS_FRAMES, STATE_FARM.class_ids[k * 7 % len(STATE_FARM.class_ids)], k)
    return rows, plan


def _draw(plan: list[_Frame], seed: int, log: Log) -> None:
    for folder in {path.parent for frame in plan for path in (frame.picture, frame.label_map)}:
        create_folder(folder)
    chunks = [plan[k : k + _CHUNK] for k in range(0, len(plan), _CHUNK)]
    progress = Progress(len(plan), "frames", log)
    try:
        with _mapper(len(plan)) as run:
            for count in run(_draw_chunk, chunks, [seed] * len(chunks)):
                progress.advance(count)
    except BrokenProcessPool as error:
        raise DistractedError(
            f"a process that drew frames into {plan[0].label_map.parents[1]} was killed, as happens where memory runs "
            "out. Type the same command again: it draws them from the start."
        ) from error


@contextmanager
def _mapper(frames: int) -> Iterator[Callable[..., Any]]:
    """Yield a `map`: over processes where that pays, as a process costs a second to start."""
    workers = min(8, os.cpu_count() or 1)
    if frames < _WORTH_PROCESSES or workers == 1:
        yield map
        return
    # spawn: the caller may run threads (Dagster, torch) that a fork would freeze
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_start_worker)
    try:
        yield pool.map
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    """Leave Ctrl-C to the parent, and do not outlive it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_follow, args=(parent,), daemon=True).start()


def _follow(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)


def _draw_chunk(chunk: list[_Frame], seed: int) -> int:
    for item in chunk:
        picture, labels = paint(scene_of(driver_look(item.driver, seed), item.classname, item.frame, seed))
        Image.fromarray(picture).save(item.picture, quality=_JPEG_QUALITY)
        Image.fromarray(labels).save(item.label_map)
    return len(chunk)


def _csv(rows: list[tuple[str, str, str]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("subject", "classname", "img"))
    writer.writerows(rows)
    return text.getvalue()
