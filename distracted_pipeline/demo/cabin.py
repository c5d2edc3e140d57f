"""Car, seat and the world outside, from the wall behind the driver to the console in front.

People and what they hold belong to `demo.figure` and `demo.things`.
"""

import math

import numpy as np

from distracted_pipeline.demo.canvas import (
    CAR,
    CHAIR,
    NONE,
    Canvas,
    Colour,
    blend,
    box,
    ellipse,
    keyhole,
    place,
    shade,
    smooth,
)
from distracted_pipeline.demo.drivers import Driver
from distracted_pipeline.demo.poses import Car, Scene
from distracted_pipeline.demo.things import draw_bottle, draw_cup

_DARK: Colour = (26, 27, 30)


def draw_outside(canvas: Canvas, scene: Scene) -> None:
    """Draw sky, trees, road and cars, nearly washed out by the light."""
    haze: Colour = (246, 250, 252)
    canvas.fill([(-80, -80), (720, -80), (720, 260), (-80, 260)], (238, 245, 250))
    trees = blend(scene.driver.outside, haze, 0.45)
    crowns = [(-80.0, 130.0)]
    for k in range(14):
        x = (k * 71 - scene.scenery) % 980 - 120
        top = 40 + 34 * math.sin(k * 2.3)
        crowns += [(x, top + 40), (x + 30, top), (x + 60, top + 36)]
    crowns = [crowns[0], *sorted(crowns[1:]), (720.0, 130.0)]
    canvas.fill(crowns, trees)
    canvas.fill([(-80, 118), (720, 112), (720, 260), (-80, 260)], (206, 208, 208))
    canvas.fill([(-80, 150), (720, 144), (720, 150), (-80, 156)], (236, 236, 232))
    for car in sorted(scene.traffic, key=lambda c: c.y):
        _car(canvas, car)


def _car(canvas: Canvas, car: Car) -> None:
    paintwork = blend(car.colour, (246, 250, 252), 0.25)
    h = car.size * 0.3
    shape = [
        (-0.50, 0.0), (-0.49, -0.45), (-0.34, -0.56), (-0.2, -1.0), (0.16, -1.0), (0.32, -0.56), (0.48, -0.42),
        (0.5, 0.0),
    ]  # fmt: skip
    outline = np.array([(x * car.size, y * h) for x, y in shape])
    canvas.fill(place(outline, (car.x, car.y)), paintwork, CAR)
    glass = np.array([(-0.29, -0.56), (-0.18, -0.9), (0.14, -0.9), (0.26, -0.56)]) * (car.size, h)
    canvas.fill(place(glass, (car.x, car.y)), blend((60, 74, 88), (246, 250, 252), 0.3))
    for x in (-0.29, 0.3):
        canvas.fill(ellipse((car.x + x * car.size, car.y - 1), h * 0.27, h * 0.27), (52, 52, 56), CAR)


def draw_cabin(canvas: Canvas, driver: Driver) -> None:
    """Draw the walls around the windows, door panel, dashboard."""
    wall = shade(driver.door, 0.62)
    rear = smooth([(-60, 40), (60, 26), (118, 34), (128, 120), (40, 136), (-60, 140)], 2)
    side = smooth([(236, 44), (300, 8), (470, -6), (640, 16), (700, 60), (700, 132), (640, 158), (230, 166)], 2)
    canvas.fill(keyhole([(-80, -80), (180, -80), (180, 600), (-80, 600)], rear), wall, NONE)
    canvas.fill(keyhole([(180, -80), (720, -80), (720, 600), (180, 600)], side), wall, NONE)
    canvas.fill([(180, -80), (214, -80), (226, 210), (184, 260)], shade(wall, 0.8))
    canvas.fill([(222, 166), (700, 156), (700, 420), (222, 420)], driver.door)
    canvas.fill([(222, 166), (700, 156), (700, 170), (222, 180)], shade(driver.door, 1.25))
    canvas.fill(smooth([(330, 236), (560, 226), (590, 250), (560, 272), (330, 276)], 2), shade(driver.door, 0.8))
    canvas.fill(box((420, 208), 54, 12, -2, 5), shade(driver.door, 1.5))
    canvas.fill(smooth([(520, 190), (560, 150), (720, 128), (720, 470), (560, 470), (524, 260)], 2), shade(wall, 0.72))
    canvas.fill(smooth([(548, 170), (600, 140), (720, 130), (720, 170), (600, 180)], 2), shade(wall, 1.05))
    canvas.fill([(-80, 400), (720, 410), (720, 600), (-80, 600)], _DARK)


def draw_seat(canvas: Canvas, driver: Driver) -> None:
    """Draw headrest, backrest and cushion, behind the driver."""
    dark, seat, light = shade(driver.seat, 0.78), driver.seat, shade(driver.seat, 1.1)
    canvas.fill(box((150, 150), 40, 40, -10), shade(dark, 0.7), CHAIR)
    canvas.fill(smooth([(108, 62), (150, 42), (196, 56), (206, 130), (168, 152), (116, 140)], 2), dark, CHAIR)
    canvas.fill(smooth([(112, 64), (146, 48), (176, 60), (182, 128), (150, 142), (120, 134)], 2), seat)
    back = [(84, 190), (110, 148), (190, 146), (226, 190), (262, 330), (280, 420), (150, 440), (104, 350), (86, 260)]
    canvas.fill(smooth(back, 2), dark, CHAIR)
    canvas.fill(smooth([(96, 200), (118, 160), (160, 158), (186, 240), (214, 400), (160, 420), (118, 340)], 2), seat)
    canvas.fill(smooth([(118, 180), (146, 168), (168, 240), (186, 330), (164, 340), (136, 260)], 2), light)
    cushion = [(130, 396), (250, 372), (430, 368), (474, 392), (470, 440), (380, 500), (150, 500)]
    canvas.fill(smooth(cushion, 2), dark, CHAIR)
    canvas.fill(smooth([(150, 404), (260, 384), (430, 380), (452, 396), (400, 420), (160, 440)], 2), seat)


def draw_wheel(canvas: Canvas) -> None:
    """Draw the steering wheel."""
    outer = ellipse((498, 190), 42, 90, -12, 48)
    inner = ellipse((499, 190), 29, 76, -12, 48)
    canvas.fill([(500, 186), (580, 210), (580, 240), (500, 206)], (36, 36, 40), NONE)
    canvas.fill(keyhole(outer, inner), (40, 40, 44), NONE)
    canvas.fill(smooth([(484, 170), (512, 164), (522, 196), (508, 224), (484, 212)], 2), (52, 52, 57), NONE)
    for end in ((480, 140), (522, 168), (494, 256)):
        canvas.limb((500, 194), end, (7, 5), (46, 46, 50), NONE)


def draw_console(canvas: Canvas, scene: Scene) -> None:
    """Draw what is between driver and passenger: radio, gear lever, holder with a cup or bottle."""
    driver = scene.driver
    trim = shade(driver.door, 0.5)
    canvas.fill(
        smooth([(500, 288), (556, 262), (720, 250), (720, 600), (440, 600), (446, 456), (500, 410)], 2), trim, NONE
    )
    canvas.fill(box((548, 322), 60, 46, -8, 5), (22, 26, 32))
    canvas.fill(box((548, 317), 46, 22, -8, 2), (74, 128, 150))
    for k in range(3):
        canvas.fill(ellipse((529 + 18 * k, 358 - 3 * k), 6, 6), (120, 122, 126))
    canvas.limb((500, 470), (512, 428), (8, 11), (60, 60, 64), NONE)
    canvas.fill(ellipse((566, 436), 24, 10), _DARK)
    if scene.holder == "cup":
        draw_cup(canvas, (566, 410), 2, 1.1, driver.vessel)
    elif scene.holder == "bottle":
        draw_bottle(canvas, (566, 404), 2, 1.1, driver.vessel)


def draw_armrest(canvas: Canvas, driver: Driver) -> None:
    """Draw the seat's near side, in front of the hip."""
    canvas.fill(
        smooth([(150, 360), (214, 346), (240, 372), (330, 396), (330, 430), (170, 440)], 2),
        shade(driver.seat, 0.9),
        CHAIR,
    )
    canvas.fill(
        smooth([(164, 366), (212, 354), (236, 380), (312, 402), (300, 412), (180, 400)], 2), shade(driver.seat, 1.05)
    )
