"""The driver: joints, clothes, head, arms and hands.

Where the hands are and where the head looks is decided in `demo.poses`; skin, hair and clothes in `demo.drivers`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from distracted_pipeline.demo.canvas import (
    PERSON,
    Canvas,
    Colour,
    Point,
    Points,
    blend,
    box,
    capsule,
    ellipse,
    keyhole,
    place,
    shade,
    smooth,
)
from distracted_pipeline.demo.drivers import Driver
from distracted_pipeline.demo.poses import Pose, Reach, Scene, Side
from distracted_pipeline.demo.things import draw_thing

_HIP: Point = (236, 350)
_UPPER_ARM, _FOREARM = 122, 124
_DARK: Colour = (26, 27, 30)


@dataclass(frozen=True)
class Body:
    """Where the joints of a driver in a pose are."""

    shoulder: Point
    right_shoulder: Point
    left_shoulder: Point
    neck: Point
    head: Point


def body_in(driver: Driver, pose: Pose) -> Body:
    """Return the joints of a driver in a pose, in scene pixels."""
    s, lean = driver.scale, math.radians(pose.lean)
    along = (math.sin(lean), -math.cos(lean))
    shoulder = (_HIP[0] + 162 * s * along[0], _HIP[1] + 162 * s * along[1])
    neck = (shoulder[0] + 10 * s, shoulder[1] - 14 * s)
    nod = math.radians(pose.nod + pose.lean / 2)
    head = (neck[0] + 64 * s * math.sin(nod) + 8 * s, neck[1] - 64 * s * math.cos(nod))
    return Body(
        shoulder=shoulder,
        right_shoulder=(shoulder[0] - 8 * s, shoulder[1] + 16 * s),
        left_shoulder=(shoulder[0] + 30 * s, shoulder[1] + 2 * s),
        neck=neck,
        head=head,
    )


def draw_legs(canvas: Canvas, driver: Driver) -> None:
    """Draw both legs; folds of the cloth are the same in all frames of a driver."""
    g, cloth = driver.girth, driver.trousers
    canvas.limb((500, 320), (560, 450), (27 * g, 20 * g), shade(cloth, 0.7), PERSON)
    canvas.limb((262, 336), (500, 318), (40 * g, 29 * g), shade(cloth, 0.8), PERSON)
    canvas.limb((468, 338), (520, 470), (30 * g, 22 * g), shade(cloth, 0.9), PERSON)
    canvas.fill(smooth([(214, 306), (300, 280), (480, 296), (504, 330), (480, 370), (230, 396)], 3), cloth, PERSON)
    rng = np.random.default_rng(driver.number)
    for _ in range(9):
        x, y, length = rng.uniform(280, 470), rng.uniform(300, 366), rng.uniform(14, 30)
        fold = shade(cloth, rng.choice([0.8, 1.22]))
        canvas.fill(ellipse((x, y), length, rng.uniform(2, 4), rng.uniform(-30, 30), 12), fold)


def draw_trunk(canvas: Canvas, driver: Driver, body: Body) -> None:
    """Draw the trunk with its shirt's pattern and the belt."""
    g, s = driver.girth, driver.scale
    top, hip = body.shoulder, _HIP
    wide = 24 * (g - 1)
    back = [(top[0] - 26 * s, top[1] - 2), (top[0] - 42 * s - wide, top[1] + 44), (hip[0] - 52 - wide, hip[1] - 40),
            (hip[0] - 50 - wide, hip[1] + 24)]  # fmt: skip
    front = [(top[0] + 34 * s, top[1] - 4), (top[0] + 60 * s + wide, top[1] + 46),
             (hip[0] + 62 + 2 * wide, hip[1] - 44), (hip[0] + 58 + wide, hip[1] + 6)]  # fmt: skip
    canvas.fill(smooth([*back, *reversed(front)], 3), shade(driver.shirt, 0.94), PERSON)

    def across(a: float, b: float, colour: Colour) -> None:
        """A band around the trunk between two heights, 0 at the shoulders and 1 at the hip."""
        left, right = np.array(back), np.array(front)
        height = np.array([0, 0.32, 0.72, 1])
        quad = [
            (float(np.interp(t, height, side[:, 0])) + inset, float(np.interp(t, height, side[:, 1])))
            for side, ts, inset in ((left, (a, b), 9), (right, (b, a), -9))
            for t in ts
        ]
        canvas.fill(quad, colour)

    if driver.pattern == "stripes":
        for k in range(7):
            across(0.14 + 0.11 * k, 0.18 + 0.11 * k, driver.shirt_accent)
    elif driver.pattern == "bands":
        across(0.36, 0.52, driver.shirt_accent)
        across(0.58, 0.62, driver.shirt_accent)
    elif driver.pattern == "yoke":
        across(0.08, 0.27, driver.shirt_accent)
    belt = [(top[0] + 18, top[1] - 6), (top[0] + 30, top[1] - 6), (hip[0] + 66, hip[1] - 8), (hip[0] + 52, hip[1] + 2)]
    canvas.fill(belt, (62, 64, 70))


_PROFILE: list[Point] = [
    (14, -46), (34, -32), (38, -14), (44, 0), (55, 10), (44, 17), (46, 27), (42, 34), (38, 46), (22, 54), (-2, 42),
    (-14, 20), (-18, -16), (-4, -46),
]  # fmt: skip
_FRONTAL: list[Point] = [
    (18, -46), (34, -34), (40, -16), (41, -2), (41, 10), (39, 20), (36, 29), (30, 40), (20, 50), (0, 57), (-20, 50),
    (-36, 28), (-40, -10), (-22, -44),
]  # fmt: skip
_HAIR_PROFILE: list[Point] = [
    (32, -34), (30, -52), (4, -66), (-30, -58), (-50, -28), (-50, 6), (-38, 34), (-22, 36), (-18, 12), (-14, -6),
    (-2, -2), (2, -18), (14, -36),
]  # fmt: skip
_HAIR_FRONTAL: list[Point] = [
    (38, -24), (38, -46), (16, -64), (-16, -64), (-40, -46), (-46, -20), (-46, 6), (-41, 10), (-39, -6), (-36, -20),
    (-24, -34), (0, -40), (22, -38),
]  # fmt: skip


def draw_head(canvas: Canvas, driver: Driver, pose: Pose, body: Body) -> None:
    """Draw neck, face and hair: every outline lies between one in profile and one from the front."""
    s, turn = driver.scale, pose.turn
    angle = pose.nod + pose.lean / 4 + 2

    def at(points: Points) -> Points:
        return place(points, body.head, angle, s)

    def between(profile: Sequence[Point], frontal: Sequence[Point]) -> Points:
        return np.array(profile) * (1 - turn) + np.array(frontal) * turn

    skin, hair = driver.skin, driver.hair
    if driver.hair_style == "long":
        fall = [(-10, -50), (-46, -40), (-60, 10), (-58, 70), (-40, 96), (-14, 80), (-4, 20)]
        frontal = [(10, -50), (-48, -40), (-56, 10), (-54, 70), (-40, 92), (40, 84), (50, 10)]
        canvas.fill(at(smooth(between(fall, frontal), 2)), shade(hair, 0.85), PERSON)
    elif driver.hair_style == "bun":
        canvas.fill(at(ellipse((-54 + 30 * turn, -24 - 40 * turn), 20, 19)), shade(hair, 0.9), PERSON)
    nape = body.neck
    canvas.limb(
        (nape[0] - 4, nape[1] + 12), (body.head[0] - 8, body.head[1] + 26), (25 * s, 22 * s), shade(skin, 0.9), PERSON
    )
    canvas.fill(at(smooth(between(_PROFILE, _FRONTAL), 3)), skin, PERSON)
    cheek = between([(-12, -20), (8, 10), (6, 40), (-6, 34)], [(-36, -20), (-24, 20), (-22, 46), (-34, 22)])
    canvas.fill(at(smooth(cheek, 2)), shade(skin, 0.91))
    if driver.beard:
        beard = between([(46, 26), (40, 46), (22, 54), (-4, 42), (-10, 20), (10, 32), (30, 34)],
                        [(36, 26), (20, 51), (0, 57), (-22, 50), (-36, 22), (-20, 32), (16, 34)])  # fmt: skip
        canvas.fill(at(smooth(beard, 2)), blend(hair, skin, 0.25))
    _face(canvas, driver, turn, at)
    cap = between(_HAIR_PROFILE, _HAIR_FRONTAL)
    if driver.hair_style == "receding":
        cap[[0, 1, 11, 12]] += np.array([(-20, -4), (-16, 4), (-10, -10), (-16, -8)])
    canvas.fill(at(smooth(cap, 2)), hair, PERSON)
    canvas.fill(at(ellipse((-8, -46), 22, 6, -12)), shade(hair, 1.25))
    ear = (-8 - 32 * turn, 4)
    canvas.fill(at(ellipse(ear, 8, 13, -8)), shade(skin, 0.97), PERSON)
    canvas.fill(at(ellipse((ear[0] + 1, ear[1] + 1), 4, 8, -8)), shade(skin, 0.8))


def _face(canvas: Canvas, driver: Driver, turn: float, at: Callable[[Points], Points]) -> None:
    """Eyes, brows, nose, mouth, glasses."""
    lash, lip = (40, 32, 30), blend(driver.skin, (150, 60, 60), 0.5)
    eyes = [(31 - 46 * turn, -7.0)] + ([(22 - 4 * turn + 14 * (1 - turn), -7.0)] if turn > 0.4 else [])
    for x, y in eyes:
        canvas.fill(at(ellipse((x, y), 6.5, 3.6)), (236, 232, 226))
        canvas.fill(at(ellipse((x + 2 * (1 - turn), y), 2.8, 3.4)), lash)
        canvas.fill(at(box((x, y - 11), 16, 3.5, -6)), shade(driver.hair, 0.9))
        if driver.glasses:
            canvas.fill(at(keyhole(box((x, y), 23, 16, 0, 4), box((x, y), 19, 12, 0, 3))), _DARK)
    if driver.glasses:
        canvas.fill(at(capsule((eyes[0][0] - 11, -8), (-6 - 32 * turn, -5), 1.5, 1.5)), _DARK)
    nose = 46 * (1 - turn) + 4 * turn
    canvas.fill(at(ellipse((nose, 13), 5, 3)), shade(driver.skin, 0.84))
    canvas.fill(at(ellipse((39 - 37 * turn, 30), 7 + 5 * turn, 2.8)), lip)


def draw_arm(canvas: Canvas, scene: Scene, body: Body, side: Side) -> None:
    """Draw one arm down to the fingers, with what its hand holds."""
    driver, pose = scene.driver, scene.pose
    near = side == "right"
    reach = pose.right if near else pose.left
    shoulder = body.right_shoulder if near else body.left_shoulder
    s, g = driver.scale, 0.5 + driver.girth / 2
    size = 1.0 if near else 0.88
    elbow, wrist = _elbow(shoulder, _target(reach, body, s), reach, s)
    sleeve = shade(driver.shirt, 1.0 if near else 0.8)
    skin = shade(driver.skin, 1.0 if near else 0.86)
    canvas.limb(elbow, wrist, (17 * g * size, 11 * g * size), sleeve if driver.long_sleeves else skin, PERSON)
    cuff = 1.0 if driver.long_sleeves else 0.66
    if not driver.long_sleeves:
        canvas.limb(shoulder, elbow, (22 * g * size, 16.5 * g * size), skin, PERSON)
    hem = (shoulder[0] + cuff * (elbow[0] - shoulder[0]), shoulder[1] + cuff * (elbow[1] - shoulder[1]))
    canvas.limb(shoulder, hem, (27 * g * size, (18 if driver.long_sleeves else 22) * g * size), sleeve, PERSON)
    _hand(
        canvas, scene, wrist, (wrist[0] - elbow[0], wrist[1] - elbow[1]), reach.grip, skin, size * s, scene.hand == side
    )


def _target(reach: Reach, body: Body, scale: float) -> Point:
    if not reach.from_head:
        return reach.x, reach.y
    return body.head[0] + reach.x * scale, body.head[1] + reach.y * scale


def _elbow(shoulder: Point, wrist: Point, reach: Reach, scale: float) -> tuple[Point, Point]:
    """Return elbow and wrist of an arm that reaches for `wrist`, or as near as it can."""
    upper, fore = _UPPER_ARM * reach.upper * scale, _FOREARM * scale
    dx, dy = wrist[0] - shoulder[0], wrist[1] - shoulder[1]
    distance = max(math.hypot(dx, dy), 1e-6)
    reached = min(distance, 0.985 * (upper + fore))
    ux, uy = dx / distance, dy / distance
    along = (upper**2 - fore**2 + reached**2) / (2 * reached)
    out = reach.bend * math.sqrt(max(upper**2 - along**2, 0))
    elbow = (shoulder[0] + along * ux - out * uy, shoulder[1] + along * uy + out * ux)
    return elbow, (shoulder[0] + reached * ux, shoulder[1] + reached * uy)


def _hand(
    canvas: Canvas, scene: Scene, wrist: Point, along: Point, grip: float, skin: Colour, size: float, holds: bool
) -> None:
    """Draw a palm, what it holds, and the fingers around that: the same hand whether it holds something or not."""
    length = max(math.hypot(*along), 1e-6)
    palm = (wrist[0] + along[0] / length * 11 * size, wrist[1] + along[1] / length * 11 * size)
    canvas.limb(wrist, palm, (11 * size, 14 * size), skin, PERSON)
    if holds and scene.held is not None:
        draw_thing(canvas, scene, palm, grip, size)
    for k in range(4):
        root, tip = place([(-12, 7.5 * k - 8), (9, 7.0 * k - 9)], palm, grip, size)
        canvas.limb(tuple(root), tuple(tip), (5.2 * size, 4.2 * size), shade(skin, 0.97 - 0.03 * (k % 2)), PERSON)
