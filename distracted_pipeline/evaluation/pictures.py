"""Two small pictures for the Dagster UI: the class-wise table as a heatmap, and CAMs over their frames.

The report draws its own; nothing here is written to disk.
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
        ink = "white" if strength > 0.6 else "black"
        draw.text((left + width / 2, top + height / 2), text, fill=ink, anchor="mm")
    for v, variant in enumerate(variants):
        draw.text((4, (v + 1.5) * height), variant[:20], fill="black", anchor="lm")
    return image


def cam_strip(frames: Sequence[np.ndarray], cams: Sequence[np.ndarray], labels: Sequence[str]) -> Image.Image:
    """Draw CAMs (uint8 [h, w]) in red over their frames (uint8 [H, W, 3]), five to a row, a label under each."""
    width, height = _TILE
    columns = min(5, len(frames))
    lines = -(-len(frames) // columns)
    sheet = Image.new("RGB", (columns * width, lines * (height + 14)), "white")
    draw = ImageDraw.Draw(sheet)
    for i, (frame, cam, label) in enumerate(zip(frames, cams, labels, strict=True)):
        left, top = i % columns * width, i // columns * (height + 14)
        tile = Image.fromarray(frame).resize(_TILE, Image.Resampling.BILINEAR)
        heat = Image.fromarray(cam).resize(_TILE, Image.Resampling.BILINEAR).point([v * 7 // 10 for v in range(256)])
        sheet.paste(Image.composite(Image.new("RGB", _TILE, (255, 40, 0)), tile, heat), (left, top))
        draw.text((left + width / 2, top + height + 6), label, fill="black", anchor="mm")
    return sheet


def inline(image: Image.Image, alt: str) -> str:
    """Return a picture as Markdown that carries its own pixels."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return f"![{alt}](data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()})"
