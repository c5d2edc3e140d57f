"""The pictures of a site as small JPEG files: frames, mask overlays, Grad-CAM overlays.

One decode per image, on a few threads (PIL releases the interpreter lock). Which images are drawn
belongs to `selection`; what masks and CAMs are belongs to `masks` and `explanation`.
"""

import base64
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw

from distracted_pipeline.dataset import Category
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.explanation.overlays import heat
from distracted_pipeline.explanation.tables import CamRow
from distracted_pipeline.figures.formats import slug
from distracted_pipeline.files import create_folder
from distracted_pipeline.images.decode import ImageReader
from distracted_pipeline.masks.cache import MaskCache, open_cache
from distracted_pipeline.progress import Log, Progress
from distracted_pipeline.reports.report_data import Image, ReportData

WIDTH = 320
"""Width of frames and mask overlays in pixels; the height follows the frame."""

CAM_WIDTH = 240
"""Width of CAM overlays in pixels: the maps are coarse anyway."""

QUALITY = 74


@dataclass
class Pictures:
    """Where each picture lies, relative to the site's root; what could not be drawn has no entry.

    Attributes:
        frames: By image.
        masks: By image; images without a cached mask are not in it.
        cams: By variant, image and target, where a variant's page shows them; of the image branch where there are two.
        mask_cams: The same of the mask branch; maps that are zero everywhere are not in it.
        means: By variant and class.
        no_masks: Why there are no masks at all, empty where there are.
    """

    frames: dict[str, str] = field(default_factory=dict)
    masks: dict[str, str] = field(default_factory=dict)
    cams: dict[tuple[str, str, str], str] = field(default_factory=dict)
    mask_cams: dict[tuple[str, str, str], str] = field(default_factory=dict)
    means: dict[tuple[str, int], str] = field(default_factory=dict)
    no_masks: str = ""


class _Cam(NamedTuple):
    """A variant's CAM of an image: what is known of it, and the map, uint8 [h, w]; that of a mask branch beside it."""

    variant: str
    row: CamRow
    values: np.ndarray
    of_masks: np.ndarray | None


def draw_pictures(
    report: ReportData,
    images: Sequence[Image],
    strips: Mapping[str, Sequence[str]],
    site: Path,
    *,
    width: int = WIDTH,
    log: Log = print,
) -> Pictures:
    """Write pictures under `site/pictures` and return where they are.

    Args:
        report: Gives masks and CAMs.
        images: Whose frames and masks are drawn.
        strips: By variant, of which of them its CAMs are drawn; the page of images draws all there are by itself.
        site: The site's root.
        width: Of frames and masks in pixels, at most.
        log: Receives progress lines.

    Raises:
        DistractedError: A frame of the manifest cannot be read any more.
    """
    pictures = Pictures()
    cache, masked, pictures.no_masks = _masks(report, images)
    cams: dict[str, list[_Cam]] = {}
    for variant, found in report.cams.items():
        of_masks = [None] * len(found.rows) if found.mask_maps is None else found.mask_maps
        shown = set(strips.get(variant, ()))
        for row, values, masks in zip(found.rows, found.maps, of_masks, strict=True):
            if row.img not in shown:
                continue
            cams.setdefault(row.img, []).append(_Cam(variant, row, values, masks))
    for folder in ("pictures", *(f"pictures/{slug(variant)}" for variant in report.cams)):
        create_folder(site / folder)
    progress = Progress(len(images), "pictures", log)
    average = _Average()
    with ImageReader(report.settings.data) as reader, ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:

        def draw(image: Image) -> None:
            pixels = reader.rgb(image.path)
            frame = _fit(Pillow.fromarray(pixels), width)
            name = slug(image.img)
            pictures.frames[image.img] = _save(frame, site, f"pictures/{name}.jpg")
            if cache is not None and image.img in masked:
                overlaid = _overlaid(frame, cache.mask(image.img), report.dataset.categories)
                pictures.masks[image.img] = _save(overlaid, site, f"pictures/{name}.mask.jpg")
            small = _fit(frame, CAM_WIDTH)
            average.add(image.true, small)
            for cam in cams.get(image.img, ()):
                heated = heat(small, cam.values)
                place = f"pictures/{slug(cam.variant)}/{name}.{slug(cam.row.target)}.jpg"
                pictures.cams[cam.variant, image.img, cam.row.target] = _save(heated, site, place)
                if cam.of_masks is not None and cam.of_masks.any():
                    place = f"pictures/{slug(cam.variant)}/{name}.{slug(cam.row.target)}.masks.jpg"
                    heated = heat(small, cam.of_masks)
                    pictures.mask_cams[cam.variant, image.img, cam.row.target] = _save(heated, site, place)

        try:
            for _ in pool.map(draw, images):
                progress.advance()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # Ctrl-C waits for no picture that is not begun
    _draw_means(report, average, site, pictures)
    return pictures


def sample_strip(site: Path, names: Sequence[str], height: int = 150) -> str:
    """Return several pictures of a site side by side in one `data:` address, empty for none."""
    if not names:
        return ""
    return "data:image/jpeg;base64," + base64.b64encode(_jpeg(_side_by_side(site, names, height))).decode()


def sheet(site: Path, rows: Sequence[tuple[str, Sequence[str]]], height: int = 110) -> bytes:
    """Return pictures of a site as one JPEG: a line of words above each row of pictures. There is at least one row."""
    strips = [(words, _side_by_side(site, names, height)) for words, names in rows]
    line = 18
    whole = Pillow.new("RGB", (max(strip.width for _, strip in strips), len(strips) * (height + line + 6)), "white")
    pen = ImageDraw.Draw(whole)
    for i, (words, strip) in enumerate(strips):
        top = i * (height + line + 6)
        pen.text((2, top + 3), words, fill="black")
        whole.paste(strip, (0, top + line))
    return _jpeg(whole)


def _side_by_side(site: Path, names: Sequence[str], height: int) -> Pillow.Image:
    opened = [Pillow.open(site / name).convert("RGB") for name in names]
    sized = [picture.resize((round(picture.width * height / picture.height), height)) for picture in opened]
    strip = Pillow.new("RGB", (sum(picture.width + 4 for picture in sized) - 4, height), "white")
    left = 0
    for picture in sized:
        strip.paste(picture, (left, 0))
        left += picture.width + 4
    return strip


def _jpeg(picture: Pillow.Image) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


class _Average:
    """The mean frame of each class, over the images that are drawn anyway; several threads add to it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._sums: dict[int, tuple[np.ndarray, int]] = {}

    def add(self, k: int, frame: Pillow.Image) -> None:
        pixels = np.asarray(frame, np.float32)
        with self._lock:
            total, count = self._sums.get(k, (np.zeros_like(pixels), 0))
            if total.shape == pixels.shape:  # frames of another size are left out of the mean
                self._sums[k] = total + pixels, count + 1

    def of(self, k: int) -> Pillow.Image | None:
        total, count = self._sums.get(k, (None, 0))
        return None if total is None else Pillow.fromarray((total / count).astype(np.uint8))


def _draw_means(report: ReportData, average: _Average, site: Path, pictures: Pictures) -> None:
    """Lay each variant's mean CAM of a class over the class's mean frame."""
    for variant, cams in report.cams.items():
        for k, mean in enumerate(() if cams.means is None else cams.means):
            frame = average.of(k)
            if frame is not None and mean.any():
                place = f"pictures/{slug(variant)}/mean.{report.dataset.class_ids[k]}.jpg"
                pictures.means[variant, k] = _save(heat(frame, mean), site, place)


def _masks(report: ReportData, images: Sequence[Image]) -> tuple[MaskCache | None, set[str], str]:
    """Return the mask cache, which of the images it holds, and why there is none; never fills it."""
    try:
        cache = open_cache(report.settings)
    except DistractedError as error:  # a report without masks is a report; it says so
        return None, set(), str(error)
    subjects = {image.subject for image in images}
    masked = {img for subject in sorted(subjects) for img in cache.imgs(subject)} & {image.img for image in images}
    if masked:
        cache.mask(min(masked))  # locates all once, before several threads ask
    return cache, masked, ""


def _overlaid(frame: Pillow.Image, mask: np.ndarray, categories: Sequence[Category]) -> Pillow.Image:
    from distracted_pipeline.masks.overlays import overlay

    ids = np.asarray(Pillow.fromarray(mask).resize(frame.size, Pillow.Resampling.NEAREST))
    return overlay(np.asarray(frame), ids, categories)


def _fit(image: Pillow.Image, width: int) -> Pillow.Image:
    """Scale down to `width`; small images stay as they are."""
    if image.width <= width:
        return image
    return image.resize((width, max(1, round(image.height * width / image.width))), Pillow.Resampling.BILINEAR)


def _save(image: Pillow.Image, site: Path, name: str) -> str:
    image.save(site / name, "JPEG", quality=QUALITY)
    return name
