"""What the driver does in each class, frame by frame, and the effect that is planted.

Belongs here: poses, what the hand holds, the slow walk from frame to frame. How it is drawn belongs to
`demo.scenes`.

The planted effect. Two pairs of classes share their pose to the last joint, frame by frame, and differ
only by a small thing in the right hand:

- c0 and c1: the left hand drives, the right one lies low on the trousers, with a glasses case in c0, with a phone
  in c1 (texting).
- c2 and c8: the right hand is at the ear, with a phone in c2, with a brush in c8 (hair).

Phone, case and brush have one outline and one mean colour, but only a phone shows lines of text, and only the phone is
one of the six mask categories. A segmenter that looks at 320 x 240 pixels sees the lines. In a picture of 96 x 96
they are one grey, so a classifier that sees only that gets about half of *both* classes of a pair
right. Hence `PLANTED`: recall of all four must rise with mask features. Every other class has a pose of its
own, large enough for a small picture, so there is little left to gain: c3 and c4 hold a phone too, but their
raised left arm already tells, and so does the arm at the mouth in c6: its cup or bottle stands in the console in
all other classes, so that there being one tells nothing.
"""

from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np

from distracted_pipeline.dataset import STATE_FARM
from distracted_pipeline.demo.canvas import Colour, Point
from distracted_pipeline.demo.drivers import Driver

PLANTED_PAIRS: Final[tuple[tuple[str, str], ...]] = (("c0", "c1"), ("c2", "c8"))
"""Classes that differ only by what is in the right hand."""

PLANTED: Final[tuple[str, ...]] = tuple(sorted(c for pair in PLANTED_PAIRS for c in pair))
"""Classes whose recall mask features must improve; by construction only these."""

PHONE_CLASSES: Final[tuple[str, ...]] = ("c1", "c2", "c3", "c4")

Held = Literal["phone", "case", "brush", "cup", "bottle"]
Side = Literal["right", "left"]


@dataclass(frozen=True)
class Reach:
    """Where a hand is: an offset from the middle of the head, or a place in the cabin.

    Attributes:
        grip: Clockwise from upright, in degrees: how the hand turns what it holds.
        bend: 1 puts the elbow below a hand that reaches forward, -1 above.
        upper: Length of the upper arm as the camera sees it: below 1 where it points at the camera.
    """

    x: float
    y: float
    from_head: bool = False
    grip: float = 0.0
    bend: int = 1
    upper: float = 1.0


@dataclass(frozen=True)
class Pose:
    """Joint targets in scene pixels and degrees.

    Attributes:
        right: The hand on the camera's side.
        left: The hand on the window's side.
        lean: Of the trunk, clockwise (towards the wheel) from upright.
        turn: Of the head, 0 looks ahead in profile, 1 into the camera.
        nod: Of the head, clockwise.
    """

    right: Reach
    left: Reach
    lean: float = -7.0
    turn: float = 0.0
    nod: float = 0.0


@dataclass(frozen=True)
class Car:
    """A car that passes the window; `x` is its middle, `size` its length in pixels."""

    x: float
    y: float
    size: float
    colour: Colour


@dataclass(frozen=True)
class Scene:
    """Everything there is to draw in one frame.

    Attributes:
        held: What is in `hand`.
        holder: What stands in the console: a cup, a bottle or nothing.
        scenery: How far the trees outside have passed, in pixels.
    """

    driver: Driver
    pose: Pose
    held: Held | None = None
    hand: Side = "right"
    holder: Held | None = None
    traffic: tuple[Car, ...] = ()
    scenery: float = 0.0
    flicker: float = 1.0
    shake: Point = (0.0, 0.0)
    noise_seed: int = 0


_WHEEL_LEFT = Reach(474, 138)
_WHEEL_RIGHT = Reach(468, 226)

_POSES: Final[dict[str, Pose]] = {
    "right hand low": Pose(right=Reach(366, 316, grip=74), left=_WHEEL_LEFT),
    "right hand at ear": Pose(right=Reach(-16, 24, True, grip=14, upper=0.62), left=_WHEEL_LEFT, nod=4),
    "texting left": Pose(right=_WHEEL_RIGHT, left=Reach(414, 204, grip=20), lean=-6, nod=12),
    "left hand at ear": Pose(right=_WHEEL_RIGHT, left=Reach(68, 22, True, grip=6, upper=0.9), lean=-11, nod=-8),
    "at the radio": Pose(right=Reach(520, 318), left=_WHEEL_LEFT, lean=9, turn=0.15, nod=8),
    "at the mouth": Pose(right=Reach(94, 30, True, grip=-64, upper=0.9), left=_WHEEL_LEFT, lean=-17, nod=-20),
    "reaching behind": Pose(right=Reach(66, 306, upper=0.6), left=_WHEEL_LEFT, lean=-16, turn=0.75, nod=-8),
    "turned": Pose(right=Reach(402, 132, grip=-30, upper=0.9), left=_WHEEL_LEFT, lean=1, turn=0.95),
}
_POSE_OF: Final[dict[str, str]] = {
    "c0": "right hand low",
    "c1": "right hand low",
    "c2": "right hand at ear",
    "c3": "texting left",
    "c4": "left hand at ear",
    "c5": "at the radio",
    "c6": "at the mouth",
    "c7": "reaching behind",
    "c8": "right hand at ear",
    "c9": "turned",
}
_POSE_NAMES = tuple(_POSES)

_CAR_COLOURS: tuple[Colour, ...] = (
    (176, 60, 56), (70, 96, 150), (230, 230, 232), (60, 64, 70), (150, 156, 162), (196, 170, 90),
)  # fmt: skip
_STEP = np.array([7.0, 6.0, 4.0, 4.0, 1.6, 0.04, 3.0, 2.0, 1.5])
_MEMORY = 0.6


def scene_of(driver: Driver, classname: str, frame: int, seed: int = 0) -> Scene:
    """Return frame number `frame` of a driver in a class; neighbouring frames are near-duplicates."""
    number = STATE_FARM.class_ids.index(classname)
    name = _POSE_OF[classname]
    walk = _walk([seed, driver.number, _POSE_NAMES.index(name)], frame)
    rng = np.random.default_rng([seed, driver.number, number, frame])
    base = _POSES[name]
    return Scene(
        driver=driver,
        pose=replace(
            base,
            right=replace(base.right, x=base.right.x + walk[0], y=base.right.y + walk[1]),
            left=replace(base.left, x=base.left.x + walk[2], y=base.left.y + walk[3]),
            lean=base.lean + walk[4],
            turn=float(np.clip(base.turn + walk[5], 0, 1)),
            nod=base.nod + walk[6],
        ),
        held=_held(driver, classname),
        hand="left" if classname in ("c3", "c4") else "right",
        holder=None if classname == "c6" else _vessel(driver),
        traffic=_traffic([seed, driver.number, number], frame),
        scenery=float(rng.uniform(0, 640)),
        flicker=float(rng.uniform(0.94, 1.06)),
        shake=(float(walk[7]), float(walk[8])),
        noise_seed=int(rng.integers(2**31)),
    )


def _held(driver: Driver, classname: str) -> Held | None:
    if classname in PHONE_CLASSES:
        return "phone"
    if classname == "c0":
        return "case"
    if classname == "c8":
        return "brush"
    if classname == "c6":
        return _vessel(driver)
    return None


def _vessel(driver: Driver) -> Held:
    return "cup" if driver.number % 2 else "bottle"


def _walk(key: list[int], frame: int) -> np.ndarray:
    """Return the offsets of one frame: a walk that wanders but comes back (AR(1), stationary)."""
    steps = np.random.default_rng([*key, 1]).standard_normal((frame + 1, len(_STEP)))
    state = steps[0]
    for step in steps[1:]:
        state = _MEMORY * state + (1 - _MEMORY**2) ** 0.5 * step
    return state * _STEP


def _traffic(key: list[int], frame: int) -> tuple[Car, ...]:
    """Return the cars in the window: each drives through it over some frames."""
    rng = np.random.default_rng([*key, 2])
    cars = []
    for _ in range(4):
        start, speed = rng.uniform(-900, 700), rng.uniform(90, 220)
        colour = _CAR_COLOURS[int(rng.integers(len(_CAR_COLOURS)))]
        size, y = rng.uniform(110, 190), rng.uniform(118, 140)
        x = (start + speed * frame) % 1600 - 300
        cars.append(Car(x, y, size, colour))
    return tuple(cars)
