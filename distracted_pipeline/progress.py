"""A log line every ten seconds on long work: done, total, rate, time left."""

import time
from collections.abc import Callable

INTERVAL_S = 10.0

Log = Callable[[str], object]
"""What receives lines for a person: `context.log.info`, `click.echo`, `print`, `list.append`."""


class Progress:
    """Counts finished items and logs how long the rest will take.

    Args:
        total: Items to do.
        what: Unit in the plural, e.g. "images".
        log: Receives the lines, e.g. `context.log.info` or `click.echo`.
        interval: Seconds between lines.
    """

    def __init__(self, total: int, what: str, log: Log, interval: float = INTERVAL_S) -> None:
        self.total = total
        self.what = what
        self.done = 0
        self._log = log
        self._interval = interval
        self._start = self._last = time.monotonic()

    def advance(self, count: int = 1) -> None:
        """Record `count` more finished items; log if the interval has passed."""
        self.done += count
        now = time.monotonic()
        if now - self._last >= self._interval:
            self._last = now
            self._log(self.line())

    def line(self) -> str:
        """Return the line as it stands: `120/960 images, 35.1/s, 24 s left`."""
        rate = self.done / max(time.monotonic() - self._start, 1e-9)
        left = duration((self.total - self.done) / rate) if rate else "?"
        return f"{self.done:,}/{self.total:,} {self.what}, {rate:.1f}/s, {left} left"


def duration(seconds: float) -> str:
    """Return a time span as a person would say it: `24 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
