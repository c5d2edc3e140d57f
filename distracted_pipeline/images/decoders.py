"""Processes that read, check and decode images into memory shared with this one: nobody waits for Python's lock.

Threads (`feeder`) do for a few cores: on sixteen, more than eight of them made fewer images ready, not more. A thread
asks a process for one image at a time, and waits without the lock. What a process cannot do, for whatever reason, the
thread does itself, and fails in its own words. Processes end when whoever asked is gone, however that ended.

Belongs here: the processes and their memory. When images are ready in which order is the feeder's and its callers'.
"""

import atexit
import hashlib
import mmap
import os
import pickle
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

import numpy as np

from distracted_pipeline.images.decode import ImageReader, decode_image
from distracted_pipeline.images.feeder import cores
from distracted_pipeline.images.resize import resized
from distracted_pipeline.progress import Log

LEAST_CORES, LEAST_IMAGES = 4, 1_000
"""Below either, threads are ready before processes have started."""

MOST_PROCESSES = 16
SLOT_BYTES = 640 * 480 * 3
"""Of one image as it is: State Farm's. A larger one is left to the thread."""

Resize = tuple[int, int] | None


class Decoded(NamedTuple):
    """An image that a process made ready.

    Attributes:
        pixels: uint8 RGB, `[H, W, 3]`, or resized, `[3, h, w]`; its memory is used again once nobody refers to it.
        seconds: CPU time that it took.
    """

    pixels: np.ndarray
    seconds: float


class Decoders:
    """Processes for the images of one data root; any thread may ask.

    Args:
        data: The root that paths are relative to.
        resize: Height and width to resize to as backbones want it (`resized`); None leaves images as they are.
        processes: How many.
        slots: How many images may be in use at once; those beyond are left to the threads.
        log: Hears of a process that ends.
    """

    def __init__(self, data: Path, resize: Resize, processes: int, slots: int, log: Log) -> None:
        self.processes = processes
        self._log = log
        self._slot_bytes = 3 * resize[0] * resize[1] if resize else SLOT_BYTES
        self._file = os.memfd_create("images")
        os.truncate(self._file, slots * self._slot_bytes)
        self._memory = mmap.mmap(self._file, slots * self._slot_bytes)
        self._slots: SimpleQueue[int] = SimpleQueue()
        for slot in range(slots):
            self._slots.put(slot)
        self._idle: SimpleQueue[subprocess.Popen[bytes] | None] = SimpleQueue()
        self._all = [_started((self._file, data, resize, self._slot_bytes)) for _ in range(processes)]
        for process in self._all:
            self._idle.put(process)

    def image(self, path: str, sha256: str) -> Decoded | None:
        """Return an image whose bytes have that digest; None where the calling thread has to see for itself."""
        try:
            slot = self._slots.get_nowait()
        except Empty:
            return None
        process = self._idle.get()
        shape, seconds = None, 0.0
        if process is not None:
            try:
                shape, seconds = _asked(process, (path, sha256, slot))
            except (OSError, EOFError, pickle.UnpicklingError):
                self._log(f"a decoding process ended (exit code {process.wait()}): going on without it")
                process = None
        self._idle.put(process)
        if shape is None:
            self._slots.put(slot)
            return None
        pixels = np.frombuffer(self._memory, np.uint8, int(np.prod(shape)), slot * self._slot_bytes)
        weakref.finalize(pixels, self._slots.put, slot).atexit = False
        return Decoded(pixels.reshape(shape), seconds)

    def close(self) -> None:
        """End the processes; what they decoded stays as long as somebody refers to it."""
        for process in self._all:
            assert process.stdin
            assert process.stdout
            with suppress(BrokenPipeError):  # one that was killed leaves its last request in the pipe's buffer
                process.stdin.close()
            process.stdout.close()
        for process in self._all:
            process.wait()
        os.close(self._file)


_kept: dict[tuple[int, Path, Resize], Decoders] = {}
"""Those of this process, by whose it is, data root and size: the next driver's images go to the same ones."""


def decoders_for(data: Path, images: int, log: Log, resize: Resize = None) -> Decoders | None:
    """Return processes for so many images, those of the last call where they do; None where threads are better."""
    if not hasattr(os, "memfd_create") or cores() < LEAST_CORES or images < LEAST_IMAGES:
        return None
    key = (os.getpid(), data, resize)
    if key not in _kept:
        close_decoders()
        processes = min(cores(), MOST_PROCESSES)
        _kept[key] = Decoders(data, resize, processes, 2 * processes, log)
    return _kept[key]


@atexit.register
def close_decoders() -> None:
    """End the processes of this one."""
    for key in [key for key in _kept if key[0] == os.getpid()]:
        _kept.pop(key).close()


def serve() -> None:
    """Answer what comes in until nothing does any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever asks hears it too, and ends this process
    file, data, resize, slot_bytes = pickle.load(sys.stdin.buffer)
    memory = mmap.mmap(file, 0)
    with ImageReader(data) as reader:
        for path, sha256, slot in _requests():
            started = time.process_time()
            space = np.frombuffer(memory, np.uint8, slot_bytes, slot * slot_bytes)
            shape = _decoded(reader, path, sha256, resize, space)
            pickle.dump((shape, time.process_time() - started), sys.stdout.buffer)
            sys.stdout.buffer.flush()


def _requests() -> Iterator[tuple[str, str, int]]:
    while True:
        try:
            yield pickle.load(sys.stdin.buffer)
        except EOFError:
            return


def _decoded(reader: ImageReader, path: str, sha256: str, resize: Resize, space: np.ndarray) -> tuple[int, ...] | None:
    """Decode an image into its space and return its shape; None if it has other bytes, is broken, or too large."""
    try:
        data = reader.bytes(path)
        if hashlib.sha256(data).hexdigest() != sha256:
            return None
        image = decode_image(data, path)
    except Exception:  # the thread that asked tries again, and says what is wrong
        return None
    pixels = np.asarray(image) if resize is None else resized(image, resize)
    if pixels.size > space.size:
        return None
    space[: pixels.size].reshape(pixels.shape)[:] = pixels
    return pixels.shape


def _started(job: tuple[int, Path, Resize, int]) -> "subprocess.Popen[bytes]":
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    process = subprocess.Popen(
        [sys.executable, "-c", f"from {__name__} import serve; serve()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        pass_fds=job[:1],
        env={**os.environ, **one_thread},
    )
    assert process.stdin
    pickle.dump(job, process.stdin)
    process.stdin.flush()
    return process


def _asked(process: "subprocess.Popen[bytes]", request: tuple[str, str, int]) -> Any:
    assert process.stdin
    assert process.stdout
    pickle.dump(request, process.stdin)
    process.stdin.flush()
    return pickle.load(process.stdout)
