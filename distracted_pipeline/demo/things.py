"""What a hand can hold; the hand itself belongs to `demo.figure`."""

from distracted_pipeline.demo.canvas import (
    BOTTLE,
    CUP,
    NONE,
    PHONE,
    Canvas,
    Colour,
    Point,
    Points,
    blend,
    box,
    place,
    shade,
)
from distracted_pipeline.demo.poses import Scene

_FLAT_SIZE = (30, 54)
"""Width and height of a phone, a case or a brush."""
_LINE_PITCH = 7
"""From one line of text to the next: more than three pixels of a picture 240 high, less than 1.5 of one 96 high."""
_BLEED = 0.2
"""Pillow fills the pixels under an outline too: lines are drawn thinner by this, so light and dark balance."""


def draw_thing(canvas: Canvas, scene: Scene, palm: Point, grip: float, size: float) -> None:
    """Draw what a scene has in hand, standing out of the palm."""
    driver = scene.driver
    if scene.held == "cup":
        draw_cup(canvas, tuple(place([(2, -18)], palm, grip, size)[0]), grip, size, driver.vessel)
    elif scene.held == "bottle":
        draw_bottle(canvas, tuple(place([(2, -22)], palm, grip, size)[0]), grip, size, driver.vessel)
    else:
        _flat_thing(canvas, tuple(place([(1, -24)], palm, grip, size)[0]), grip, size, scene.held == "phone")


def _flat_thing(canvas: Canvas, centre: Point, grip: float, size: float, phone: bool) -> None:
    """Two things of one outline and one mean colour: only a phone shows lines of text.

    Plain to see at full size, one grey in a picture that is made small; see `demo.poses` for why.
    """
    w, h = _FLAT_SIZE
    light, dark = (190, 202, 216), (58, 64, 76)

    def part(at: Point, width: float, height: float, rounding: float = 0.0) -> Points:
        return place(box(at, width, height, 0, rounding), centre, grip, size)

    canvas.fill(part((0, 0), w, h, 4), blend(light, dark, 0.5), PHONE if phone else NONE)
    if not phone:
        return
    width, height = w - 4, h - 4
    canvas.fill(part((0, 0), width, height, 2), dark)
    count = round(height / _LINE_PITCH)
    pitch = height / count
    for k in range(count):
        canvas.fill(part((0.0, (k + 0.5) * pitch - height / 2), width, pitch / 2 - _BLEED), light)


def draw_cup(canvas: Canvas, centre: Point, angle: float, size: float, colour: Colour) -> None:
    """Draw a paper cup with a lid and a coloured sleeve."""
    canvas.fill(place([(-15, -22), (15, -22), (11, 24), (-11, 24)], centre, angle, size), (236, 232, 224), CUP)
    canvas.fill(place([(-14, -8), (14, -8), (12, 12), (-12, 12)], centre, angle, size), colour)
    canvas.fill(place(box((0, -24), 34, 7, 0, 2), centre, angle, size), (60, 48, 42), CUP)


def draw_bottle(canvas: Canvas, centre: Point, angle: float, size: float, colour: Colour) -> None:
    """Draw a plastic bottle with a coloured label."""
    body = [(-5, -38), (5, -38), (6, -28), (13, -18), (13, 30), (-13, 30), (-13, -18), (-6, -28)]
    canvas.fill(place(body, centre, angle, size), blend(colour, (214, 232, 240), 0.65), BOTTLE)
    canvas.fill(place(box((0, 6), 26, 20), centre, angle, size), colour)
    canvas.fill(place(box((0, -40), 12, 8, 0, 2), centre, angle, size), shade(colour, 0.7), BOTTLE)
    canvas.fill(place(box((-7, 4), 3, 44), centre, angle, size), (238, 246, 250))
