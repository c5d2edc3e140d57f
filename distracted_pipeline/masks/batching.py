"""Images in, encoded masks out: decoding and post-processing threads around one device.

Belongs here: threads, batches, memory. What is missing and where results go is `fill`; nothing here
touches the cache.

    decode threads -> batches (calling thread) -> device thread -> post-processing threads -> results

One batch is collected while the one before it is on the device.

Every queue is bounded, so memory does not grow with the number of images.
"""

import hashlib
import os
import sys
import traceback
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import cache
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from distracted_pipeline.advice import RUN
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.images.decode import ImageReader, decode_image
from distracted_pipeline.images.decoders import Decoders
from distracted_pipeline.images.feeder import ahead, cores
from distracted_pipeline.masks.rle import encode
from distracted_pipeline.masks.segmenter import ORDINARY_SIZE, Compilable, Segmenter, StagedSegmenter, TakesPictures
from distracted_pipeline.masks.shards import SOURCE_DIGITS, Mask
from distracted_pipeline.masks.stage_timer import StageClock
from distracted_pipeline.memory import SMALLER_SEGMENTER, Pieces, is_out_of_memory
from distracted_pipeline.options import RunOptions

MOST_THREADS = 8
"""Per stage; with so many the device never waits."""


class Wanted(NamedTuple):
    """An image to segment: name, manifest path, SHA-256."""

    img: str
    path: str
    sha256: str


class Failure(NamedTuple):
    """An image without a mask, and why; `changed`: its bytes are not those of the manifest."""

    img: str
    reason: str
    changed: bool = False


@dataclass(frozen=True)
class _Prepared:
    wanted: Wanted
    size: tuple[int, int]
    value: Any

    @property
    def shape(self) -> Any:
        return getattr(self.value, "shape", None)


def segment_images(
    images: Sequence[Wanted],
    reader: ImageReader,
    segmenter: Segmenter,
    categories: int,
    pieces: Pieces,
    clock: StageClock,
    decoders: Decoders | None = None,
) -> Generator[Mask | Failure, None, None]:
    """Yield a mask, or why there is none, for every image, roughly in order.

    Args:
        images: What to segment.
        reader: Where the bytes come from.
        segmenter: A staged one keeps the device busy while threads decode and post-process.
        categories: How many the data set has.
        pieces: How many images are a batch (see `batches_of`); the next call may go on with it.
        clock: Receives the CPU time of each stage.
        decoders: Processes that decode in place of this one's threads; None: there are none.

    Raises:
        DistractedError: Not even one ordinary image fits into the device's memory.
    """
    stages = segmenter if isinstance(segmenter, StagedSegmenter) else _Whole(segmenter)
    pictures = stages if isinstance(stages, TakesPictures) else None
    batches = _Batches(stages, pieces, clock)
    threads = max(1, min(MOST_THREADS, cores() // 2))
    preparers = ThreadPoolExecutor(decoders.processes if decoders else threads, "decode", _one_torch_thread)
    finishers = ThreadPoolExecutor(threads, "finish", _one_torch_thread)
    torch_threads = _torch_threads()

    def prepare(wanted: Wanted) -> _Prepared | Failure:
        try:
            if decoded := decoders and decoders.image(wanted.path, wanted.sha256):
                clock.elsewhere("decode", decoded.seconds)
                image: Any = decoded.pixels
            else:
                with clock.stage("read and hash"):
                    data = reader.bytes(wanted.path)
                    same = hashlib.sha256(data).hexdigest() == wanted.sha256
                if not same:
                    why = f"{wanted.path} has changed since ingest (its SHA-256 is another)"
                    return Failure(wanted.img, f"{why}. The next run reads it anew; type: {RUN}", changed=True)
                with clock.stage("decode"):
                    picture = decode_image(data, wanted.path)
                    image = picture if pictures else np.array(picture)
            with clock.stage("preprocess"):
                if pictures and isinstance(image, Image.Image):
                    value = pictures.prepare_picture(image, wanted.img)
                    return _Prepared(wanted, (image.height, image.width), value)
                return _Prepared(wanted, image.shape[:2], stages.prepare(image, wanted.img))
        except DistractedError as error:
            return Failure(wanted.img, str(error))

    def finish(prepared: _Prepared, raw: Any) -> Mask | Failure:
        if isinstance(raw, Failure):
            return raw
        with clock.stage("post-process"):
            mask = stages.finish(raw, prepared.size)
        if mask.shape != prepared.size:
            raise ValueError(f"{segmenter.name} returned a mask of shape {mask.shape} for an image of {prepared.size}")
        with clock.stage("encode"):
            runs, values, areas = encode(mask, categories)
        return Mask(prepared.wanted.img, prepared.wanted.sha256[:SOURCE_DIGITS], prepared.size, runs, values, areas)

    finishing: deque[Future[Mask | Failure]] = deque()
    try:
        for item in ahead(preparers, prepare, images, lambda: 2 * batches.size + 2 * threads):
            if isinstance(item, Failure):
                yield item
                continue
            for prepared, raw in batches.add(item):
                finishing.append(finishers.submit(finish, prepared, raw))
            while finishing and (finishing[0].done() or len(finishing) > 2 * batches.size + 2 * threads):
                yield finishing.popleft().result()
        for prepared, raw in batches.flush():
            finishing.append(finishers.submit(finish, prepared, raw))
        while finishing:
            yield finishing.popleft().result()
    finally:
        preparers.shutdown(cancel_futures=True)
        finishers.shutdown(cancel_futures=True)
        batches.close()
        _set_torch_threads(torch_threads)


class _Batches:
    """Collects images of one shape until a batch is full; halves the batch when memory runs out.

    An image that the model cannot take, though it takes an ordinary one, gets a `Failure` in the place of its result.
    """

    def __init__(self, stages: StagedSegmenter, pieces: Pieces, clock: StageClock) -> None:
        self._stages = stages
        self._clock = clock
        self._pieces = pieces
        self._waiting: dict[Any, list[_Prepared]] = {}
        self._full: set[Any] = set()  # shapes that have filled a batch
        self._running: deque[Future[list[tuple[_Prepared, Any]]]] = deque()
        self._device = _device_thread(os.getpid())
        # Decoders leave torch with one thread, for whoever has not asked for more.
        self._device.submit(_set_torch_threads, _torch_threads())

    @property
    def size(self) -> int:
        """Images per batch; 1 until the first image tells what fits."""
        return self._pieces.size or 1

    def add(self, item: _Prepared) -> Iterator[tuple[_Prepared, Any]]:
        """Take an image; yield results when that completes a batch."""
        if not self._pieces.size:
            try:
                self._pieces.size = self._device.submit(self._stages.batch_size, item.value).result()
            except Exception:  # measuring takes the memory of two
                for raw in self._pieces.retried(1, lambda: self._forward([item])):
                    self._pieces.size = 0 if isinstance(raw, Failure) else 1
                    yield item, raw
                return
        group = self._waiting.setdefault(item.shape, [])
        group.append(item)
        if len(group) >= self.size:
            yield from self._run(self._waiting.pop(item.shape))
        elif sum(map(len, self._waiting.values())) >= 4 * self.size:  # many shapes, none of them filling a batch
            yield from self.flush()

    def flush(self) -> Iterator[tuple[_Prepared, Any]]:
        """Yield the results of all incomplete batches."""
        while self._waiting:
            yield from self._run(self._waiting.popitem()[1])
        while self._running:
            yield from self._running.popleft().result()

    def close(self) -> None:
        """Wait for what is on the device."""
        wait([future for future in self._running if not future.cancel()])

    def _run(self, items: list[_Prepared]) -> Iterator[tuple[_Prepared, Any]]:
        """Hand a batch to the device; yield the results of those before it but one."""
        self._running.append(self._device.submit(self._pass, items))
        while len(self._running) > 1:
            yield from self._running.popleft().result()

    def _pass(self, items: list[_Prepared]) -> list[tuple[_Prepared, Any]]:
        raws = self._pieces.over(len(items), lambda part: self._forward(items[part]))
        return list(zip(items, chain.from_iterable(raws), strict=True))

    def _forward(self, batch: list[_Prepared]) -> list[Any]:
        """Return the raw result of each image, or why the model cannot take it."""
        try:
            with self._clock.model():
                return self._through([item.value for item in batch], batch[0].shape)
        except Exception as error:
            if len(batch) == 1:
                return [self._blame(batch[0], error)]
            if is_out_of_memory(error):
                raise
        return [raw for item in batch for raw in self._forward([item])]

    def _through(self, values: list[Any], shape: Any) -> list[Any]:
        size = self._pieces.size
        if not isinstance(self._stages, Compilable) or (len(values) < size and shape not in self._full):
            return self._stages.forward(values)
        self._full.add(shape)
        return self._stages.forward_steady(values, size)

    def _blame(self, item: _Prepared, error: Exception) -> Failure:
        """Return why an image has no mask if it is at fault; raise where the model, or the device, fails any image."""
        reason = str(error)
        if not isinstance(error, DistractedError):
            height, width = item.size
            reason = f"the model cannot take {width}x{height} pixels ({type(error).__name__}: {_first_line(error)})"
            traceback.clear_frames(error.__traceback__)  # its frames hold the failed batch's tensors
            if not self._takes_ordinary(item.wanted.img):
                raise error
        return Failure(item.wanted.img, reason)

    def _takes_ordinary(self, img: str) -> bool:
        try:
            self._stages.forward([self._stages.prepare(np.zeros((*ORDINARY_SIZE, 3), np.uint8), img)])
        except Exception:  # then the first error is what has to be told
            return False
        return True


@cache
def _device_thread(_process: int) -> ThreadPoolExecutor:
    """Return the one thread of a process that runs networks: cuDNN's plans belong to the thread that made them."""
    return ThreadPoolExecutor(1, "device")


def batches_of(options: RunOptions) -> Pieces:
    """Return how many images are a batch: 0 lets the segmenter choose, and out of memory halves it."""
    return Pieces(options.batch_size, options.log, remedy=SMALLER_SEGMENTER)


class _Named(NamedTuple):
    image: np.ndarray
    name: str

    @property
    def shape(self) -> Any:
        return self.image.shape


class _Whole:
    """Makes any segmenter a staged one; all its work happens in `forward`."""

    def __init__(self, segmenter: Segmenter) -> None:
        self._segmenter = segmenter
        self.name = segmenter.name
        self.fingerprint = segmenter.fingerprint

    def segment(self, images: Sequence[np.ndarray], names: Sequence[str]) -> list[np.ndarray]:
        return self._segmenter.segment(images, names)

    def prepare(self, image: np.ndarray, name: str) -> _Named:
        return _Named(image, name)

    def forward(self, prepared: Sequence[_Named]) -> list[np.ndarray]:
        return self._segmenter.segment([item.image for item in prepared], [item.name for item in prepared])

    def finish(self, raw: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        return raw

    def batch_size(self, prepared: _Named) -> int:
        return 8


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or "no reason given"


def _torch_threads() -> int | None:
    torch = sys.modules.get("torch")
    return None if torch is None else torch.get_num_threads()


def _set_torch_threads(count: int | None) -> None:
    torch = sys.modules.get("torch")
    if torch is not None and count is not None:
        torch.set_num_threads(count)


def _one_torch_thread() -> None:
    """Keep torch from starting threads of its own in each of ours; the setting counts for the calling thread only."""
    _set_torch_threads(1)
