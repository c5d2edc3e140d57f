"""Shapes on a picture and on its label map at once, and what a camera does to the picture.

Belongs here: geometry, colours, light and noise. What is drawn belongs to `demo.scenes`. The picture is
drawn at twice its size and reduced (smooth edges); the label map gets the same shapes unsmoothed, so it
is exact and holds nothing but ids.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from distracted_pipeline.dataset import STATE_FARM

WIDTH, HEIGHT = 640, 480
_OVERSAMPLING = 2
_NOISE_MARGIN = 64
_TEN = np.arange(10.0)

NONE, PERSON, BOTTLE, PHONE, CUP, CAR, CHAIR = range(len(STATE_FARM.mask_names))
"""Label ids, in the order of `STATE_FARM.mask_names`."""

Points = NDArray[np.float64]
"""Scene coordinates [N, 2], x to the right and y down, in pixels of an undisturbed camera."""

Point = tuple[float, float]
Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Camera:
    """Where the camera was fixed and how it sees.

    Attributes:
        zoom: 1 shows the scene as laid out.
        shift: Pixels to the right and down.
        roll: Clockwise, in degrees.
        gain: Brightness; 1 leaves colours as painted.
        warmth: Red gained and blue lost, as a fraction.
        slope: How much darker the side away from the window is, 0..1.
        blur: Radius in pixels.
        noise: Sensor noise, standard deviation in grey levels.
    """

    zoom: float = 1.0
    shift: Point = (0.0, 0.0)
    roll: float = 0.0
    gain: float = 1.0
    warmth: float = 0.0
    slope: float = 0.3
    blur: float = 0.7
    noise: float = 5.0


class Canvas:
    """A picture and its label map that take the same shapes."""

    def __init__(self, camera: Camera, shake: Point = (0.0, 0.0)) -> None:
        self._camera = camera
        self._picture = Image.new("RGB", (WIDTH * _OVERSAMPLING, HEIGHT * _OVERSAMPLING))
        self._labels = Image.new("L", (WIDTH, HEIGHT))
        self._brush = ImageDraw.Draw(self._picture)
        self._marker = ImageDraw.Draw(self._labels)
        angle = np.deg2rad(camera.roll)
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        self._matrix = turn * camera.zoom
        centre = np.array([WIDTH / 2, HEIGHT / 2])
        self._offset = centre + camera.shift + shake - centre @ self._matrix

    def fill(self, shape: Points | Sequence[Point], colour: Colour, label: int | None = None) -> None:
        """Fill a closed shape; `label` None leaves the label map as it is (shading, patterns)."""
        seen = np.asarray(shape, dtype=np.float64) @ self._matrix + self._offset
        self._brush.polygon((seen * _OVERSAMPLING).ravel().tolist(), fill=colour)
        if label is not None:
            self._marker.polygon(seen.ravel().tolist(), fill=label)

    def limb(self, a: Point, b: Point, radii: Point, colour: Colour, label: int | None = None) -> None:
        """Fill a rounded, tapered limb with a lit upper side."""
        self.fill(capsule(a, b, *radii), shade(colour, 0.88), label)
        rise = (0.0, -0.18)
        lit = [(p[0] + rise[0] * r, p[1] + rise[1] * r) for p, r in zip((a, b), radii, strict=True)]
        self.fill(capsule(lit[0], lit[1], radii[0] * 0.68, radii[1] * 0.68), shade(colour, 1.06))

    def develop(self, flicker: float, noise_seed: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Return the picture as the camera saw it, uint8 [480, 640, 3], and the label map, uint8 [480, 640].

        Args:
            flicker: Brightness of this one frame, 1 for the camera's usual.
            noise_seed: Chooses this frame's sensor noise.
        """
        picture = self._picture.reduce(_OVERSAMPLING)
        if self._camera.blur > 0:
            picture = picture.filter(ImageFilter.BoxBlur(self._camera.blur))
        levels, grain = _levels()
        np.multiply(_light(self._camera), np.float32(flicker), out=levels)
        np.multiply(np.asarray(picture), levels, out=levels)
        y, x = np.random.default_rng(noise_seed).integers(0, _NOISE_MARGIN, 2)
        np.multiply(_noise()[y : y + HEIGHT, x : x + WIDTH], np.float32(self._camera.noise), out=grain)
        np.add(levels, grain, out=levels)
        return np.clip(levels, 0, 255, out=levels).astype(np.uint8), np.asarray(self._labels)


def smooth(corners: Points | Sequence[Point], rounds: int = 3) -> Points:
    """Round off a closed polygon by cutting its corners (Chaikin, 1974)."""
    points = np.asarray(corners, dtype=np.float64)
    for _ in range(rounds):
        near, far = 0.75 * points, 0.25 * points
        cut = np.empty((2 * len(points), 2))
        cut[0:-2:2], cut[1:-2:2] = near[:-1] + far[1:], far[:-1] + near[1:]
        cut[-2], cut[-1] = near[-1] + far[0], far[-1] + near[0]
        points = cut
    return points


def ellipse(centre: Point, rx: float, ry: float, angle: float = 0.0, count: int = 36) -> Points:
    """Return an ellipse turned clockwise by `angle` degrees."""
    t = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return place(np.stack([rx * np.cos(t), ry * np.sin(t)], axis=1), centre, angle)


def box(centre: Point, width: float, height: float, angle: float = 0.0, rounding: float = 0.0) -> Points:
    """Return a rectangle turned clockwise by `angle` degrees, its corners cut by `rounding` pixels."""
    w, h, r = width / 2, height / 2, rounding
    corners = [(-w + r, -h), (w - r, -h), (w, -h + r), (w, h - r), (w - r, h), (-w + r, h), (-w, h - r), (-w, -h + r)]
    return place(corners, centre, angle)


def capsule(a: Point, b: Point, ra: float, rb: float) -> Points:
    """Return the outline around two circles: a limb from `a` to `b`."""
    dx, dy = b[0] - a[0], b[1] - a[1]
    distance = max(float(np.hypot(dx, dy)), 1e-6)
    along = np.arctan2(dy, dx)
    opening = np.arccos(np.clip((ra - rb) / distance, -1, 1))
    outline = np.empty((20, 2))
    for half, centre, radius, start, stop in (
        (outline[:10], a, ra, along + opening, along + 2 * np.pi - opening),
        (outline[10:], b, rb, along - opening, along + opening),
    ):
        angles = _TEN * ((stop - start) / 9) + start  # np.linspace, in a quarter of its time
        angles[-1] = stop
        half[:, 0], half[:, 1] = centre[0] + radius * np.cos(angles), centre[1] + radius * np.sin(angles)
    return outline


def keyhole(outer: Points | Sequence[Point], hole: Points) -> Points:
    """Return an outline with a hole, as one line that walks in and out again."""
    rim = np.asarray(outer, dtype=np.float64)
    return np.concatenate([rim, rim[:1], hole[:1], hole[::-1], rim[:1]])


def place(shape: Points | Sequence[Point], centre: Point, angle: float = 0.0, scale: float = 1.0) -> Points:
    """Move a shape drawn around the origin to `centre`, scaled, and turned clockwise by `angle` degrees."""
    turn = np.deg2rad(angle)
    matrix = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    return np.asarray(shape, dtype=np.float64) * scale @ matrix + centre


def shade(colour: Colour, factor: float) -> Colour:
    """Return a colour made darker (below 1) or brighter (above 1)."""
    r, g, b = (min(255, max(0, round(c * factor))) for c in colour)
    return r, g, b


def blend(a: Colour, b: Colour, share: float) -> Colour:
    """Return the colour `share` of the way from `a` to `b`."""
    r, g, bl = (round(x + (y - x) * share) for x, y in zip(a, b, strict=True))
    return r, g, bl


@cache
def _levels() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Room for a picture and its noise: fresh memory for each frame costs as much as the arithmetic."""
    return np.empty((HEIGHT, WIDTH, 3), np.float32), np.empty((HEIGHT, WIDTH, 3), np.float32)


@cache
def _noise() -> NDArray[np.float32]:
    """Standard noise, larger than a picture: every frame takes its own cut."""
    rng = np.random.default_rng(20_160_402)
    shape = (HEIGHT + _NOISE_MARGIN, WIDTH + _NOISE_MARGIN)
    grey = rng.standard_normal((*shape, 1), dtype=np.float32)
    return 0.8 * grey + 0.6 * rng.standard_normal((*shape, 3), dtype=np.float32)


@lru_cache(maxsize=4)
def _light(camera: Camera) -> NDArray[np.float32]:
    """Gain per pixel and channel: the window side (right, above) is brighter."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    away = 0.6 * (1 - x / WIDTH) + 0.7 * (y / HEIGHT)
    gain = camera.gain * (1.2 - camera.slope * away)
    tint = np.array([1 + camera.warmth, 1, 1 - camera.warmth], np.float32)
    return (gain[..., None] * tint).astype(np.float32)
