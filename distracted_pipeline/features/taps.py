"""Cached taps: the outputs of the frozen part of a backbone for every image, computed once.

Layout: `features/<fingerprint>/subject=<s>/<tap>.npy`, fp16 (`pixels`: uint8), memory-mapped. `rows.parquet` beside
them lists the images in the order of the rows, and in its metadata the precision that the backbone ran in. The cache on
disk decides what is missing: a tap counts if `rows.parquet` lists the subject's images (names and content hashes) as
the manifest has them now, in the precision of the whole folder (`cache_folders`), and the tap with its digest. The
order is that of their names when they were computed: labels play no part.

Belongs here: filling and reading the cache. The list beside the taps is `row_lists`, how images become taps
`frozen_pass`.
"""

import hashlib
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from numpy.lib.format import open_memmap

from distracted_pipeline.advice import RUN, materialize
from distracted_pipeline.cache_folders import PRECISION, claim, precision_of, read_about
from distracted_pipeline.compiling import keep_kernels
from distracted_pipeline.devices import resolve_device, resolve_precision
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.features import row_lists
from distracted_pipeline.features.frozen_pass import PIXELS, FrozenPass, ImageChanged
from distracted_pipeline.features.row_lists import ROWS
from distracted_pipeline.files import atomic_path, locked, reserve, sweep_temporaries
from distracted_pipeline.fingerprints import fingerprint
from distracted_pipeline.images.decode import ImageReader
from distracted_pipeline.images.decoders import decoders_for
from distracted_pipeline.images.manifest import of_subject, read_manifest
from distracted_pipeline.images.problems import ImageProblem
from distracted_pipeline.images.recheck import distrust
from distracted_pipeline.memory import Pieces
from distracted_pipeline.options import RunOptions
from distracted_pipeline.parquet import read_table
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
        """Return the backbone, loaded when something is missing and not before."""
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

    def described(self) -> bool:
        """Tell whether the folder says what it holds."""
        return bool(read_about(self.root))

    def missing(self, subject: str, taps: Sequence[str]) -> list[str]:
        """Return the taps that are not cached for the subject's images as the manifest has them now."""
        return self._missing(subject, taps, _rows(self._table, subject))

    def content(self, subject: str, taps: Sequence[str]) -> str:
        """Return a fingerprint of a subject's taps, the same while nothing changes; empty if one of them is missing.

        From the list of images, no tap is opened: the same images through the same backbone in the same precision have
        the same taps.
        """
        rows = _rows(self._table, subject)
        if self._missing(subject, taps, rows):
            return ""
        images = [rows[name].to_pylist() for name in ("img", "sha256")]
        return fingerprint(self.fingerprint, precision_of(self.root), sorted(set(taps)), images)

    def ensure(self, subject: str, taps: Sequence[str], options: RunOptions = RunOptions()) -> EnsureResult:
        """Compute what is missing of a subject's taps, in one pass over its images.

        Where their pixels are cached, over those: no image is opened.

        Args:
            subject: A driver, or a shard of unlabelled images.
            taps: `pooled`, `last_block`, `block<i>_input`, `pixels`.
            options: How the backbone runs, if anything is missing. Precision `auto` is that of the taps that are there.

        Raises:
            DistractedError: An image is unreadable or has changed, the backbone has no such tap, a value does not fit
                fp16, taps of another precision are there, or the disk is full. Taps appear whole or not at all.
        """
        start = time.monotonic()
        rows = _rows(self._table, subject)
        if not rows.num_rows:
            raise DistractedError(f"subject {subject!r} has no usable image in {self.settings.manifest}. Type: {RUN}")
        folder = self.folder(subject)
        with locked(folder / ".lock", what=f"the taps of {subject}"):
            sweep_temporaries(folder)
            wanted = self._missing(subject, taps, rows)
            if wanted or not self.described():
                device = resolve_device(options.device_name())
                precision = self._settled_precision(options.precision, device)
            if wanted:
                if row_lists.are_of(folder, rows, precision):
                    rows = row_lists.in_stored_order(folder, rows)
                else:
                    row_lists.clear(folder)
                try:
                    self._compute(folder, rows, wanted, device, precision, options)
                except ImageChanged as changed:
                    raise self._distrust(subject, rows, str(changed)) from changed
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
            raise DistractedError(f"{unknown[0]} is not in {self.settings.manifest}. Type: {RUN}")
        return [self._subject_of[img] for img in imgs]

    def _missing(self, subject: str, taps: Sequence[str], rows: pa.Table) -> list[str]:
        folder = self.folder(subject)
        if not row_lists.are_of(folder, rows, precision_of(self.root)):
            return list(dict.fromkeys(taps))
        listed = row_lists.listed(folder)
        return [
            tap for tap in dict.fromkeys(taps) if not row_lists.is_there(folder, tap, listed.get(tap), rows.num_rows)
        ]

    def _open(self, subject: str, tap: str) -> np.ndarray:
        with self._guard:
            if (subject, tap) not in self._mapped:
                if self.missing(subject, [tap]):
                    raise DistractedError(
                        f"tap {tap} of subject {subject} is not in {self.root} for the images as they are now. "
                        f"Type: {materialize('features', subject)}"
                    )
                folder = self.folder(subject)
                self._mapped[subject, tap] = np.load(folder / f"{tap}.npy", mmap_mode="r", allow_pickle=False)
                names = read_table(folder / ROWS, ["img"])["img"].to_pylist()
                self._positions[subject] = {img: place for place, img in enumerate(names)}
            return self._mapped[subject, tap]

    def _compute(
        self,
        folder: Path,
        rows: pa.Table,
        taps: Sequence[str],
        device: torch.device,
        precision: str,
        options: RunOptions,
    ) -> None:
        passing, pixels = self._pass(device, precision, options), folder / f"{PIXELS}.npy"
        progress = Progress(rows.num_rows, f"images of {folder.name.removeprefix('subject=')}", options.log)
        known = np.load(pixels, mmap_mode="r", allow_pickle=False) if PIXELS not in taps and pixels.is_file() else None
        names = rows["img"].to_pylist()
        with ExitStack() as files, closing(passing.over(rows, taps, known)) as passed:
            arrays: dict[str, np.ndarray] = {}
            first = 0
            for piece in passed:
                values = {tap: value.numpy() for tap, value in piece.values.items()}
                piece.check_finite(names[first:])
                for tap in taps:
                    if tap not in arrays:
                        path = files.enter_context(atomic_path(folder / f"{tap}.npy"))
                        shape = (rows.num_rows, *values[tap].shape[1:])
                        arrays[tap] = open_memmap(path, mode="w+", dtype=values[tap].dtype, shape=shape)
                        reserve(path)
                    arrays[tap][first : first + len(values[tap])] = values[tap]
                progress.advance(len(values[taps[0]]))
                first += len(values[taps[0]])
            for array in arrays.values():
                array.flush()  # type: ignore[attr-defined]
        row_lists.write(folder, rows, precision, taps)

    def _pass(self, device: torch.device, precision: str, options: RunOptions) -> FrozenPass:
        preprocessing = load_preprocessing(self.settings, self.model_name)
        pieces = Pieces(options.batch_size or _BATCH.get(device.type, 16), options.log)
        decoders = None  # a CPU's cores are busy with the backbone
        if device.type == "cuda":
            keep_kernels(self.settings.kernels)
            decoders = decoders_for(self.settings.data, self._table.num_rows, options.log, preprocessing.size)
        data, trunk = self.settings.data, lambda: self._trunk
        return FrozenPass(data, preprocessing, trunk, device, precision, pieces, decoders)

    def _settled_precision(self, precision: str, device: torch.device) -> str:
        """Return the precision of all taps of this backbone: that of the taps there are, else as asked for."""
        if precision == "auto":
            precision = precision_of(self.root) or "auto"
        precision = resolve_precision(precision, device)
        about = {
            "fingerprint": self.fingerprint,
            "backbone": self.model_name or self.settings.backbone,
            PRECISION: precision,
        }
        claim(self.root, about, what="taps", next_command=RUN)
        return precision

    def _distrust(self, subject: str, rows: pa.Table, first: str) -> DistractedError:
        """Note all images of a subject that have changed, so that one more run is enough; return what to say."""
        changed = {first}
        with ImageReader(self.settings.data) as reader:
            for path, sha256 in zip(rows["path"].to_pylist(), rows["sha256"].to_pylist(), strict=True):
                with suppress(ImageProblem):  # ingest will find that one without a note
                    if hashlib.sha256(reader.bytes(path)).hexdigest() != sha256:
                        changed.add(path)
        distrust(self.settings, changed)
        return DistractedError(
            f"{len(changed):,} of {rows.num_rows:,} images of {subject} have changed since ingest (their SHA-256 is "
            f"another), such as {first}. The next run reads them anew; type: {RUN}"
        )


def _rows(table: pa.Table, subject: str) -> pa.Table:
    return of_subject(table, subject).select(["img", "path", "sha256"]).sort_by("img")


def _grouped(subjects: Sequence[str]) -> dict[str, list[int]]:
    places: dict[str, list[int]] = {}
    for place, subject in enumerate(subjects):
        places.setdefault(subject, []).append(place)
    return places
