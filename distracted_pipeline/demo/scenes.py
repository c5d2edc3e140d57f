"""The painter: a scene becomes a picture and its exact label map.

Belongs here: the order of drawing, back to front as the camera at the passenger's side sees it: the driver
faces right, the right arm is nearest, the left one is at the window. How the parts look belongs to `demo.cabin`,
`demo.figure` and `demo.things`; what happens in a frame to `demo.poses`, who is in it to `demo.drivers`.
"""

import numpy as np
from numpy.typing import NDArray

from distracted_pipeline.demo.cabin import (
    draw_armrest,
    draw_cabin,
    draw_console,
    draw_outside,
    draw_seat,
    draw_wheel,
)
from distracted_pipeline.demo.canvas import Canvas
from distracted_pipeline.demo.figure import body_in, draw_arm, draw_head, draw_legs, draw_trunk
from distracted_pipeline.demo.poses import Scene


def paint(scene: Scene) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw a scene.

    Returns:
        The picture, uint8 RGB [480, 640, 3], and the label map, uint8 [480, 640] with the ids of
        `STATE_FARM.mask_names`.
    """
    driver, pose = scene.driver, scene.pose
    canvas = Canvas(driver.camera, scene.shake)
    body = body_in(driver, pose)
    draw_outside(canvas, scene)
    draw_cabin(canvas, driver)
    draw_seat(canvas, driver)
    draw_wheel(canvas)
    draw_arm(canvas, scene, body, "left")
    draw_legs(canvas, driver)
    draw_trunk(canvas, driver, body)
    draw_head(canvas, driver, pose, body)
    draw_console(canvas, scene)
    draw_armrest(canvas, driver)
    draw_arm(canvas, scene, body, "right")
    return canvas.develop(scene.flicker, scene.noise_seed)
