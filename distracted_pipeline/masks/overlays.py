"""Masks drawn over images, for people to look at.

Belongs here: pictures. Nothing computes with them.
"""

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from distracted_pipeline.advice import did_you_mean
from distracted_pipeline.checksums import UNSEALED, is_whole, seal
from distracted_pipeline.dataset import Category
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.files import atomic_path
from distracted_pipeline.fingerprints import fingerprint
from distracted_pipeline.images.decode import ImageReader
from distracted_pipeline.images.manifest import of_subject, read_manifest
from distracted_pipeline.masks.cache import MaskCache, open_cache
from distracted_pipeline.masks.shards import REMEDY, SOURCE_DIGITS
from distracted_pipeline.settings import Settings

if TYPE_CHECKING:
    from PIL.Image import Image

OPACITY = 0.55
PREVIEW_WIDTH = 240
_CAPTION = 14


def overlay(image: np.ndarray, mask: np.ndarray, categories: Sequence[Category]) -> "Image":
    """Return an image with each category of its mask tinted in its colour.

    Args:
        image: uint8 RGB `[H, W, 3]`.
        mask: uint8 `[H, W]` of category ids, 0 for none.
        categories: The data set's.
    """
    from PIL import Image

    picture, flat = Image.fromarray(image), Image.fromarray(mask)
    flat.putpalette([0, 0, 0, *(value for category in categories for value in category.colour)])
    tinted = Image.blend(picture, flat.convert("RGB"), OPACITY)
    return Image.composite(tinted, picture, Image.fromarray((mask > 0) & (mask <= len(categories))))


def show(settings: Settings, img: str) -> "Image":
    """Return the overlay of one image of the data set.

    Raises:
        DistractedError: The manifest does not know it, or it has no mask yet.
    """
    manifest = read_manifest(settings)
    names = manifest["img"].to_pylist()
    rows = manifest.filter(pa.array(np.asarray(names) == img))
    if not rows.num_rows:
        like = did_you_mean(img, names) or f" Its names are like {names[0]}."
        raise DistractedError(f"the manifest has no image {img}.{like}")
    mask = open_cache(settings).mask(img)
    with ImageReader(settings.data) as reader:
        return overlay(reader.rgb(rows["path"][0].as_py()), mask, settings.dataset.categories)


def previews(settings: Settings, cache: MaskCache, rows: pa.Table, count: int = 4) -> dict[str, bytes]:
    """Return small overlays of a few images spread over `rows`, as JPEG bytes by image name.

    They are kept beside the masks, so that asking again draws nothing.

    Args:
        settings: Where the images lie.
        cache: Where the masks lie.
        rows: Usable manifest rows; those without a mask are passed over.
        count: At most so many.
    """
    masked = {img for subject in rows["subject"].unique().to_pylist() for img in cache.imgs(subject)}
    usable = rows.filter(pa.array([img in masked for img in rows["img"].to_pylist()]))
    spread = np.linspace(0, usable.num_rows - 1, 2 * count + 1)[1::2] if usable.num_rows else np.zeros(0)
    chosen = np.unique(spread.astype(int))
    categories = settings.dataset.categories
    folder = cache.root / "overlays" / fingerprint([category.colour for category in categories])
    result = {}
    for row in usable.take(pa.array(chosen, pa.int64())).to_pylist():
        path = folder / f"{row['sha256'][:SOURCE_DIGITS]}.jpg"
        if not is_whole(path, sealed=True):
            with ImageReader(settings.data) as reader:
                picture = overlay(reader.rgb(row["path"]), cache.mask(row["img"]), categories)
            picture.thumbnail((PREVIEW_WIDTH, PREVIEW_WIDTH))
            buffer = io.BytesIO()
            picture.save(buffer, "JPEG", quality=80, comment=UNSEALED)
            with atomic_path(path) as temporary:
                temporary.write_bytes(buffer.getvalue())
                seal(temporary)
        result[row["img"]] = path.read_bytes()
    return result


def sheet(settings: Settings, columns: int = 6) -> "Image":
    """Return a contact sheet to judge a segmenter by: one overlay of each finished subject, in order.

    Raises:
        DistractedError: No subject has masks.
    """
    from PIL import Image, ImageDraw

    cache, manifest = open_cache(settings), read_manifest(settings)
    pictures: list[tuple[str, Image.Image]] = []
    for subject in cache.subjects_done():
        for data in previews(settings, cache, of_subject(manifest, subject), count=1).values():
            pictures.append((subject, Image.open(io.BytesIO(data))))
    if not pictures:
        raise DistractedError(f"no subject has masks in {cache.root}. Make them with: {REMEDY}")
    height = max(picture.height for _, picture in pictures) + _CAPTION
    page = Image.new("RGB", (columns * PREVIEW_WIDTH, -(-len(pictures) // columns) * height), "white")
    draw = ImageDraw.Draw(page)
    for i, (subject, picture) in enumerate(pictures):
        corner = (i % columns * PREVIEW_WIDTH, i // columns * height)
        draw.text((corner[0] + 3, corner[1] + 1), subject, fill="black")
        page.paste(picture, (corner[0], corner[1] + _CAPTION))
    return page


def as_markdown(pictures: dict[str, bytes], categories: Sequence[Category]) -> str:
    """Return JPEGs as inline Markdown pictures with a legend."""
    legend = ", ".join("{} #{:02x}{:02x}{:02x}".format(category.name, *category.colour) for category in categories)
    inline = (f"![{name}](data:image/jpeg;base64,{base64.b64encode(data).decode()})" for name, data in pictures.items())
    return " ".join(inline) + f"\n\n{legend}"
