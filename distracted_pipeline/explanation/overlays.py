"""Class activation maps drawn over frames, pixel by pixel: for the report's pages and the Dagster UI.

Nothing is written to disk here; what needs no pixels is drawn by `figures`.
"""

import base64
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

_TILE = (96, 72)

HEAT = np.array([[13, 8, 60], [120, 28, 109], [207, 68, 70], [251, 155, 6], [252, 255, 164]], np.float32)
"""Anchors of the CAM colour scale: brightness rises steadily, so it survives greyscale and print."""


def heat(image: Image.Image, cam: np.ndarray) -> Image.Image:
    """Lay a CAM over a greyed image: the warmer and brighter, the more it speaks for the class.

    Args:
        image: RGB.
        cam: uint8 [h, w], 255 where the evidence is strongest; covers the whole image.
    """
    strength = np.asarray(Image.fromarray(cam).resize(image.size, Image.Resampling.BICUBIC), np.float32) / 255
    position = strength * (len(HEAT) - 1)
    below = np.minimum(position.astype(int), len(HEAT) - 2)
    share = (position - below)[..., None]
    colours = HEAT[below] * (1 - share) + HEAT[below + 1] * share
    grey = np.asarray(image.convert("L"), np.float32)[..., None] * 0.8
    weight = 0.25 + 0.5 * strength[..., None]
    return Image.fromarray((grey * (1 - weight) + colours * weight).clip(0, 255).astype(np.uint8))


def cam_strip(frames: Sequence[np.ndarray], cams: Sequence[np.ndarray], labels: Sequence[str]) -> Image.Image:
    """Draw CAMs (uint8 [h, w]) over their frames (uint8 [H, W, 3]), five to a row, a label under each."""
    width, height = _TILE
    columns = min(5, len(frames))
    lines = -(-len(frames) // columns)
    sheet = Image.new("RGB", (columns * width, lines * (height + 14)), "white")
    draw = ImageDraw.Draw(sheet)
    for i, (frame, cam, label) in enumerate(zip(frames, cams, labels, strict=True)):
        left, top = i % columns * width, i // columns * (height + 14)
        tile = Image.fromarray(frame).resize(_TILE, Image.Resampling.BILINEAR)
        sheet.paste(heat(tile, cam), (left, top))
        draw.text((left + width / 2, top + height + 6), label, fill="black", anchor="mm")
    return sheet


def inline(image: Image.Image, alt: str) -> str:
    """Return a picture as Markdown that carries its own pixels."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return f"![{alt}](data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()})"
