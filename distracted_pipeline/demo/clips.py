"""Drawn clips whose episodes are known: something to try `distracted predict` on without a video of anybody.

    python -m distracted_pipeline.demo.clips courier.mp4

Belongs here: a script into frames, and these into a file. What a frame shows belongs to `demo.poses`; no two frames are
connected by more than their slow walk, so it looks like a slide show.
"""

import sys
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Final

from distracted_pipeline.advice import typed
from distracted_pipeline.dataset import STATE_FARM
from distracted_pipeline.demo.drivers import driver_look
from distracted_pipeline.demo.poses import scene_of
from distracted_pipeline.demo.scenes import paint
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.serving.annotate import encoder

if TYPE_CHECKING:
    from PIL.Image import Image

Script = Sequence[tuple[str, float]]
"""Classes in order, each with its seconds."""

SCRIPT: Final[Script] = (("c0", 3.0), ("c6", 3.0), ("c0", 2.0), ("c9", 3.0))
STRANGER: Final = 950
"""A driver whom no demo has seen."""


def frames_of(script: Script, fps: float, driver: int = STRANGER, seed: int = 0) -> Iterator[tuple[float, "Image"]]:
    """Yield the time in seconds of every frame of a clip, and the frame.

    Args:
        script: What the driver does.
        fps: Frames a second.
        driver: Number of the driver; those of Kaggle's drivers look as in the demo.
        seed: As for the demo.

    Raises:
        ValueError: A class that there is not.
    """
    from PIL import Image

    look, number = driver_look(driver, seed), 0
    for classname, seconds in script:
        if classname not in STATE_FARM.class_ids:
            raise ValueError(f"{classname} is none of {', '.join(STATE_FARM.class_ids)}")
        for _ in range(round(seconds * fps)):
            yield number / fps, Image.fromarray(paint(scene_of(look, classname, number, seed))[0])
            number += 1


def write_clip(path: Path, script: Script = SCRIPT, fps: float = 10, size: tuple[int, int] = (640, 480)) -> None:
    """Write a clip of a drawn driver.

    Args:
        path: Ends in .mp4, .mov or .mkv.
        script: What the driver does.
        fps: Frames a second.
        size: Width and height.

    Raises:
        DistractedError: Another ending; the disk refuses; PyAV is missing.
    """
    with encoder(path, fps) as append:
        for time, picture in frames_of(script, fps):
            append(picture.resize(size), time, Fraction(1))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("Name the file to draw, one that ends in .mp4, .mov or .mkv.")
    try:
        write_clip(Path(sys.argv[1]))
        print(f"wrote {sys.argv[1]}. Next: distracted predict {typed(sys.argv[1])}")
    except DistractedError as error:
        sys.exit(str(error))
