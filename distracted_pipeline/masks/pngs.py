"""PNG files from other tools, opened so that a small one cannot become a large one."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.images.decode import DAMAGE, MAX_PIXELS

if TYPE_CHECKING:
    from PIL.PngImagePlugin import PngImageFile


@contextmanager
def opened_png(path: Path, what: str) -> Iterator["PngImageFile"]:
    """Yield a PNG whose pixels are yet to be decoded; what the block decodes of it is watched too.

    Not `Image.open`: that tries every format that Pillow knows, whatever the file is called.

    Args:
        path: The file.
        what: What it should be, for the message, e.g. `a class map`.

    Raises:
        DistractedError: It is missing, no PNG, damaged, or of more pixels than a frame may have.
    """
    from PIL.PngImagePlugin import PngImageFile

    try:
        with PngImageFile(path) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise DistractedError(
                    f"{path} cannot be read as {what}: {width}x{height} pixels are more than {MAX_PIXELS // 10**6} "
                    "megapixels, and so more than a frame may have"
                )
            yield image
    except DAMAGE as error:
        raise DistractedError(f"{path} cannot be read as {what}: {error}") from error
