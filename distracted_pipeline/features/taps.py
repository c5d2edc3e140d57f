"""Cached taps: what the frozen part of a backbone makes of every image, computed once.

Layout: `features/<fingerprint>/subject=<s>/<tap>.npy`, fp16 (`pixels`: uint8), memory-mapped, with the row
order in `rows.parquet`. The cache on disk decides what is missing: a tap counts if its file has as many rows as
`rows.parquet`, and that lists the subject's images (names and content hashes) as the manifest has them now.

Belongs here: filling and reading the cache. Where a backbone can be cut is `variants.backbones`.
"""

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.lib.format import open_memmap

from distracted_pipeline.devices import autocast_dtype, resolve_device
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.files import atomic_path, locked, sweep_temporaries
from distracted_pipeline.images.decode import ImageReader
from distracted_pipeline.images.manifest import of_subject, read_manifest
from distracted_pipeline.progress import Progress
from distracted_pipeline.settings import Settings
from distracted_pipeline.variants.backbones import (
    Backbone,
    backbone_fingerprint,
    load_backbone,
    load_preprocessing,
)
from distracted_pipeline.variants.trunks import Trunk

CODE_VERSION = "2"
"""Raise it when the same image and backbone would give other numbers."""

PIXELS = "pixels"
"""The uint8 tap: images at the backbone's input size, `[N, 3, h, w]`, not normalised."""

ROWS = "rows.parquet"

_BATCH = {"cpu": 16, "cuda": 128, "mps": 32}


@dataclass(frozen=True)
class EnsureResult:
    """What one call of `TapStore.ensure` found and did.

    Attributes:
        subject: The driver or shard.
        images: Images of the subject.
        computed: Taps written now.
        reused: Taps that were there.
        seconds: Wall time.
        bytes: Size on disk of all the taps asked for.
    """

    subject: str
    images: int
    computed: tuple[str, ...]
    reused: tuple[str, ...]
    seconds: float
    bytes: int


class TapStore:
    """The tap cache of one backbone.

    Args:
        settings: Where the data lies, and the backbone unless named.
        model_name: Another backbone than the settings'.
    """

    def __init__(self, settings: Settings, model_name: str | None = None) -> None:
        self.settings = settings
        self.model_name = model_name
        self._mapped: dict[tuple[str, str], np.ndarray] = {}
        self._positions: dict[str, dict[str, int]] = {}
        self._guard = threading.Lock()

    @cached_property
    def fingerprint(self) -> str:
        """Return 12 hex digits over backbone, processor, and this stage's code version."""
        facts = f"{CODE_VERSION}:{backbone_fingerprint(self.settings, self.model_name)}"
        return hashlib.sha256(facts.encode()).hexdigest()[:12]

    @cached_property
    def backbone(self) -> Backbone:
        """Return the loaded backbone; loading waits until something is missing."""
        return load_backbone(self.settings, self.model_name)

    @cached_property
    def _trunk(self) -> Trunk:
        self.backbone.trunk.streamline()
        return self.backbone.trunk

    @property
    def root(self) -> Path:
        """Return the folder of this backbone's taps."""
        return self.settings.features / self.fingerprint

    def folder(self, subject: str) -> Path:
        """Return the folder of one subject's taps."""
        return self.root / f"subject={subject}"

    def missing(self, subject: str, taps: Sequence[str]) -> list[str]:
        """Return the taps that are not cached for the subject's images as the manifest has them now."""
        return self._missing(subject, taps, _rows(self._table, subject))

    def ensure(
        self,
        subject: str,
        taps: Sequence[str],
        *,
        device: str = "auto",
        precision: str = "auto",
        batch_size: int = 0,
        log: Callable[[str], object] = print,
    ) -> EnsureResult:
        """Compute what is missing of a subject's taps, in one pass over its images.

        Args:
            subject: A driver, or a shard of unlabelled images.
            taps: `pooled`, `last_block`, `block<i>_input`, `pixels`.
            device: `auto`, `cpu`, `cuda`, ...
            precision: `auto` is bf16 on GPUs and fp32 elsewhere; or fp32, bf16, fp16.
            batch_size: Images per forward pass; 0 chooses by device.
            log: Receives progress lines.

        Raises:
            DistractedError: An image is unreadable, the backbone has no such tap, a value does not fit fp16,
                or the disk is full. Taps appear whole or not at all.
        """
        start = time.monotonic()
        rows = _rows(self._table, subject)
        if not rows.num_rows:
            raise DistractedError(
                f"subject {subject!r} has no usable image in {self.settings.manifest}. Run `distracted run`."
            )
        folder = self.folder(subject)
        with locked(folder / ".lock", what=f"the taps of {subject}"):
            sweep_temporaries(folder)
            wanted = self._missing(subject, taps, rows)
            if wanted:
                if not _same_rows(folder / ROWS, rows):
                    _clear(folder)
                self._compute(folder, rows, wanted, device, precision, batch_size, log)
                with self._guard:
                    self._positions.pop(subject, None)
                    self._mapped = {key: value for key, value in self._mapped.items() if key[0] != subject}
        return EnsureResult(
            subject=subject,
            images=rows.num_rows,
            computed=tuple(wanted),
            reused=tuple(tap for tap in taps if tap not in wanted),
            seconds=time.monotonic() - start,
            bytes=sum((folder / f"{tap}.npy").stat().st_size for tap in taps),
        )

    def load(self, taps: Sequence[str], imgs: Sequence[str]) -> dict[str, np.ndarray]:
        """Return the taps of `imgs`, `[N, ...]` in that order, fp16 (`pixels` uint8).

        Raises:
            DistractedError: An image is not in the manifest, or a tap of it is not cached.
        """
        subjects = self._subjects(imgs)
        loaded: dict[str, np.ndarray] = {}
        for tap in taps:
            gathered: np.ndarray | None = None
            for subject, places in _grouped(subjects).items():
                source = self._open(subject, tap)
                if gathered is None:
                    gathered = np.empty((len(imgs), *source.shape[1:]), source.dtype)
                order = self._positions[subject]
                gathered[places] = source[[order[imgs[place]] for place in places]]
            loaded[tap] = np.empty((0,), np.float16) if gathered is None else gathered
        return loaded

    @cached_property
    def _table(self) -> pa.Table:
        return read_manifest(self.settings)

    @cached_property
    def _subject_of(self) -> dict[str, str]:
        return dict(zip(self._table["img"].to_pylist(), self._table["subject"].to_pylist(), strict=True))

    def _subjects(self, imgs: Sequence[str]) -> list[str]:
        unknown = [img for img in imgs if img not in self._subject_of]
        if unknown:
            raise DistractedError(f"{unknown[0]} is not in {self.settings.manifest}. Run `distracted run`.")
        return [self._subject_of[img] for img in imgs]

    def _missing(self, subject: str, taps: Sequence[str], rows: pa.Table) -> list[str]:
        folder = self.folder(subject)
        if not _same_rows(folder / ROWS, rows):
            return list(dict.fromkeys(taps))
        return [tap for tap in dict.fromkeys(taps) if not (folder / f"{tap}.npy").is_file()]

    def _open(self, subject: str, tap: str) -> np.ndarray:
        with self._guard:
            if (subject, tap) not in self._mapped:
                if self.missing(subject, [tap]):
                    raise DistractedError(
                        f"tap {tap} of subject {subject} is not in {self.root} for the images as they are now. "
                        f"Run `dagster asset materialize --select features --partition {subject}`."
                    )
                folder = self.folder(subject)
                self._mapped[subject, tap] = np.load(folder / f"{tap}.npy", mmap_mode="r", allow_pickle=False)
                names = pq.read_table(folder / ROWS, columns=["img"], partitioning=None)["img"].to_pylist()
                self._positions[subject] = {img: place for place, img in enumerate(names)}
            return self._mapped[subject, tap]

    def _compute(
        self,
        folder: Path,
        rows: pa.Table,
        taps: Sequence[str],
        device: str,
        precision: str,
        batch_size: int,
        log: Callable[[str], object],
    ) -> None:
        chosen = resolve_device(device)
        size = batch_size or _BATCH.get(chosen.type, 16)
        progress = Progress(rows.num_rows, f"images of {folder.name.removeprefix('subject=')}", log)
        with ExitStack() as files:
            arrays: dict[str, np.ndarray] = {}
            for first, pixels in self._decoded(rows["path"].to_pylist(), size):
                values = self._values(pixels, taps, chosen, precision)
                for tap in taps:
                    if tap not in arrays:
                        path = files.enter_context(atomic_path(folder / f"{tap}.npy"))
                        shape = (rows.num_rows, *values[tap].shape[1:])
                        arrays[tap] = open_memmap(path, mode="w+", dtype=values[tap].dtype, shape=shape)
                    _check_finite(values[tap], tap, rows, first)
                    arrays[tap][first : first + len(pixels)] = values[tap]
                progress.advance(len(pixels))
            for array in arrays.values():
                array.flush()  # type: ignore[attr-defined]
        with atomic_path(folder / ROWS) as path:
            pq.write_table(rows.select(["img", "sha256"]), path)

    def _decoded(self, paths: Sequence[str], size: int) -> Iterator[tuple[int, np.ndarray]]:
        """Yield `(first row, uint8 [B, 3, h, w])`, decoding the next batch while this one is used."""
        resize = load_preprocessing(self.settings, self.model_name).resize
        with ImageReader(self.settings.data) as reader, ThreadPoolExecutor(4) as pool:

            def batch(first: int) -> list:
                return [pool.submit(lambda path: resize(reader.rgb(path)), p) for p in paths[first : first + size]]

            ahead = batch(0)
            for first in range(0, len(paths), size):
                current, ahead = ahead, batch(first + size)
                yield first, np.stack([future.result() for future in current])

    def _values(
        self, pixels: np.ndarray, taps: Sequence[str], device: torch.device, precision: str
    ) -> dict[str, np.ndarray]:
        deep = [tap for tap in taps if tap != PIXELS]
        values = {PIXELS: pixels} if PIXELS in taps else {}
        if deep:
            trunk = self._trunk.to(device)
            dtype = autocast_dtype(precision, device)
            with torch.inference_mode(), torch.autocast(device.type, dtype, enabled=dtype is not None):
                x = self.backbone.preprocessing.normalise(torch.from_numpy(pixels).to(device))
                found = trunk.taps(x, deep)
            values |= {tap: value.to(torch.float16).cpu().numpy() for tap, value in found.items()}
        return values


def _rows(table: pa.Table, subject: str) -> pa.Table:
    return of_subject(table, subject).select(["img", "path", "sha256"])


def _same_rows(path: Path, rows: pa.Table) -> bool:
    if not path.is_file():
        return False
    return pq.read_table(path, partitioning=None).equals(rows.select(["img", "sha256"]), check_metadata=False)


def _clear(folder: Path) -> None:
    """Remove taps of images as they were; the row list goes first, so that a crash leaves nothing valid."""
    (folder / ROWS).unlink(missing_ok=True)
    for path in folder.glob("*.npy"):
        path.unlink()


def _check_finite(values: np.ndarray, tap: str, rows: pa.Table, first: int) -> None:
    if values.dtype == np.uint8:
        return
    bad = ~np.isfinite(values.reshape(len(values), -1)).all(1)
    if bad.any():
        img = rows["img"][first + int(bad.argmax())].as_py()
        raise DistractedError(
            f"tap {tap} of {img} is not finite in fp16: the backbone's weights are broken or its activations exceed "
            "65504. Set DISTRACTED_BACKBONE to another model, or precision to fp32."
        )


def _grouped(subjects: Sequence[str]) -> dict[str, list[int]]:
    places: dict[str, list[int]] = {}
    for place, subject in enumerate(subjects):
        places.setdefault(subject, []).append(place)
    return places
