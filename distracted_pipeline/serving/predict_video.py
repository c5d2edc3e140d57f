"""Clips and cameras, frame by frame: what the driver does, and when.

Belongs here: frames through the engine in batches, with nothing kept but what was asked for. Decoding is `video`,
episodes are `episodes`, the copy with the answers in it is `annotate`.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from distracted_pipeline.progress import INTERVAL_S, Log, duration
from distracted_pipeline.serving.annotate import draw, encoder
from distracted_pipeline.serving.engine import Engine
from distracted_pipeline.serving.episodes import Episode, EpisodeFinder, Rules
from distracted_pipeline.serving.video import Clip, Frame

_AT_ONCE = 2**28
"""Bytes of frames that wait for one another: from there on, no further frame joins them."""


@dataclass(frozen=True)
class Seen:
    """A frame and what the model says about it.

    Attributes:
        clip: Name of the clip.
        frame: Number of the frame, from 0.
        time: Seconds since the clip began.
        probabilities: float32 `[class]`.
        image: Upright RGB, uint8 `[H, W, 3]`.
        mask: uint8 `[H, W]` of category ids where the model reads masks, else None.
    """

    clip: str
    frame: int
    time: float
    probabilities: np.ndarray
    image: np.ndarray
    mask: np.ndarray | None


@dataclass
class Watched:
    """What came of a clip.

    Attributes:
        frames: How many were predicted.
        end: Until when the last frame is shown, in seconds.
        took: Seconds of work.
        episodes: In order.
        notes: What a reader must know: what was wrong with the file, and whether the frames are unlike the training's.
    """

    frames: int = 0
    end: float = 0.0
    took: float = 0.0
    episodes: list[Episode] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def pace(self) -> str:
        """Return how much was done how fast, in words."""
        return (
            f"{self.frames:,} frames of {self.end:.1f} s in {duration(self.took)}: "
            f"{self.frames / max(self.took, 1e-9):.1f} frames a second"
        )


def predict_clip(engine: Engine, clip: Clip, fps: float | None = None, seconds: float | None = None) -> Iterator[Seen]:
    """Yield the frames of a clip with their predictions, as soon as a batch is full.

    Args:
        engine: What predicts.
        clip: An open one; of a camera, every frame is a batch.
        fps: Frames of each second at most; None takes all.
        seconds: Stop there.

    Raises:
        DistractedError: No frame can be decoded, or the segmenter cannot take the frames.
    """
    for batch in _batches(clip.frames(fps, seconds), 1 if clip.live else engine.pieces.size):
        prepared = [engine.prepare(frame.image, _name(clip, frame)) for frame in batch]
        for frame, ready, row in zip(batch, prepared, engine.predict(prepared), strict=True):
            yield Seen(clip.name, frame.number, frame.time, row, frame.image, ready.mask)


def watch(
    engine: Engine,
    clip: Clip,
    each: Callable[[Seen], object],
    *,
    fps: float | None = None,
    seconds: float | None = None,
    rules: Rules = Rules(),
    copy: Path | None = None,
    log: Log = print,
) -> Watched:
    """Predict a clip to its end, or a camera until Ctrl-C.

    Args:
        engine: What predicts.
        clip: An open one.
        each: Receives every frame, in order.
        fps: As for `predict_clip`.
        seconds: Likewise.
        rules: What makes an episode.
        copy: Video to write, with the answers drawn into its frames.
        log: Hears every ten seconds how far it is.

    Raises:
        DistractedError: As for `predict_clip`; or the copy cannot be written.
    """
    watched, finder, sample = Watched(), EpisodeFinder(rules), _Sample()
    began = told = time.monotonic()
    with ExitStack() as stack:
        append = stack.enter_context(encoder(copy, fps or clip.rate)) if copy else None
        try:
            for seen in predict_clip(engine, clip, fps, seconds):
                each(seen)
                finder.add(seen.time, seen.probabilities)
                sample.offer(seen.image)
                if append is not None:
                    picture = draw(seen.image, seen.mask, seen.probabilities, seen.time, engine.settings.dataset)
                    append(picture, seen.time, clip.aspect)
                watched.frames += 1
                if time.monotonic() - told >= INTERVAL_S:
                    told = time.monotonic()
                    log(_progress(clip, seen.time, watched.frames / (told - began)))
        except KeyboardInterrupt:
            if not clip.live or not watched.frames:
                raise
            clip.notes.append("stopped")
        watched.end, watched.took = clip.end, time.monotonic() - began
    watched.episodes = finder.finish(clip.end)
    watched.notes = [*clip.notes, *engine.unlike(sample.frames)]
    return watched


def _batches(frames: Iterator[Frame], size: int) -> Iterator[list[Frame]]:
    """Yield so many frames at once, or fewer large ones: their size may change on the way."""
    batch: list[Frame] = []
    held = 0
    for frame in frames:
        batch.append(frame)
        held += frame.image.nbytes
        if len(batch) >= size or held >= _AT_ONCE:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch


def _name(clip: Clip, frame: Frame) -> str:
    return f"{clip.name} at {frame.time:.2f} s"


def _progress(clip: Clip, at: float, pace: float) -> str:
    of = f" of {duration(clip.length)}" if clip.length else ""
    return f"{clip.name}: {duration(at)}{of}, {pace:.1f} frames a second"


class _Sample:
    """A few frames spread evenly over a clip of unknown length, at least half of `MOST` once there are so many."""

    MOST = 16

    def __init__(self) -> None:
        self.frames: list[np.ndarray] = []
        self._step, self._offered = 1, 0

    def offer(self, image: np.ndarray) -> None:
        if self._offered % self._step == 0:
            if len(self.frames) == self.MOST:
                self.frames, self._step = self.frames[::2], 2 * self._step
            if self._offered % self._step == 0:
                self.frames.append(image)
        self._offered += 1
