"""How fast images are made ready for a network that takes no time, with one worker and with two.

    python -m distracted_pipeline_tests.benchmarks.bench_feeder

The pipeline's own feeders, over 640x480 JPEGs on disk: `features` reads, hashes, decodes and resizes into batches;
`masks` reads, hashes, decodes, resizes and normalises as Mask2Former wants it. The model is instant. Workers are
threads, as on a machine of few cores; and processes, as beside a GPU, where `masks` resizes nothing, for the GPU does.

Two cores may be two threads of one, or share their caches: how many images two processes that only decode, and share
nothing, make ready beside one of them is this machine's ceiling. The bar is a share of it.

Other work on the machine must not decide the outcome, so the time in which a worker was ready to run and had no core
is taken off (Linux counts it for every thread); what is left of the time is work, and waiting for the other worker. The
rate by the clock is printed beside. The two take turns, and figures are medians over the rounds.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")

import multiprocessing
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import click
import numpy as np
import torch
from PIL import Image
from transformers.models.mask2former.image_processing_pil_mask2former import Mask2FormerImageProcessorPil

from distracted_pipeline.demo.models import build_tiny_efficientnet
from distracted_pipeline.features.frozen_pass import PIXELS, FrozenPass
from distracted_pipeline.features.taps import TapStore, _rows
from distracted_pipeline.images import feeder
from distracted_pipeline.images.decode import ImageReader, decode_image
from distracted_pipeline.images.decoders import Decoders
from distracted_pipeline.images.ingest import ingest
from distracted_pipeline.images.manifest import read_manifest
from distracted_pipeline.masks import batching
from distracted_pipeline.masks.preprocess import Preprocessor
from distracted_pipeline.masks.stage_timer import StageClock
from distracted_pipeline.memory import Pieces
from distracted_pipeline.options import RunOptions
from distracted_pipeline.settings import Settings
from distracted_pipeline.variants.backbones import load_preprocessing
from distracted_pipeline_tests.benchmarks.bench_masks import jpeg
from distracted_pipeline_tests.conftest import write_kaggle_tree

BAR = 0.9
"""Share of the ceiling: 1.8x where two processes make twice as many images ready as one."""
BATCH = 32
SIDE = 300
QUIET = RunOptions("cpu", batch_size=BATCH, log=lambda line: None)


class Instant:
    """A segmenter whose model takes no time and finds nothing."""

    name = fingerprint = "instant"

    def __init__(self, on_device: bool) -> None:
        self.on_device = on_device
        self.preprocess = Preprocessor(Mask2FormerImageProcessorPil(size={"height": 384, "width": 384}))
        self.nothing = np.zeros((480, 640), np.uint8)

    def segment(self, images: Any, names: Any) -> list[np.ndarray]:
        return [self.nothing for _ in images]

    def prepare(self, image: np.ndarray, name: str) -> torch.Tensor:
        return torch.from_numpy(image) if self.on_device else self.preprocess(image)

    def prepare_picture(self, picture: Image.Image, name: str) -> torch.Tensor:
        return torch.from_numpy(np.array(picture)) if self.on_device else self.preprocess(picture)

    def forward(self, prepared: Any) -> list[None]:
        return [None] * len(prepared)

    def finish(self, raw: None, size: tuple[int, int]) -> np.ndarray:
        return self.nothing

    def batch_size(self, prepared: Any) -> int:
        return BATCH


def features(settings: Settings, workers: int, decoders: Decoders | None) -> Iterator[int]:
    """Yield how many images came, batch by batch."""
    store = TapStore(settings)
    rows = _rows(read_manifest(settings), "p002")
    cpu, pieces = torch.device("cpu"), Pieces(BATCH, QUIET.log)
    with ExitStack() as stack:
        stack.enter_context(patch.object(feeder, "cores", lambda: workers))
        preprocessing = load_preprocessing(settings)
        passing = FrozenPass(settings.data, preprocessing, lambda: store._trunk, cpu, "fp32", pieces, decoders)
        for each in stack.enter_context(closing(passing.over(rows, (PIXELS,)))):
            yield len(each.values[PIXELS])


def masks(settings: Settings, workers: int, decoders: Decoders | None) -> Iterator[int]:
    """Yield 1 for every image."""
    rows = _rows(read_manifest(settings), "p002").to_pylist()
    wanted = [batching.Wanted(row["img"], row["path"], row["sha256"]) for row in rows]
    instant, pieces = Instant(on_device=decoders is not None), batching.batches_of(QUIET)
    with patch.object(batching, "cores", lambda: 2 * workers), ImageReader(settings.data) as reader:
        for _ in batching.segment_images(wanted, reader, instant, 6, pieces, StageClock(), decoders):
            yield 1


FEEDS: tuple[tuple[str, Callable[..., Iterator[int]], tuple[str, ...], tuple[int, int] | None], ...] = (
    ("features, threads", features, ("feed",), None),
    ("masks, threads", masks, ("decode",), None),
    ("features, processes", features, ("feed",), (SIDE, SIDE)),
    ("masks, processes", masks, ("decode",), None),
)


def schedule(task: int | str) -> tuple[float, float]:
    """Return the seconds that a task ran and waited for a core."""
    busy, queued, _ = Path(f"/proc/{task}/schedstat").read_text().split()
    return int(busy) / 1e9, int(queued) / 1e9


class Queued(threading.Thread):
    """Adds up how long the feeder's threads, or its processes, were ready to run and had no core."""

    def __init__(self, names: tuple[str, ...], processes: Sequence[int]) -> None:
        super().__init__(daemon=True)
        self.names = names
        self.processes = {process: schedule(process)[1] for process in processes}
        self.seen: dict[int, tuple[float, float]] = {}
        self.done = threading.Event()

    def run(self) -> None:
        while not self.done.wait(0.02):
            self.look()

    def look(self) -> None:
        for process, before in self.processes.items():
            busy, queued = schedule(process)
            self.seen[process] = busy, queued - before
        for thread in () if self.processes else threading.enumerate():
            if thread.name.startswith(self.names) and Path(f"/proc/self/task/{thread.native_id}").exists():
                self.seen[thread.native_id or 0] = schedule(f"self/task/{thread.native_id}")

    def stop(self, workers: int) -> float:
        """Return the seconds that a worker waited for a core, on average."""
        self.done.set()
        self.join()
        return sum(queued for _, queued in self.seen.values()) / workers


def rate(
    feed: Callable[[], Iterator[int]], names: tuple[str, ...], workers: int, decoders: Decoders | None
) -> tuple[float, float]:
    """Return images per second on cores of their own, and by the clock."""
    watch = Queued(names, [process.pid for process in decoders._all] if decoders else [])
    watch.start()
    started, images = time.perf_counter(), 0
    for count in feed():
        images += count
        watch.look()
    seconds = time.perf_counter() - started
    waited = watch.stop(workers)
    return images / max(seconds - waited, 1e-9), images / seconds


def decode_on_demand(pipe: Connection, frames: Sequence[bytes]) -> None:
    """Decode all frames whenever that is asked for, and answer how many a second, on a core of its own."""
    while pipe.recv():
        started, before = time.perf_counter(), schedule("self")[1]
        for frame in frames:
            decode_image(frame, "frame")
        pipe.send(len(frames) / (time.perf_counter() - started - (schedule("self")[1] - before)))


def ceiling(frames: Sequence[bytes], rounds: int) -> list[float]:
    """Return, sorted, how many times the images of one process two of them decode at the same time."""
    context, pipes, processes = multiprocessing.get_context("fork"), [], []
    for _ in range(2):
        here, there = context.Pipe()
        processes.append(context.Process(target=decode_on_demand, args=(there, frames), daemon=True))
        processes[-1].start()
        pipes.append(here)

    def decoded(asked: Sequence[Connection]) -> float:
        for pipe in asked:
            pipe.send(True)
        return sum(pipe.recv() for pipe in asked)

    decoded(pipes)  # warm
    ratios = sorted(decoded(pipes) / decoded(pipes[:1]) for _ in range(rounds))
    for pipe, process in zip(pipes, processes, strict=True):
        pipe.send(False)
        process.join()
    return ratios


@click.command()
@click.option("--images", default=160, show_default=True, help="Frames of a round.")
@click.option("--rounds", default=9, show_default=True, help="Rounds of each side.")
def main(images: int, rounds: int) -> None:
    """Print images per second with one worker and with two, the machine's ceiling, and the bar."""
    torch.set_num_threads(1)
    below = []
    most = ceiling([jpeg(seed) for seed in range(images)], rounds)
    bar = BAR * statistics.median(most)
    with TemporaryDirectory() as folder:
        root = write_kaggle_tree(Path(folder) / "data", drivers=("p002",), frames=-(-images // 10), test_frames=0)
        for seed, path in enumerate(sorted((root / "imgs" / "train").rglob("*.jpg"))):
            path.write_bytes(jpeg(seed))
        backbone = build_tiny_efficientnet(Path(folder) / "backbone", image_size=SIDE)
        settings = Settings(data=root, backbone=str(backbone))
        ingest(settings, log=QUIET.log)
        click.echo(f"images/s ready for an instant network, {images} frames 640x480, medians of {rounds} rounds")
        click.echo(f"{'':20}{'1 worker':>12}{'2 workers':>12}{'ratio':>9}   lowest, highest   (by the clock)")
        for name, feed, threads, resize in FEEDS:
            found: dict[int, list[tuple[float, float]]] = {1: [], 2: []}
            kept: dict[int, Decoders | None] = dict.fromkeys(found)
            if name.endswith("processes"):
                kept = {workers: Decoders(settings.data, resize, workers, 8 * BATCH, click.echo) for workers in found}
                for workers, decoders in kept.items():  # they start
                    rate(partial(feed, settings, workers, decoders), threads, workers, decoders)
            for _ in range(rounds):
                for workers, rates in found.items():
                    decoders = kept[workers]
                    rates.append(rate(partial(feed, settings, workers, decoders), threads, workers, decoders))
            for decoders in filter(None, kept.values()):
                decoders.close()
            (one, one_clock), (two, two_clock) = (np.median(rates, axis=0) for rates in found.values())
            ratios = sorted(more / less for (less, _), (more, _) in zip(*found.values(), strict=True))
            ratio = statistics.median(ratios)
            click.echo(
                f"{name:20}{one:12,.0f}{two:12,.0f}{ratio:8.2f}x   {ratios[0]:.2f} to {ratios[-1]:.2f}   "
                f"({one_clock:,.0f} and {two_clock:,.0f}: {two_clock / one_clock:.2f}x)"
            )
            if ratio < bar:
                below.append(name)
        click.echo(
            f"two processes that only decode, against one: {statistics.median(most):.2f}x "
            f"({most[0]:.2f} to {most[-1]:.2f}); bar: {BAR} of that, {bar:.2f}x"
        )
    if below:
        raise SystemExit(f"below the bar: {', '.join(below)}")


if __name__ == "__main__":
    main()
