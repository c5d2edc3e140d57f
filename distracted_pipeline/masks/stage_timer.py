"""Where the CPU time of a fill goes, by stage.

Belongs here: the clock. What the stages are is `batching` and `fill`.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

MODEL = "model"


class StageClock:
    """Adds up the CPU time of each stage over all threads, from its creation on."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stages: defaultdict[str, float] = defaultdict(float)
        self._elsewhere: defaultdict[str, float] = defaultdict(float)
        self._started = time.process_time()
        self.model_wall = 0.0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the CPU time that the calling thread spends in the block."""
        started = time.thread_time()
        try:
            yield
        finally:
            spent = time.thread_time() - started
            with self._lock:
                self._stages[name] += spent

    def elsewhere(self, name: str, seconds: float) -> None:
        """Count CPU time that another process spent."""
        with self._lock:
            self._elsewhere[name] += seconds

    @contextmanager
    def model(self) -> Iterator[None]:
        """Count the wall time of the block; on a GPU, the rest of a fill is time in which the device waited."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.model_wall += time.monotonic() - started

    def cpu_seconds(self) -> dict[str, float]:
        """Return CPU seconds by stage; `model` is the rest of the process, for torch's threads cannot be asked."""
        with self._lock:
            stages, elsewhere = dict(self._stages), dict(self._elsewhere)
        rest = time.process_time() - self._started - sum(stages.values())
        both = {name: stages.get(name, 0.0) + elsewhere.get(name, 0.0) for name in {**elsewhere, **stages}}
        return {**both, MODEL: max(rest, 0.0)}
