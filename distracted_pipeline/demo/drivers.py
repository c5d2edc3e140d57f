"""How each driver, seat, car and camera looks: seeded, the same for a driver in every frame.

Belongs here: whatever stays while a driver is filmed, and which drivers a demo has. They are couriers of one firm, in
its orange and in its cars: what they do then differs more than who they are, even to a tiny network. What the driver
does belongs to `demo.poses`, how it is drawn to `demo.scenes`.
"""

import colorsys
from dataclasses import dataclass
from typing import Literal

import numpy as np

from distracted_pipeline.dataset import STATE_FARM
from distracted_pipeline.demo.canvas import Camera, Colour, blend
from distracted_pipeline.errors import DistractedError

FEWEST_DRIVERS = 3
_HELD_BACK = 3 / 14
_GOLDEN = 0.618_033_988_75

_SKINS: tuple[Colour, ...] = (
    (240, 205, 180), (226, 180, 148), (206, 156, 120), (178, 126, 92), (138, 92, 66), (104, 70, 52),
)  # fmt: skip
_HAIRS: tuple[Colour, ...] = ((34, 28, 26), (58, 40, 30), (92, 62, 40), (40, 36, 40), (70, 44, 34), (112, 84, 52))
_TROUSERS: tuple[Colour, ...] = ((44, 50, 68), (46, 46, 54), (40, 48, 62))
_SEATS: tuple[Colour, ...] = ((104, 106, 112), (112, 108, 106), (98, 102, 110))
_DOORS: tuple[Colour, ...] = ((70, 74, 80), (76, 74, 74), (64, 68, 74))

Hair = Literal["short", "long", "bun", "receding"]
Pattern = Literal["plain", "stripes", "bands", "yoke"]


@dataclass(frozen=True)
class Driver:
    """One driver in one car under one camera.

    Attributes:
        number: Seeds everything about the driver; Kaggle's `p002` is 2.
        scale: Body size, 1 is average.
        girth: Width of trunk and limbs, 1 is average.
        vessel: Colour of the driver's cup or bottle.
    """

    number: int
    scale: float
    girth: float
    skin: Colour
    hair: Colour
    hair_style: Hair
    beard: bool
    glasses: bool
    shirt: Colour
    shirt_accent: Colour
    pattern: Pattern
    long_sleeves: bool
    trousers: Colour
    seat: Colour
    door: Colour
    vessel: Colour
    outside: Colour
    camera: Camera


def driver_look(number: int, seed: int = 0) -> Driver:
    """Return the look of driver `number`; the same for the same two numbers, in any data set."""
    rng = np.random.default_rng([seed, number])

    def spread(steps: float) -> float:
        """Far from the neighbours' values, as independent draws of a dozen drivers would not be."""
        return (number * _GOLDEN * steps + seed * 0.37) % 1.0

    def one_of(colours: tuple[Colour, ...], at: float) -> Colour:
        base = np.array(colours[int(at * len(colours))]) + rng.integers(-7, 8, 3)
        r, g, b = (int(c) for c in np.clip(base, 0, 255))
        return r, g, b

    shirt = _hsv(0.06 + 0.035 * spread(1), rng.uniform(0.88, 1.0), 0.84 + 0.14 * spread(3))
    styles: tuple[Hair, ...] = ("short", "long", "short", "bun", "receding", "long")
    patterns: tuple[Pattern, ...] = ("plain", "stripes", "yoke", "bands")
    style = styles[int(spread(5) * len(styles))]
    return Driver(
        number=number,
        scale=rng.uniform(0.93, 1.06),
        girth=rng.uniform(0.85, 1.25),
        skin=one_of(_SKINS, spread(7)),
        hair=one_of(_HAIRS, spread(2)),
        hair_style=style,
        beard=style in ("short", "receding") and rng.random() < 0.4,
        glasses=rng.random() < 0.3,
        shirt=shirt,
        shirt_accent=blend(shirt, (250, 248, 240) if sum(shirt) < 380 else (40, 42, 52), 0.7),
        pattern=patterns[int(spread(4) * len(patterns))],
        long_sleeves=True,
        trousers=one_of(_TROUSERS, spread(6)),
        seat=one_of(_SEATS, spread(9)),
        door=one_of(_DOORS, spread(8)),
        vessel=_hsv(spread(11), 0.55, 0.8),
        outside=_hsv(0.22 + 0.25 * spread(10), 0.3, 0.75),
        camera=Camera(
            zoom=rng.uniform(1.04, 1.1),
            shift=(rng.uniform(4, 20), rng.uniform(-6, 6)),
            roll=rng.uniform(-1.0, 1.0),
            gain=1.0 + 0.15 * spread(13),
            warmth=rng.uniform(-0.06, 0.06),
            slope=rng.uniform(0.25, 0.4),
            blur=rng.uniform(0.5, 1.0),
            noise=rng.uniform(4.0, 7.0),
        ),
    )


def demo_drivers(count: int) -> tuple[str, ...]:
    """Choose `count` of Kaggle's 26 drivers so that each part of the original split has some.

    Raises:
        DistractedError: Fewer than three drivers, or more than Kaggle has.
    """
    if not FEWEST_DRIVERS <= count <= len(STATE_FARM.drivers):
        raise DistractedError(
            f"drivers={count}: the demo draws between {FEWEST_DRIVERS} and {len(STATE_FARM.drivers)} drivers. "
            "Type `distracted demo` for the usual number."
        )
    held = max(1, round(count * _HELD_BACK))
    split = dict(STATE_FARM.split)
    dev, test = split["dev"][:held], split["test"][:held]
    return (*split["train"][: count - len(dev) - len(test)], *dev, *test)


def _hsv(hue: float, saturation: float, value: float) -> Colour:
    r, g, b = (round(255 * c) for c in colorsys.hsv_to_rgb(hue % 1, saturation, value))
    return r, g, b
