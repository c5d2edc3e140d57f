"""The pictures of a site as small JPEG files: frames, mask overlays, Grad-CAM overlays.

One decode per image, on a few threads (PIL releases the interpreter lock). Which images are drawn
belongs to `selection`; what masks and CAMs are belongs to `masks` and `evaluation`.
"""

import base64
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from threading import Lock

import numpy as np
from PIL import Image as Pillow

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.explanation.maps import delta_cam
from distracted_pipeline.explanation.overlays import diverge, heat
from distracted_pipeline.figures.formats import slug
from distracted_pipeline.images.decode import ImageReader
from distracted_pipeline.masks.cache import MaskCache, open_cache
from distracted_pipeline.progress import Progress
from distracted_pipeline.reports.findings import Cam, Findings, Image

WIDTH = 320
"""Width of frames and mask overlays in pixels; the height follows the frame."""

CAM_WIDTH = 240
"""Width of CAM overlays: the maps are coarse anyway."""

QUALITY = 74


@dataclass
class Pictures:
    """Where each picture lies, relative to the site's root; what could not be drawn has no entry.

    Attributes:
        frames: By image.
        masks: By image; images without a cached mask are not in it.
        cams: By variant, image and target.
        changes: By variant and image: where the variant looks more, and where less, than the baseline does.
        means: By variant and class.
        no_masks: Why there are no masks at all, empty where there are.
    """

    frames: dict[str, str] = field(default_factory=dict)
    masks: dict[str, str] = field(default_factory=dict)
    cams: dict[tuple[str, str, str], str] = field(default_factory=dict)
    changes: dict[tuple[str, str], str] = field(default_factory=dict)
    means: dict[tuple[str, int], str] = field(default_factory=dict)
    no_masks: str = ""


def draw_pictures(
    findings: Findings,
    images: Sequence[Image],
    site: Path,
    *,
    width: int = WIDTH,
    log: Callable[[str], object] = print,
) -> Pictures:
    """Write the pictures of `images`, `width` pixels wide at most, under `site/pictures`; return where they are.

    Raises:
        DistractedError: A frame of the manifest cannot be read any more.
    """
    pictures = Pictures()
    cache, masked, pictures.no_masks = _masks(findings, images)
    cams: dict[str, list[tuple[str, Cam]]] = {}
    for variant, found in findings.cams.items():
        for cam in found.rows:
            cams.setdefault(cam.img, []).append((variant, cam))
    for folder in ("pictures", *(f"pictures/{slug(variant)}" for variant in findings.cams)):
        (site / folder).mkdir(parents=True, exist_ok=True)
    progress = Progress(len(images), "pictures", log)
    average = _Average()
    with ImageReader(findings.settings.data) as reader, ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:

        def draw(image: Image) -> None:
            pixels = reader.rgb(image.path)
            frame = _fit(Pillow.fromarray(pixels), width)
            name = slug(image.img)
            pictures.frames[image.img] = _save(frame, site, f"pictures/{name}.jpg")
            if cache is not None and image.img in masked:
                overlaid = _overlaid(frame, cache.mask(image.img))
                pictures.masks[image.img] = _save(overlaid, site, f"pictures/{name}.mask.jpg")
            small = _fit(frame, CAM_WIDTH)
            average.add(image.true, small)
            own = cams.get(image.img, ())
            for variant, cam in own:
                heated = heat(small, findings.cams[variant].maps[cam.row])
                place = f"pictures/{slug(variant)}/{name}.{slug(cam.target)}.jpg"
                pictures.cams[variant, image.img, cam.target] = _save(heated, site, place)
            changes = _changes(findings, own)
            largest = max((float(np.abs(change).max()) for change in changes.values()), default=0.0)
            for variant, change in changes.items():
                tinted = diverge(small, change, largest)
                place = f"pictures/{slug(variant)}/{name}.change.jpg"
                pictures.changes[variant, image.img] = _save(tinted, site, place)

        for _ in pool.map(draw, images):
            progress.advance()
    _draw_means(findings, average, site, pictures)
    return pictures


def sample_strip(site: Path, names: Sequence[str], height: int = 150) -> str:
    """Return several pictures of a site side by side in one `data:` address, empty for none."""
    if not names:
        return ""
    opened = [Pillow.open(site / name).convert("RGB") for name in names]
    sized = [picture.resize((round(picture.width * height / picture.height), height)) for picture in opened]
    sheet = Pillow.new("RGB", (sum(picture.width + 4 for picture in sized) - 4, height), "white")
    left = 0
    for picture in sized:
        sheet.paste(picture, (left, 0))
        left += picture.width + 4
    buffer = BytesIO()
    sheet.save(buffer, "JPEG", quality=QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


class _Average:
    """The mean frame of each class, over the images that are drawn anyway; several threads add to it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._sums: dict[int, tuple[np.ndarray, int]] = {}

    def add(self, k: int, frame: Pillow.Image) -> None:
        pixels = np.asarray(frame, np.float32)
        with self._lock:
            total, count = self._sums.get(k, (np.zeros_like(pixels), 0))
            if total.shape == pixels.shape:  # frames of another size are no part of it
                self._sums[k] = total + pixels, count + 1

    def of(self, k: int) -> Pillow.Image | None:
        total, count = self._sums.get(k, (None, 0))
        return None if total is None else Pillow.fromarray((total / count).astype(np.uint8))


def _draw_means(findings: Findings, average: _Average, site: Path, pictures: Pictures) -> None:
    """Lay each variant's mean CAM of a class over the class's mean frame."""
    for variant, cams in findings.cams.items():
        for k, mean in enumerate(() if cams.means is None else cams.means):
            frame = average.of(k)
            if frame is not None and mean.any():
                place = f"pictures/{slug(variant)}/mean.c{k}.jpg"
                pictures.means[variant, k] = _save(heat(frame, mean), site, place)


def _changes(findings: Findings, cams: Sequence[tuple[str, Cam]]) -> dict[str, np.ndarray]:
    """Return by variant what changes on an image's true class against the baseline, where both have a CAM of it."""
    maps = {name: _for_true_class(findings, name, cams) for name in dict.fromkeys(name for name, _ in cams)}
    baseline = maps.pop(findings.baseline, None)
    if baseline is None:
        return {}
    return {name: delta_cam(cam, baseline) for name, cam in maps.items() if cam is not None}


def _for_true_class(findings: Findings, variant: str, cams: Sequence[tuple[str, Cam]]) -> np.ndarray | None:
    """Return a variant's CAM of an image's true class, None where it has none or an empty one."""
    for name, cam in cams:
        if name == variant and (cam.target == "true" or cam.predicted == cam.true) and not cam.all_zero:
            return findings.cams[variant].maps[cam.row]
    return None


def _masks(findings: Findings, images: Sequence[Image]) -> tuple[MaskCache | None, set[str], str]:
    """Return the mask cache, which of the images it holds, and why there is none; fills nothing."""
    try:
        cache = open_cache(findings.settings)
    except DistractedError as error:  # a report without masks is a report; it says so
        return None, set(), str(error)
    subjects = {image.subject for image in images}
    masked = {img for subject in sorted(subjects) for img in cache.imgs(subject)} & {image.img for image in images}
    if masked:
        cache.mask(min(masked))  # locates all once, before several threads ask
    return cache, masked, ""


def _overlaid(frame: Pillow.Image, mask: np.ndarray) -> Pillow.Image:
    from distracted_pipeline.masks.overlays import overlay

    ids = np.asarray(Pillow.fromarray(mask).resize(frame.size, Pillow.Resampling.NEAREST))
    return overlay(np.asarray(frame), ids)


def _fit(image: Pillow.Image, width: int) -> Pillow.Image:
    """Scale down to `width`; small images stay as they are."""
    if image.width <= width:
        return image
    return image.resize((width, max(1, round(image.height * width / image.width))), Pillow.Resampling.BILINEAR)


def _save(image: Pillow.Image, site: Path, name: str) -> str:
    image.save(site / name, "JPEG", quality=QUALITY)
    return name
