"""Clips and cameras as upright frames with their times, decoded by PyAV (extra `video`).

Belongs here: opening, decoding, what is wrong with a file. Frames come one after another and none is kept. What a model
says about them is `predict_video`.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import numpy as np

from distracted_pipeline.advice import install
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.images.decode import MAX_PIXELS
from distracted_pipeline.images.frames import is_litter

SUFFIXES: Final = frozenset(
    (
        ".3gp", ".avi", ".flv", ".h264", ".h265", ".hevc", ".m2ts", ".m4v", ".mjpeg", ".mkv", ".mov", ".mp4", ".mpeg",
        ".mpg", ".mts", ".ogv", ".ts", ".webm", ".wmv",
    )
)  # fmt: skip
"""Endings of files that are taken for clips."""

_IMAGES: Final = frozenset((".jpg", ".jpeg"))
_USUAL_RATE: Final = 25.0
_ROUNDING_S: Final = 1e-6
_MOST: Final = f"{MAX_PIXELS // 10**6} megapixels"
_JUMP_S: Final = 0.5
"""Timestamps that fall back further begin anew, as in files that were joined end to end; less is noise."""


@dataclass(frozen=True)
class Frame:
    """One frame.

    Attributes:
        number: Its place among the frames that were decoded, from 0.
        time: Seconds since the clip began, as its own timestamps say.
        image: Upright RGB, uint8 `[H, W, 3]`.
    """

    number: int
    time: float
    image: np.ndarray


@dataclass
class Clip:
    """An open clip or camera.

    Attributes:
        name: How rows and messages call it.
        rate: Frames a second, on average, as far as the file says.
        length: Seconds that the file says it has; None where it does not.
        live: Whether it is a camera.
        notes: What was wrong with it; complete once its frames have been read.
        decoded: How many frames have been decoded so far.
        end: Until when the last of them is shown, in seconds.
        aspect: Width of a pixel by its height, after turning.
    """

    name: str
    container: Any
    stream: Any
    rate: float
    length: float | None
    live: bool = False
    notes: list[str] = field(default_factory=list)
    decoded: int = 0
    end: float = 0.0
    aspect: Fraction = Fraction(1)

    def frames(self, fps: float | None = None, seconds: float | None = None) -> Iterator[Frame]:
        """Yield the frames in the order of their times; damaged and huge ones are left out, and counted in `notes`.

        Args:
            fps: At most so many of each second, by their times; None yields every frame.
            seconds: Stop there.

        Raises:
            DistractedError: Not a single frame can be decoded.
        """
        damaged, due = 0, 0.0
        clock = _Clock(self)
        for frame in self._decoded():
            if frame is None or frame.is_corrupt:
                damaged += 1
                continue
            time = clock.time(frame)
            if seconds is not None and time >= seconds:
                break
            self.decoded += 1
            self.end = time + clock.period
            if fps is None or time + _ROUNDING_S >= due:
                due = (int((time + _ROUNDING_S) * fps) + 1) / fps if fps else 0.0
                yield Frame(self.decoded - 1, time, self._upright(frame))
        else:
            self._judge_end(clock.period)
        if damaged:
            self.notes.append(f"frames left out, damaged or of more than {_MOST}: {damaged}")
        if clock.jumps:
            again = "once" if clock.jumps == 1 else f"{clock.jumps} times"
            self.notes.append(f"has timestamps that begin anew {again}: times go on from the frame before")
        if clock.counted:
            self.notes.append(f"has no timestamps: times are counted at {self.rate:g} frames a second")
        if not self.decoded:
            raise DistractedError("not a single frame can be decoded: the file is empty, cut off or damaged")

    def _decoded(self) -> Iterator[Any]:
        """Yield frames as PyAV has them, and None for what cannot be decoded."""
        from av.error import FFmpegError

        packets = self.container.demux(self.stream)
        while True:
            try:
                packet = next(packets, None)
            except FFmpegError as error:  # the rest cannot be read
                self.notes.append(f"cannot be read beyond {self.end:.2f} s ({error.strerror})")
                return
            if packet is None:
                return
            try:
                yield from packet.decode()
            except FFmpegError:
                yield None

    def _judge_end(self, period: float) -> None:
        # Another stream may be a little longer.
        spare = 2 * period + (1.0 if self.stream.duration is None and len(self.container.streams) > 1 else 0.0)
        if self.decoded and self.length is not None and self.end < self.length - spare:
            self.notes.append(
                f"ends at {self.end:.2f} s of {self.length:.2f} s: it is cut off or damaged there; all before is used"
            )

    def _upright(self, frame: Any) -> np.ndarray:
        pixels: np.ndarray = frame.to_ndarray(format="rgb24")
        matrix = frame.side_data.get("DISPLAYMATRIX")
        if matrix is None:
            return pixels
        turned, exact = upright(pixels, np.frombuffer(bytes(matrix), np.int32))
        note = "is turned by an angle that is no quarter: it is used as it lies"
        if not exact and note not in self.notes:
            self.notes.append(note)
        if pixels.shape[0] != pixels.shape[1] and turned.shape == (pixels.shape[1], pixels.shape[0], 3):
            ratio = self.stream.sample_aspect_ratio or Fraction(1)
            self.aspect = 1 / ratio
        return turned


class _Clock:
    """When a frame is shown: from its timestamp, else counted on from the frame before; never backwards.

    Attributes:
        period: Seconds between the last two frames, or what the rate says.
        counted: Whether a frame had no timestamp.
        jumps: How often timestamps began anew.
    """

    def __init__(self, clip: Clip) -> None:
        self.period = 1 / clip.rate
        self.counted = False
        self.jumps = 0
        origin = clip.container.start_time
        self._start: float | None = None if origin is None else origin / 1e6
        self._last: float | None = None

    def time(self, frame: Any) -> float:
        if frame.time is None:
            self.counted = True
            time = 0.0 if self._last is None else self._last + self.period
        else:
            self._start = frame.time if self._start is None else self._start
            if self._last is None:
                self._start = min(self._start, frame.time)
            elif frame.time - self._start < self._last - _JUMP_S:
                self.jumps += 1
                self._start = frame.time - self._last - self.period
            time = max(frame.time - self._start, self._last or 0.0)
            if self._last is not None and time > self._last:
                self.period = time - self._last
        self._last = time
        return time


def upright(pixels: np.ndarray, matrix: np.ndarray) -> tuple[np.ndarray, bool]:
    """Return pixels as a player shows them, and whether that was exact.

    Args:
        pixels: `[H, W, 3]`.
        matrix: The display matrix, int32 `[9]`: a pixel at (x, y) goes to (a x + c y, b x + d y), for
            a, b, u, c, d, v, … (ISO/IEC 14496-12).
    """
    a, b, c, d = (np.sign(int(value)) * (abs(int(value)) > 1 << 13) for value in matrix[[0, 1, 3, 4]])
    if abs(a) + abs(b) != 1 or abs(c) + abs(d) != 1 or abs(a) != abs(d):
        return pixels, False
    if b:  # x becomes y
        pixels, (a, d) = pixels.swapaxes(0, 1), (c, b)
    return np.ascontiguousarray(pixels[:: int(d), :: int(a)]), True


def clips_in(path: Path) -> list[Path]:
    """Return the clips that a path names: itself, or those of a folder without photographs; else none."""
    if not path.is_dir():
        return [path] if path.suffix.lower() in SUFFIXES else []
    files = [file for file in path.iterdir() if file.is_file() and not is_litter(file.name)]
    if any(file.suffix.lower() in _IMAGES for file in files):
        return []
    return [file for file in files if file.suffix.lower() in SUFFIXES]


@contextmanager
def open_clip(path: Path, name: str) -> Iterator[Clip]:
    """Open a file for reading.

    Raises:
        DistractedError: It is no file, no video, has no picture in it, or one that is too large; PyAV is missing.
    """
    av = load_pyav()
    if not path.is_file():
        there = os.path.lexists(path)
        raise DistractedError("it is no regular file, or a link to nowhere" if there else "it is not there")
    if not path.stat().st_size:
        raise DistractedError("the file is empty")
    try:
        # A stranger's playlist must not open anything else.
        container = av.open(str(path), options={"protocol_whitelist": "file"}, metadata_errors="replace")
    except (av.FFmpegError, OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise DistractedError(
            f"it cannot be opened as a video ({why}). Damaged, or cut off: an MP4 is often unreadable without its end"
        ) from error
    with container:
        yield _clip(container, name, _length(container))


@contextmanager
def open_camera(camera: str) -> Iterator[Clip]:
    """Open a camera for reading; its frames never end.

    Args:
        camera: Its number, or what the system calls it.

    Raises:
        DistractedError: There is no such camera, or another program has it; PyAV is missing.
    """
    av = load_pyav()
    system, address, options = camera_address(camera)
    try:
        container = av.open(address, format=system, options=options)
    except (av.FFmpegError, OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        there = cameras()
        raise DistractedError(
            f"it cannot be opened as {address} ({system}: {why}). "
            + (
                f"Cameras here: {', '.join(there)}. Close other programs that use it, or name another"
                if there
                else "No camera is to be seen here: connect one, or name a clip"
            )
        ) from error
    with container:
        clip = _clip(container, f"camera {camera}", None)
        clip.live = True
        yield clip


def camera_address(camera: str) -> tuple[str, str, dict[str, str]]:
    """Return FFmpeg's input format for cameras on this system, the camera's name there, and what the format needs."""
    if sys.platform == "darwin":
        return "avfoundation", camera, {"framerate": "30"}
    if sys.platform == "win32":
        known = cameras()
        name = known[int(camera)] if camera.isdecimal() and int(camera) < len(known) else camera
        return "dshow", f"video={name}", {}
    return "v4l2", f"/dev/video{camera}" if camera.isdecimal() else camera, {}


def cameras() -> list[str]:
    """Return the cameras of this machine, as far as the system tells."""
    if sys.platform not in ("darwin", "win32"):
        return [str(path) for path in sorted(Path("/dev").glob("video*"))]
    from av.device import enumerate_input_devices

    found = enumerate_input_devices("avfoundation" if sys.platform == "darwin" else "dshow")
    return [device.name if sys.platform == "darwin" else device.description for device in found]


def load_pyav() -> Any:
    """Return the module `av`.

    Raises:
        DistractedError: It is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise DistractedError(f"videos need PyAV, which is not there ({error}). Type: {install('video')}") from error
    return av


def _clip(container: Any, name: str, length: float | None) -> Clip:
    from av.stream import Disposition

    # The cover of a song is a picture too.
    streams = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    if not streams:
        kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
        raise DistractedError(f"there is no video in it, only {kinds}")
    stream = streams[0]
    width, height = stream.codec_context.width, stream.codec_context.height
    if width * height > MAX_PIXELS:
        raise DistractedError(f"{width}x{height} pixels are more than {_MOST}")
    stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}  # the size may change on the way
    stream.thread_type = "AUTO"
    rate = float(stream.average_rate or stream.guessed_rate or _USUAL_RATE)
    return Clip(name, container, stream, rate, length, aspect=stream.sample_aspect_ratio or Fraction(1))


def _length(container: Any) -> float | None:
    for stream in container.streams.video:
        if stream.duration is not None:
            return float(stream.duration * stream.time_base)
    return None if container.duration is None else container.duration / 1e6
