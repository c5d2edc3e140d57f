"""How many images pass through a network at once, and what happens where the device has no memory for them.

Belongs here: the one answer to running out of memory, for whatever runs a network: training, scoring, taps, masks,
maps, predictions. It imports no torch, so that a segmenter that does without it can stay without it.
"""

import sys
from collections.abc import Callable, Iterator
from typing import TypeVar

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.progress import Log

SMALLER_BACKBONE = "choose a smaller backbone in DISTRACTED_BACKBONE"
SMALLER_SEGMENTER = "name a smaller model in DISTRACTED_SEGMENTER"

_Result = TypeVar("_Result")


class Pieces:
    """Cuts work into pieces that fit; every time memory runs out, they have half as many images from then on.

    Attributes:
        size: The most images that pass at once.

    Args:
        size: To begin with.
        log: Hears of every halving.
        what: Begins the message where not even one image fits, e.g. `variant top_only`.
        remedy: What a person can choose instead, for the same message.
        note: Ends the line of a halving: what it does not change.
    """

    def __init__(self, size: int, log: Log, *, what: str = "", remedy: str = SMALLER_BACKBONE, note: str = "") -> None:
        self.size = size
        self._log = log
        self._what = f"{what}: " if what else ""
        self._remedy = remedy
        self._note = note

    def over(self, count: int, work: Callable[[slice], _Result]) -> Iterator[_Result]:
        """Yield `work(part)` for parts of 0 to `count` in order, each of at most `size` images.

        What a result keeps on the device stays there while the rest passes.

        Raises:
            DistractedError: Not even one image fits.
        """
        first = 0
        while first < count:

            def piece(first: int = first) -> tuple[int, _Result]:
                end = min(first + self.size, count)
                return end, work(slice(first, end))

            first, result = self.retried(count - first, piece)
            yield result

    def retried(self, images: int, work: Callable[[], _Result]) -> _Result:
        """Return `work()`, begun anew with half the size as long as it runs out of memory.

        Args:
            images: How many there are; fewer than `size` may have passed at once.
            work: Passes at most `size` images at once, and leaves nothing behind where it fails.

        Raises:
            DistractedError: Not even one image fits.
        """
        while True:
            tried = min(self.size, images)
            try:
                return work()
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if tried <= 1:
                    raise self._too_large(error) from error
            # Only now: as long as the exception lived, its traceback held the tensors of what failed.
            self.size = tried // 2
            self._log(f"out of memory with {tried} images at once: going on with {self.size}{self._note}")
            torch = sys.modules.get("torch")
            if torch is not None and torch.cuda.is_available():
                torch.cuda.empty_cache()

    def _too_large(self, error: Exception) -> DistractedError:
        why = (str(error) or type(error).__name__).splitlines()[0]
        return DistractedError(
            f"{self._what}not even one image at a time fits into the device's memory ({why}). Close other programs "
            f"on the device (nvidia-smi lists them), {self._remedy}, or set device to cpu."
        )


def is_out_of_memory(error: Exception) -> bool:
    """Tell whether an error says that memory ran out, in the words of any device."""
    text = str(error).lower()
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or any(words in text for words in ("out of memory", "can't allocate memory", "status_alloc_failed"))
    )
