"""How maps are drawn over frames, and the two small pictures of the Dagster UI.

The report lays its maps over frames with `heat` and `diverge` too; nothing here is written to disk.
"""

import base64
import io
import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from distracted_pipeline.evaluation.comparison import IMPROVED, WORSENED
from distracted_pipeline.evaluation.tables import ClassAccuracy, rows_of
from distracted_pipeline.vocabulary import CLASS_IDS

_CELL = (54, 24)
_LABEL = 130
_BETTER, _WORSE = np.array([33, 102, 172]), np.array([178, 88, 6])
_DEEPEST = 0.25
_TILE = (96, 72)

_HEAT = np.array([[13, 8, 60], [120, 28, 109], [207, 68, 70], [251, 155, 6], [252, 255, 164]], np.float32)
"""Anchors of the CAM colour scale: brightness rises steadily, so it survives greyscale and print."""

_MORE, _LESS = np.array([20, 110, 200], np.float32), np.array([240, 120, 10], np.float32)


def recall_heatmap(result: ClassAccuracy, scope: str) -> Image.Image:
    """Draw recall by variant and class: blue is above the baseline, orange below, as deep as .25 and more.

    A star marks a difference that the swap test confirms.
    """
    width, height = _CELL
    rows = rows_of(result.classes, scope)
    variants = list(dict.fromkeys(row["variant"] for row in rows))
    image = Image.new("RGB", (_LABEL + width * len(CLASS_IDS), height * (len(variants) + 1)), "white")
    draw = ImageDraw.Draw(image)
    for c, class_id in enumerate(CLASS_IDS):
        draw.text((_LABEL + c * width + width / 2, height / 2), class_id, fill="black", anchor="mm")
    for row in rows:
        left, top = _LABEL + row["class_id"] * width, (variants.index(row["variant"]) + 1) * height
        delta = 0 if math.isnan(row["delta_recall"]) else row["delta_recall"]
        strength = min(abs(delta) / _DEEPEST, 1)
        colour = 255 + ((_BETTER if delta > 0 else _WORSE) - 255) * strength
        draw.rectangle((left, top, left + width - 2, top + height - 2), fill=tuple(int(v) for v in colour))
        star = "*" if row["verdict"] in (IMPROVED, WORSENED) else ""
        text = f"{row['recall']:.2f}{star}" if row["n"] else "-"
        ink = "white" if strength > 0.9 else "black"  # at least 4.5 : 1 either way
        draw.text((left + width / 2, top + height / 2), text, fill=ink, anchor="mm")
    for v, variant in enumerate(variants):
        draw.text((4, (v + 1.5) * height), variant[:20], fill="black", anchor="lm")
    return image


def heat(image: Image.Image, cam: np.ndarray) -> Image.Image:
    """Lay a CAM over a greyed image: the warmer and brighter, the more it speaks for the class.

    Args:
        image: RGB.
        cam: uint8 [h, w], 255 where the evidence is strongest; covers the whole image.
    """
    strength = np.asarray(Image.fromarray(cam).resize(image.size, Image.Resampling.BICUBIC), np.float32) / 255
    position = strength * (len(_HEAT) - 1)
    below = np.minimum(position.astype(int), len(_HEAT) - 2)
    share = (position - below)[..., None]
    colours = _HEAT[below] * (1 - share) + _HEAT[below + 1] * share
    grey = np.asarray(image.convert("L"), np.float32)[..., None] * 0.8
    weight = 0.25 + 0.5 * strength[..., None]
    return Image.fromarray((grey * (1 - weight) + colours * weight).clip(0, 255).astype(np.uint8))


def diverge(image: Image.Image, change: np.ndarray, largest: float) -> Image.Image:
    """Lay a signed map over a greyed image: blue where it is positive, orange where it is negative.

    Args:
        image: RGB.
        change: float [h, w]; covers the whole image.
        largest: The size of change that has full colour: one for all maps that are to be compared.
    """
    scaled = Image.fromarray((change / (largest or 1.0)).astype(np.float32))
    strength = np.asarray(scaled.resize(image.size, Image.Resampling.BICUBIC), np.float32).clip(-1, 1)[..., None]
    grey = 60 + np.asarray(image.convert("L"), np.float32)[..., None] * 0.6
    weight = np.abs(strength) * 0.85
    return Image.fromarray((grey * (1 - weight) + np.where(strength > 0, _MORE, _LESS) * weight).astype(np.uint8))


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
