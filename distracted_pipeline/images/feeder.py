"""Images ahead of the network: threads make the next ones ready while it is busy with these.

Threads, because reading, hashing, decoding, resizing and copying let go of Python's lock, and nothing has to be moved
between processes; `make bench-feeder` says how far they carry. Belongs here: order, and how far ahead. What making
ready means is the caller's.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

MOST_THREADS = 8
"""On sixteen cores eight threads made 840 images a second ready, sixteen 580: they wait for Python's lock."""

BATCHES_AHEAD = 2

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ahead(
    pool: ThreadPoolExecutor, work: Callable[[_Item], _Result], items: Iterable[_Item], window: Callable[[], int]
) -> Iterator[_Result]:
    """Yield `work(item)` in order, with at most `window()` items begun and not yet taken."""
    source = iter(items)
    begun: deque[Future[_Result]] = deque()
    while True:
        begun.extend(pool.submit(work, item) for item in islice(source, max(window() - len(begun), 0)))
        if not begun:
            return
        yield begun.popleft().result()


def batches(
    count: int,
    size: int,
    shape: tuple[int, ...],
    fill: Callable[[int, np.ndarray], object],
    *,
    workers: int = 0,
    pinned: bool = False,
) -> "Iterator[Tensor]":
    """Yield `count` images as uint8 batches `[size, *shape]` (the last one may be smaller), in order.

    Each thread writes straight into the memory of the batch.

    Args:
        count: How many images there are.
        size: Images of a batch.
        shape: Of one image.
        fill: Writes image `i` into an array of that shape; what it raises is raised here.
        workers: Threads; 0 takes one for every core, `MOST_THREADS` at most.
        pinned: Batches lie in memory from which a GPU copies without waiting.
    """
    import torch

    pool = ThreadPoolExecutor(workers or min(MOST_THREADS, cores()), "feed")

    def begin(first: int) -> "tuple[Tensor, list[Future[object]]]":
        batch = torch.empty((min(size, count - first), *shape), dtype=torch.uint8, pin_memory=pinned)
        return batch, [pool.submit(fill, first + i, slot) for i, slot in enumerate(batch.numpy())]

    starts = iter(range(0, count, size))
    begun = deque(begin(first) for first in islice(starts, BATCHES_AHEAD))
    try:
        while begun:
            batch, filling = begun.popleft()
            for future in filling:
                future.result()
            begun.extend(begin(first) for first in islice(starts, 1))
            yield batch
    finally:
        pool.shutdown(cancel_futures=True)
