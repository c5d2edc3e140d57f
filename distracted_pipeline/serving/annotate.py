"""A copy of a clip with what the model says drawn into it.

Belongs here: drawing, encoding. Nothing computes with these pictures. There is no sound in the copy.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from distracted_pipeline.dataset import Dataset
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.files import atomic_path
from distracted_pipeline.masks.overlays import overlay
from distracted_pipeline.serving.video import load_pyav

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS: Final = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska"}
"""Endings of copies that can be written."""

_ENCODERS: Final = (
    ("libx264", {"preset": "veryfast", "crf": "23"}),
    ("libopenh264", {"b": "4M"}),
    ("mpeg4", {"qscale": "4"}),
)
"""The first that the installed FFmpeg has: browsers play H.264, and `mpeg4` is everywhere."""

_TICKS: Final = 90_000
"""Of a second: frames keep their times, whatever the rate."""

_BAR: Final = (0, 158, 115)


def draw(image: np.ndarray, mask: np.ndarray | None, probabilities: np.ndarray, time: float, data: Dataset) -> "Image":
    """Return a frame with its likeliest class, probability and time above it, and its mask over it.

    Args:
        image: RGB uint8 `[H, W, 3]`.
        mask: uint8 `[H, W]` of category ids, or None.
        probabilities: `[class]`.
        time: Seconds.
        data: Names and colours.
    """
    from PIL import Image, ImageDraw

    picture = Image.fromarray(image) if mask is None else overlay(image, mask, data.categories)
    best = int(probabilities.argmax())
    text, share = data.class_label(best), float(probabilities[best])
    width, height = picture.size
    strip = max(14, height // 14)
    brush = ImageDraw.Draw(picture, "RGBA")
    brush.rectangle((0, 0, width, strip), fill=(0, 0, 0, 170))
    brush.rectangle((0, strip, round(width * share), strip + max(2, strip // 6)), fill=(*_BAR, 255))
    font = _fitting(f"{text}  {share:.2f}   {time:.2f} s", strip * 0.75, width * 0.96)
    brush.text((width * 0.02, strip / 2), f"{text}  {share:.2f}", fill="white", font=font, anchor="lm")
    brush.text((width * 0.98, strip / 2), f"{time:.2f} s", fill="white", font=font, anchor="rm")
    return picture


@contextmanager
def encoder(path: Path, rate: float) -> Iterator[Callable[["Image", float, Fraction], None]]:
    """Yield what appends a picture, its time in seconds and its pixels' aspect to a video; it appears whole.

    Args:
        path: Ends in one of `FORMATS`.
        rate: Frames a second, roughly: for the encoder's planning alone.

    Raises:
        DistractedError: Another ending; the disk refuses; PyAV is missing.
    """
    av = load_pyav()
    check_format(path)
    name, options = next((name, options) for name, options in _ENCODERS if name in av.codecs_available)
    with (
        atomic_path(path) as temporary,
        av.open(str(temporary), "w", format=FORMATS[path.suffix.lower()]) as container,
    ):
        stream: Any = container.add_stream(name, rate=Fraction(rate).limit_denominator(1001), options=options)
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, _TICKS)
        last = -1

        def append(picture: "Image", time: float, aspect: Fraction) -> None:
            nonlocal last
            if last < 0:  # even sides: colours have half the resolution
                stream.width, stream.height = (max(2, side - side % 2) for side in picture.size)
                stream.codec_context.sample_aspect_ratio = aspect
            frame = av.VideoFrame.from_image(picture).reformat(stream.width, stream.height, "yuv420p")
            last = max(last + 1, round(time * _TICKS))
            frame.pts, frame.time_base = last, Fraction(1, _TICKS)
            container.mux(stream.encode(frame))

        yield append
        if last >= 0:
            container.mux(stream.encode(None))


def check_format(path: Path) -> None:
    """Check that a copy can be written under this name.

    Raises:
        DistractedError: It ends in something else than `FORMATS`.
    """
    if path.suffix.lower() not in FORMATS:
        raise DistractedError(f"{path}: a clip that is written ends in {', '.join(FORMATS)}. Name it {path.stem}.mp4")


def _fitting(text: str, size: float, width: float) -> Any:
    from PIL import ImageFont

    font = ImageFont.load_default(max(6, size))
    needed = font.getlength(text)
    return font if needed <= width else ImageFont.load_default(max(6, size * width / needed))
