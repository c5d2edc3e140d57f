"""Frames of a clip into episodes: from when to when the driver did what.

Belongs here: smoothing, and what counts as an episode. Frames are taken one by one, and only those of the smoothing
window are held.
"""

from collections import deque
from dataclasses import dataclass, replace

import numpy as np

_ROUNDING_S = 1e-6


@dataclass(frozen=True)
class Rules:
    """What makes an episode.

    Attributes:
        smooth: Seconds around a frame over which probabilities are averaged; 0 takes each as it is.
        min_length: Seconds that an episode lasts at least. A shorter interruption does not end one.
    """

    smooth: float = 1.0
    min_length: float = 1.0


@dataclass(frozen=True)
class Episode:
    """One class for a while.

    Attributes:
        start: Seconds; of its first frame.
        end: Seconds; until when its last frame is shown.
        k: The class's position.
        confidence: Mean of its smoothed probability over the frames that are of the class.
        frames: How many those are.
    """

    start: float
    end: float
    k: int
    confidence: float
    frames: int


class EpisodeFinder:
    """Takes frames in order and collects episodes.

    A frame's class is the likeliest after smoothing. Frames of one class in a row are an episode if they last long
    enough, or if they go on after an interruption that did not. What is neither belongs to no episode.

    Attributes:
        found: So far.
    """

    def __init__(self, rules: Rules) -> None:
        self.found: list[Episode] = []
        self._rules = rules
        self._window: deque[tuple[float, np.ndarray]] = deque()
        self._next = 0  # place in the window of the first frame without a class
        self._run: Episode | None = None

    def add(self, time: float, probabilities: np.ndarray) -> None:
        """Take the next frame.

        Args:
            time: Seconds, not before the last frame's.
            probabilities: Of each class, float `[class]`.
        """
        self._window.append((time, probabilities))
        while self._window[self._next][0] + self._rules.smooth / 2 < time - _ROUNDING_S:
            self._classify()

    def finish(self, end: float) -> list[Episode]:
        """Return all episodes, after the last frame, which is shown until `end`."""
        while self._next < len(self._window):
            self._classify()
        if self._run is not None:
            self._close(end)
        return self.found

    @property
    def held(self) -> int:
        """How many frames are held."""
        return len(self._window)

    def _classify(self) -> None:
        """Give the next frame its class, and let go of frames that no later one needs."""
        time, half = self._window[self._next][0], self._rules.smooth / 2 + _ROUNDING_S
        while self._window[0][0] < time - half:
            self._window.popleft()
            self._next -= 1
        smoothed = np.mean([values for at, values in self._window if at <= time + half], 0)
        self._next += 1
        k = int(smoothed.argmax())
        if self._run is not None and self._run.k != k:
            self._close(time)
        run = self._run or Episode(time, time, k, 0.0, 0)
        self._run = replace(run, confidence=run.confidence + float(smoothed[k]), frames=run.frames + 1)

    def _close(self, end: float) -> None:
        """End the frames in a row, whose confidence has only been summed up so far."""
        assert self._run is not None
        run = replace(self._run, end=end, confidence=self._run.confidence / self._run.frames)
        self._run = None
        last = self.found[-1] if self.found else None
        if last is not None and last.k == run.k and run.start - last.end < self._rules.min_length - _ROUNDING_S:
            frames = last.frames + run.frames
            confidence = (last.confidence * last.frames + run.confidence * run.frames) / frames
            self.found[-1] = replace(last, end=end, confidence=confidence, frames=frames)
        elif end - run.start >= self._rules.min_length - _ROUNDING_S:
            self.found.append(run)
