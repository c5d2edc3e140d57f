"""Decoding processes: the same pixels as a thread's, memory that is used again, and an end with whoever asked."""

import gc
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from distracted_pipeline.images import decoders as room
from distracted_pipeline.images.decode import ImageReader, decode_rgb
from distracted_pipeline.images.decoders import Decoders, close_decoders, decoders_for
from distracted_pipeline.images.resize import resized
from distracted_pipeline.masks.batching import Failure, Wanted, batches_of, segment_images
from distracted_pipeline.masks.shards import Mask
from distracted_pipeline.masks.stage_timer import StageClock
from distracted_pipeline.options import RunOptions
from distracted_pipeline_tests.conftest import draw_frame

SLOTS = 4


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with three frames, one that is cut short, and one larger than State Farm's."""
    folder = tmp_path_factory.mktemp("frames")
    for i in range(3):
        Image.fromarray(np.array(draw_frame(i, i, 0, (96, 64)))).save(folder / f"{i}.jpg")
    (folder / "cut.jpg").write_bytes((folder / "0.jpg").read_bytes()[:600])
    Image.new("RGB", (1000, 700)).save(folder / "large.jpg")
    return folder


@pytest.fixture(scope="module")
def two(frames: Path) -> Iterator[Decoders]:
    two = Decoders(frames, None, 2, SLOTS, pytest.fail)
    yield two
    two.close()


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def pixels(decoders: Decoders, frames: Path, name: str) -> np.ndarray | None:
    decoded = decoders.image(name, digest(frames / name))
    return decoded and decoded.pixels


def test_pixels_are_those_that_a_thread_decodes(two: Decoders, frames: Path) -> None:
    for name in ("0.jpg", "1.jpg", "2.jpg"):
        decoded = two.image(name, digest(frames / name))
        assert decoded
        np.testing.assert_array_equal(decoded.pixels, decode_rgb((frames / name).read_bytes(), name))
        assert decoded.seconds > 0


def test_images_are_resized_where_that_is_asked_for(frames: Path) -> None:
    one = Decoders(frames, (1000, 400), 1, 1, pytest.fail)
    expected = resized(decode_rgb((frames / "large.jpg").read_bytes(), ""), (1000, 400))
    ours = pixels(one, frames, "large.jpg")
    assert ours is not None
    np.testing.assert_array_equal(ours, expected)
    one.close()
    np.testing.assert_array_equal(ours, expected)  # the memory lives as long as the array


def test_what_a_process_cannot_do_is_left_to_the_thread(two: Decoders, frames: Path) -> None:
    assert pixels(two, frames, "cut.jpg") is None
    assert pixels(two, frames, "large.jpg") is None
    assert two.image("0.jpg", digest(frames / "1.jpg")) is None  # other bytes than the manifest's
    assert two.image("nowhere.jpg", "") is None
    assert pixels(two, frames, "0.jpg") is not None


def test_memory_is_used_again_once_nobody_refers_to_it(two: Decoders, frames: Path) -> None:
    gc.collect()
    held = [pixels(two, frames, "0.jpg") for _ in range(SLOTS)]
    assert all(array is not None for array in held)
    assert pixels(two, frames, "1.jpg") is None
    part = held.pop()
    assert part is not None
    part = part[:1]  # a view holds it too
    assert pixels(two, frames, "1.jpg") is None
    del part
    assert pixels(two, frames, "1.jpg") is not None
    np.testing.assert_array_equal(held[0], held[1])


def test_a_process_that_is_killed_costs_a_line_and_no_image(frames: Path) -> None:
    said: list[str] = []
    two = Decoders(frames, None, 2, SLOTS, said.append)
    os.kill(two._all[0].pid, signal.SIGKILL)
    two._all[0].wait()
    found = [pixels(two, frames, "0.jpg") for _ in range(4)]
    assert [array is not None for array in found] == [False, True, False, True]
    assert said == ["a decoding process ended (exit code -9): going on without it"]
    two.close()


class Brightness:
    """A segmenter whose category is the frame's number, as its pixels tell."""

    name = fingerprint = "brightness"

    def segment(self, images: list[np.ndarray], names: list[str]) -> list[np.ndarray]:
        return [(image[:, :, 0] > 99).astype(np.uint8) for image in images]


def test_masks_are_the_same_and_a_damaged_image_fails_in_the_same_words(two: Decoders, frames: Path) -> None:
    wanted = [Wanted(name, name, digest(frames / name)) for name in ("0.jpg", "cut.jpg", "2.jpg", "large.jpg")]
    options = RunOptions("cpu", batch_size=2, log=pytest.fail)

    def made(decoders: Decoders | None) -> list[Mask | Failure]:
        with ImageReader(frames) as reader:
            clock = StageClock()
            masks = segment_images(wanted, reader, Brightness(), 2, batches_of(options), clock, decoders)
            return sorted(masks, key=lambda each: each.img)

    for ours, theirs in zip(made(two), made(None), strict=True):
        assert repr(ours) == repr(theirs)


def test_few_images_and_few_cores_are_left_to_threads(frames: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "cores", lambda: 4)
    assert decoders_for(frames, 999, pytest.fail) is None
    four = decoders_for(frames, 1_000, pytest.fail)
    assert four
    assert four.processes == 4
    assert decoders_for(frames, 1_000, pytest.fail) is four
    monkeypatch.setattr(room, "cores", lambda: 3)
    assert decoders_for(frames, 1_000, pytest.fail) is None
    close_decoders()
    assert all(process.returncode == 0 for process in four._all)


@pytest.mark.slow
def test_processes_end_with_the_one_that_started_them_however_that_ended(frames: Path) -> None:
    code = (
        "import time; from pathlib import Path; from distracted_pipeline.images.decoders import Decoders; "
        f"d = Decoders(Path({str(frames)!r}), None, 2, 4, print); print(*[p.pid for p in d._all], flush=True); "
        "time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    children = [int(word) for word in parent.stdout.readline().split()]
    assert len(children) == 2
    parent.kill()
    parent.wait()
    until = time.monotonic() + 20
    while any(is_running(child) for child in children):
        assert time.monotonic() < until
        time.sleep(0.05)


def is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
