"""What the sections of `bench_gpu` share: the clock, and leaving out what there is no time for."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import torch

from distracted_pipeline.options import RunOptions
from distracted_pipeline.settings import Settings

Items = Mapping[str, Callable[[], Iterator[str]]]
"""What a section measures, by name, and what yields its lines."""


class Clock:
    """Runs work on a device and tells images per second.

    Attributes:
        until: When nothing new is begun any more.
    """

    def __init__(self, device: torch.device, until: float) -> None:
        self.device = device
        self.until = until

    @property
    def left(self) -> float:
        """Seconds left."""
        return self.until - time.monotonic()

    def seconds(self, work: Callable[[], object]) -> float:
        """Return how long `work` takes, with all that it leaves to the device."""
        self._wait()
        started = time.perf_counter()
        work()
        self._wait()
        return time.perf_counter() - started

    def rate(self, work: Callable[[], object], images: int) -> float:
        """Return images per second of `work`."""
        return images / self.seconds(work)

    def lines(self, items: Items) -> Iterator[str]:
        """Yield the lines of all items; those that there is no time for are named."""
        for name, work in items.items():
            if self.left <= 0:
                yield f"{name}: left out, no time"
            else:
                yield from work()

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


@dataclass
class Bench:
    """What is measured.

    Attributes:
        settings: Data root with drawn frames, backbone and segmenter.
        deeplab: A semantic segmenter.
        options: Device.
        batch: Images of a training's step.
        epochs: That are timed.
        tiny: Whether models and frames are for trying the script.
        rates: Images per second by stage, filled by the sections.
    """

    settings: Settings
    deeplab: str
    options: RunOptions
    batch: int
    epochs: int
    tiny: bool
    rates: dict[str, float] = field(default_factory=dict)
