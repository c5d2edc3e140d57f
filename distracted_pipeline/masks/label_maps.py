"""Class maps that exist already, in a folder, as a segmenter.

Belongs here: reading PNG and NPZ maps; COCO's panoptic ones are read by `coco`. `exchange` imports whole folders.
"""

import io
import math
from collections.abc import Sequence
from pathlib import Path
from zipfile import ZipFile

import numpy as np

from distracted_pipeline.advice import materialize
from distracted_pipeline.arrays import HEADER_DAMAGE, HEADERS
from distracted_pipeline.errors import DistractedError, shown
from distracted_pipeline.images.archive import DAMAGE as ZIP_DAMAGE
from distracted_pipeline.images.archive import unpacked
from distracted_pipeline.images.names import composed
from distracted_pipeline.images.problems import ImageProblem
from distracted_pipeline.masks.coco import Panoptic
from distracted_pipeline.masks.pngs import opened_png
from distracted_pipeline.settings import FOLDER_PREFIX

_ID_MODES = ("L", "P", "1", "I;16", "I")
"""Of grey and of palette PNGs, whatever their bits."""

_SPREAD = {"1": 255, "L;2": 85, "L;4": 17}
"""What Pillow multiplies the values of grey PNGs of fewer than 8 bits by."""


class GivenMasks:
    """`<img>.png`, `<img>.npz`, `<stem>.png` or `<stem>.npz` in one folder, category ids from 0 (none).

    A map that carries the image's whole name comes first: `x.jpg` and `x.jpeg` may lie side by side.

    Args:
        folder: Where the maps lie.
        fingerprint: Of the folder's content.
        categories: How many the data set has.
        panoptic: Where the maps come from instead, if the folder holds a COCO panoptic export.
    """

    def __init__(self, folder: Path, fingerprint: str, categories: int, panoptic: Panoptic | None = None) -> None:
        self.name = f"{FOLDER_PREFIX}{folder}"
        self.fingerprint = fingerprint
        self._folder = folder
        self._names = {composed(path.name): path.name for path in folder.iterdir()}  # whole paths would take 10 MB
        self._categories = categories
        self._panoptic = panoptic

    def segment(self, images: Sequence[np.ndarray], names: Sequence[str]) -> list[np.ndarray]:
        """Return the map of each image; see `Segmenter`."""
        return [self.prepare(image, name) for image, name in zip(images, names, strict=True)]

    def prepare(self, image: np.ndarray, name: str) -> np.ndarray:
        """Return the map of one image.

        Raises:
            DistractedError: It is absent, of another size, boolean, or holds other ids.
        """
        path, mask = self._read(composed(name))
        if mask.shape != image.shape[:2]:
            raise DistractedError(f"{path} is {_size(mask)}, but the image {name} is {_size(image)}")
        return mask

    def _read(self, name: str) -> tuple[Path, np.ndarray]:
        if self._panoptic is not None:
            return self._panoptic.path, self._panoptic.mask(name)
        stem = Path(name).stem
        candidates = [f"{start}{end}" for start in (name, stem) for end in (".png", ".npz")]
        found = next((self._names[candidate] for candidate in candidates if candidate in self._names), None)
        if found is None:
            raise DistractedError(f"no class map for {name}: {self._folder} holds no {stem}.png and no {name}.npz")
        return self._folder / found, read_map(self._folder / found, self._categories)

    def forward(self, prepared: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return the maps as they are."""
        return list(prepared)

    def finish(self, raw: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Return the map as it is."""
        return raw

    def batch_size(self, prepared: np.ndarray) -> int:
        """Return how many maps pass at once: few, for nothing is computed, and whole maps wait in memory for theirs."""
        return 2


def read_map(path: Path, categories: int) -> np.ndarray:
    """Return a class map file (grey or palette PNG of 1 to 16 bits, or the first array of an NPZ) as uint8 `[H, W]`.

    Args:
        path: The file.
        categories: The largest id there may be.

    Raises:
        DistractedError: Damaged, boolean, not a matrix, or larger ids; names the file and the reason.
    """
    mask = _npz(path) if path.suffix == ".npz" else _png(path)
    low, high = (int(mask.min()), int(mask.max())) if mask.size else (0, 0)
    if low < 0 or high > categories:
        raise DistractedError(f"{path} holds the id {low if low < 0 else high}; a class map holds 0..{categories}")
    return mask.astype(np.uint8)


def _png(path: Path) -> np.ndarray:
    with opened_png(path, "a class map") as image:
        if image.mode not in _ID_MODES:
            raise DistractedError(
                f"{path} has colours (mode {image.mode}); a class map holds ids, mode {', '.join(_ID_MODES)}"
            )
        spread = _SPREAD.get(str(image.tile[0].args), 1)
        mask = np.asarray(image.convert("L") if image.mode == "1" else image)
        return mask // spread if spread > 1 else mask


def _npz(path: Path) -> np.ndarray:
    """Return the first array of an NPZ. Not `np.load`, which makes room for whatever size an array's header claims."""
    try:
        with ZipFile(path) as archive:
            data = unpacked(archive, archive.infolist()[0], path.name)
        file = io.BytesIO(data)
        header = HEADERS[np.lib.format.read_magic(file)]
        shape, by_columns, dtype = header(file)
    except ImageProblem as error:
        raise DistractedError(f"{path} cannot be read as a class map: {error.what}") from error
    except (*ZIP_DAMAGE, *HEADER_DAMAGE) as error:
        raise DistractedError(f"{path} cannot be read as a class map: {error}") from error
    if dtype == np.bool_:
        raise DistractedError(
            f"{path} holds booleans: which of the categories a pixel has was lost when the file was written, "
            f"so it cannot be used. Make the masks anew: {materialize('masks')}"
        )
    if len(shape) != 2 or dtype.kind not in "ui":
        raise DistractedError(f"{path} holds {shown(dtype)} of shape {shown(shape)} instead of a matrix of ids")
    if min(shape) < 0 or math.prod(shape) * dtype.itemsize != len(data) - file.tell():
        raise DistractedError(f"{path} cannot be read as a class map: it does not hold {shown(shape)} ids")
    ids = np.frombuffer(data, dtype, offset=file.tell())
    return ids.reshape(shape, order="F" if by_columns else "C")


def _size(array: np.ndarray) -> str:
    return f"{array.shape[1]}x{array.shape[0]}"
