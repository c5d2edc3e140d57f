"""ImageNet in miniature: procedurally drawn pictures that a backbone learns to see from.

Belongs here: what is drawn and what is asked about it. Nothing of the demo is in it: no cabin, no driver, no
phone, cup, bottle, car or chair. A subject (a shape, a thing, a stick figure in one of sixteen poses) stands
somewhere on a background; the questions are what it is, where, how large, and on what. Training on the
answers is `demo.backbone_training`.
"""

import colorsys
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from distracted_pipeline.demo.canvas import Colour, Point, Points, blend, box, capsule, ellipse, place, shade, smooth

SIDE = 96
"""Height and width of a picture."""

_OVERSAMPLING = 2
_PIXELS = SIDE * _OVERSAMPLING

Part = tuple[Points | list[Point], int]
"""A filled shape in units where a subject spans about -1..1, and the number of its colour (0, 1, 2)."""

_ARROW: list[Point] = [(-1, -0.28), (0.15, -0.28), (0.15, -0.75), (1, 0), (0.15, 0.75), (0.15, 0.28), (-1, 0.28)]
_CRESCENT = [*ellipse((0, 0), 1, 1)[9:28].tolist(), *ellipse((-0.1, 0), 0.5, 1)[9:28][::-1].tolist()]
_FISH: list[Part] = [
    ([(-1, -0.5), (-0.4, 0), (-1, 0.5)], 1),
    (ellipse((0.15, 0), 0.8, 0.45), 0),
    (ellipse((0.6, -0.1), 0.09, 0.09), 2),
]
_BOAT: list[Part] = [
    ([(-1, 0.35), (1, 0.35), (0.65, 0.8), (-0.7, 0.8)], 1),
    ([(-0.1, -1), (0, -1), (0, 0.35), (-0.1, 0.35)], 2),
    ([(0.05, -0.95), (0.85, 0.2), (0.05, 0.2)], 0),
]
_STAR = [
    (np.cos(t) * r, np.sin(t) * r) for k in range(10) for t, r in ((np.pi * (k / 5 - 0.5), 0.42 if k % 2 else 1.0),)
]


def _turned(parts: list[Part], angle: float) -> list[Part]:
    return [(place(shape, (0, 0), angle), colour) for shape, colour in parts]


def _mirrored(parts: list[Part]) -> list[Part]:
    return [(np.asarray(shape, np.float64) * (-1, 1), colour) for shape, colour in parts]


_BAR: list[Part] = [(box((0, 0), 0.5, 2), 0)]
_POINTER: list[Part] = [(_ARROW, 0)]
_WEDGE: list[Part] = [([(0, -0.95), (1, 0.8), (-1, 0.8)], 0)]

THINGS: Final[dict[str, list[Part]]] = {
    "disc": [(ellipse((0, 0), 0.95, 0.95), 0)],
    "ring": [(ellipse((0, 0), 1, 1), 0), (ellipse((0, 0), 0.6, 0.6), 1)],
    "square": [(box((0, 0), 1.7, 1.7), 0)],
    "frame": [(box((0, 0), 1.8, 1.8), 0), (box((0, 0), 1.1, 1.1), 1)],
    "triangle up": _WEDGE,
    "triangle down": _turned(_WEDGE, 180),
    "diamond": [([(0, -1), (0.7, 0), (0, 1), (-0.7, 0)], 0)],
    "star": [(_STAR, 0)],
    "plus": [(box((0, 0), 0.6, 2), 0), (box((0, 0), 2, 0.6), 0)],
    "upright bar": _BAR,
    "level bar": _turned(_BAR, 90),
    "rising bar": _turned(_BAR, 45),
    "falling bar": _turned(_BAR, -45),
    "arrow right": _POINTER,
    "arrow down": _turned(_POINTER, 90),
    "arrow left": _turned(_POINTER, 180),
    "arrow up": _turned(_POINTER, -90),
    "crescent left": [(_CRESCENT, 0)],
    "crescent right": _mirrored([(_CRESCENT, 0)]),
    "discs side by side": [(ellipse((-0.55, 0), 0.45, 0.45), 0), (ellipse((0.55, 0), 0.45, 0.45), 1)],
    "discs stacked": [(ellipse((0, -0.55), 0.45, 0.45), 0), (ellipse((0, 0.55), 0.45, 0.45), 1)],
    "tree": [(box((0, 0.6), 0.25, 0.8), 2), (smooth([(-0.9, 0.3), (-0.6, -0.8), (0.6, -0.8), (0.9, 0.3)]), 0)],
    "house": [(box((0, 0.35), 1.5, 1.2), 0), ([(-1, -0.25), (0, -1), (1, -0.25)], 1), (box((0, 0.6), 0.35, 0.7), 2)],
    "boat right": _BOAT,
    "boat left": _mirrored(_BOAT),
    "fish right": _FISH,
    "fish left": _mirrored(_FISH),
    "flower": [
        (box((0, 0.5), 0.12, 1), 2),
        *[(ellipse((0.42 * np.cos(t), -0.4 + 0.42 * np.sin(t)), 0.3, 0.3), 0) for t in np.arange(5) * 2 * np.pi / 5],
        (ellipse((0, -0.4), 0.25, 0.25), 1),
    ],
    "ladder": [
        *[(box((x, 0), 0.2, 2), 0) for x in (-0.5, 0.5)],
        *[(box((0, y), 1, 0.16), 0) for y in (-0.75, -0.25, 0.25, 0.75)],
    ],
    "mushroom": [(box((0, 0.45), 0.45, 1.1), 1), (smooth([(-1.1, 0.1), (-0.7, -1), (0.7, -1), (1.1, 0.1)]), 0)],
    "umbrella": [(box((0, 0.4), 0.12, 1.3), 2), (smooth([(-1.2, 0), (-0.8, -1), (0.8, -1), (1.2, 0)], 2), 0)],
    "hourglass": [([(-0.75, -1), (0.75, -1), (0, 0)], 0), ([(0, 0), (0.75, 1), (-0.75, 1)], 1)],
}
"""Subjects that keep their outline; several differ only by where they point."""

HANDS: Final[dict[str, Point]] = {
    "up": (0.42, -0.95),
    "out": (0.85, -0.22),
    "low": (0.36, 0.42),
    "at head": (0.2, -0.62),
}
"""Where a figure's hand is, for the hand on the right of the picture."""

FIGURES: Final = tuple((left, right) for left in HANDS for right in HANDS)

BACKGROUNDS: Final = (
    "plain",
    "ramp",
    "level stripes",
    "upright stripes",
    "slanted stripes",
    "checks",
    "dots",
    "clouds",
)

QUESTIONS: Final[dict[str, tuple[str, ...]]] = {
    "subject": (*THINGS, *(f"figure, left hand {left}, right hand {right}" for left, right in FIGURES)),
    "background": BACKGROUNDS,
    "column": ("left", "middle", "right"),
    "row": ("top", "middle", "bottom"),
    "size": ("small", "medium", "large"),
}
"""Each question's possible answers; the classifier's outputs are these in order."""

LABELS: Final = tuple(f"{question}: {answer}" for question, answers in QUESTIONS.items() for answer in answers)


def draw(key: Any) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return a picture, uint8 RGB [96, 96, 3], and the answer to each of `QUESTIONS`, int64 [5].

    Args:
        key: Seeds everything; the same key gives the same picture.
    """
    rng = np.random.default_rng(key)
    subject, ground = int(rng.integers(len(QUESTIONS["subject"]))), int(rng.integers(len(BACKGROUNDS)))
    column, row, size = (int(value) for value in rng.integers(0, 3, 3))
    base = _colour(rng)
    picture = _background(BACKGROUNDS[ground], base, rng)
    brush = ImageDraw.Draw(picture)
    is_figure = subject >= len(THINGS)
    radius = (0.15, 0.22, 0.31)[size] * rng.uniform(0.92, 1.08) * _PIXELS * (1.4 if is_figure else 1)
    centre = [float((0.25, 0.5, 0.75)[cell] + rng.uniform(-0.07, 0.07)) * _PIXELS for cell in (column, row)]
    colours = _apart(base, rng)
    for _ in range(int(rng.integers(0, 5))):
        spot = _ellipse_somewhere(rng)
        brush.polygon(spot.ravel().tolist(), fill=_colour(rng))
    parts = _figure(*FIGURES[subject - len(THINGS)], rng) if is_figure else list(THINGS.values())[subject]
    squeeze = rng.uniform(0.88, 1.12, 2)
    for shape, tone in parts:
        seen = place(np.asarray(shape, np.float64) * squeeze, (centre[0], centre[1]), rng.uniform(-1, 1), radius)
        brush.polygon(seen.ravel().tolist(), fill=colours[tone])
    return _photograph(picture, rng), np.array([subject, ground, column, row, size])


def _ellipse_somewhere(rng: np.random.Generator) -> Points:
    x, y = rng.uniform(0, _PIXELS, 2)
    width, height = rng.uniform(2, 9, 2)
    return ellipse((x, y), width, height, rng.uniform(0, 180), 10)


def _figure(left: str, right: str, rng: np.random.Generator) -> list[Part]:
    """A standing, walking or sitting figure; the arms bend as they like."""
    hip, neck = (float(rng.uniform(-0.12, 0.12)), 0.2), (float(rng.uniform(-0.1, 0.1)), -0.45)
    thick = float(rng.uniform(0.08, 0.14))
    stance = rng.uniform(0.05, 0.4, 2)
    parts: list[Part] = []
    for side, spread in ((-1, stance[0]), (1, stance[1])):
        knee = (hip[0] + side * spread, 0.6)
        foot = (knee[0] + float(rng.uniform(-0.12, 0.12)), 1.0)
        parts += [(capsule(hip, knee, thick, thick), 1), (capsule(knee, foot, thick, thick * 0.8), 1)]
    parts.append((capsule(neck, hip, thick * 1.9, thick * 1.6), 0))
    parts.append((ellipse((neck[0] * 1.2, neck[1] - 0.27), 0.17, 0.21), 2))
    for side, hand in ((-1, left), (1, right)):
        shoulder = (neck[0] + side * 0.16, neck[1] + 0.06)
        aim = np.array(HANDS[hand]) * (side, 1) + rng.uniform(-0.09, 0.09, 2) + (neck[0], 0)
        bend = 0.5 * (np.array(shoulder) + aim) + (side * rng.uniform(0.05, 0.28), rng.uniform(-0.05, 0.25))
        elbow, wrist = (float(bend[0]), float(bend[1])), (float(aim[0]), float(aim[1]))
        parts += [
            (capsule(shoulder, elbow, thick * 0.8, thick * 0.7), 0),
            (capsule(elbow, wrist, thick * 0.7, thick * 0.7), 2),
        ]
    return parts


def _background(name: str, base: Colour, rng: np.random.Generator) -> Image.Image:
    y, x = np.mgrid[0:_PIXELS, 0:_PIXELS] / _PIXELS
    pitch, phase = rng.uniform(5, 12), rng.uniform(0, 1)

    def wave(along: NDArray[np.float64]) -> NDArray[np.float64]:
        return ((along * pitch + phase) % 1 < 0.5).astype(np.float64)

    slant = 1 if rng.random() < 0.5 else -1
    patterns: dict[str, Callable[[], NDArray[np.float64]]] = {
        "plain": lambda: np.zeros_like(x),
        "ramp": lambda: np.clip(
            0.5 + (x - 0.5) * rng.uniform(-1, 1) * 1.5 + (y - 0.5) * rng.uniform(-1, 1) * 1.5, 0, 1
        ),
        "level stripes": lambda: wave(y),
        "upright stripes": lambda: wave(x),
        "slanted stripes": lambda: wave((x + slant * y) / 1.4),
        "checks": lambda: np.abs(wave(x) - wave(y)),
        "dots": lambda: (np.hypot((x * pitch) % 1 - 0.5, (y * pitch) % 1 - 0.5) < 0.28).astype(np.float64),
        "clouds": lambda: _clouds(rng),
    }
    other = blend(base, _colour(rng), rng.uniform(0.3, 0.6))
    share = patterns[name]()[..., None]
    return Image.fromarray((np.array(base) * (1 - share) + np.array(other) * share).astype(np.uint8))


def _clouds(rng: np.random.Generator) -> NDArray[np.float64]:
    coarse = Image.fromarray(rng.integers(0, 256, (9, 9), dtype=np.uint8))
    return np.asarray(coarse.resize((_PIXELS, _PIXELS), Image.Resampling.BICUBIC)) / 255


def _apart(base: Colour, rng: np.random.Generator) -> list[Colour]:
    """Return three colours that stand out, little or much, from the background's."""
    colours: list[Colour] = []
    while len(colours) < 3:
        colour = _colour(rng)
        if np.abs(np.array(colour) - base).sum() > 110:
            colours.append(shade(colour, rng.uniform(0.9, 1.1)))
    return colours


def _colour(rng: np.random.Generator) -> Colour:
    r, g, b = (round(255 * c) for c in colorsys.hsv_to_rgb(rng.random(), rng.uniform(0, 0.9), rng.uniform(0.12, 1)))
    return r, g, b


def _photograph(picture: Image.Image, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Reduce, blur, light from one side, add grain."""
    small = picture.reduce(_OVERSAMPLING).filter(ImageFilter.BoxBlur(float(rng.uniform(0, 0.8))))
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE - 0.5
    light = rng.uniform(0.75, 1.2) * (1 + rng.uniform(-0.5, 0.5) * x + rng.uniform(-0.5, 0.5) * y)
    grain = rng.normal(0, rng.uniform(1, 8), (SIDE, SIDE, 3))
    return np.clip(np.asarray(small) * light[..., None] + grain, 0, 255).astype(np.uint8)
