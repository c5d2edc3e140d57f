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

_PHONE_SIZE = (21, 35)


def draw_thing(canvas: Canvas, scene: Scene, palm: Point, grip: float, size: float) -> None:
    """Draw what a scene has in hand, standing out of the palm."""
    driver = scene.driver
    if scene.held == "cup":
        draw_cup(canvas, tuple(place([(2, -18)], palm, grip, size)[0]), grip, size, driver.vessel)
    elif scene.held == "bottle":
        draw_bottle(canvas, tuple(place([(2, -22)], palm, grip, size)[0]), grip, size, driver.vessel)
    else:
        _phone_or_comb(canvas, scene, tuple(place([(1, -15)], palm, grip, size)[0]), grip, size)


def _phone_or_comb(canvas: Canvas, scene: Scene, centre: Point, grip: float, size: float) -> None:
    """Two things of one outline, in the colour of the trousers; see `demo.poses` for why.

    Edges and teeth are a light and a dark line side by side: plain to see at full size, nothing at all in a picture
    that is made small.
    """
    phone = scene.held == "phone"
    cloth = scene.driver.trousers
    light, dark = shade(cloth, 1.55), shade(cloth, 0.55)
    w, h = _PHONE_SIZE

    def part(at: Point, width: float, height: float, rounding: float = 0.0) -> Points:
        return place(box(at, width, height, 0, rounding), centre, grip, size)

    canvas.fill(part((0, 0), w, h, 4), light, PHONE if phone else NONE)
    canvas.fill(part((0, 0), w - 2, h - 2, 3.5), dark)
    canvas.fill(part((0, 0), w - 4.4, h - 4.4, 3), cloth)
    if phone:
        lens = (w / 2 - 6, -h / 2 + 6.5)
        canvas.fill(part(lens, 6, 6, 2), dark)
        canvas.fill(part(lens, 3.4, 3.4, 1), light)
    else:
        for k in range(7):
            y = -h / 2 + 6 + 3.8 * k
            canvas.fill(part((-2, y), w - 10, 1.1), light)
            canvas.fill(part((-2, y + 1.1), w - 10, 1.1), dark)


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
