"""Fills what is missing in the mask cache: one writer per subject, resumable at any shard.

Belongs here: deciding what is missing, locks, shards, indexes. How images become masks is `batching`.
"""

import errno
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from distracted_pipeline.advice import RUN, did_you_mean
from distracted_pipeline.checksums import is_whole
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.files import locked, sweep_temporaries
from distracted_pipeline.images.archive import SEPARATOR
from distracted_pipeline.images.decode import ImageReader
from distracted_pipeline.images.manifest import of_subject, read_manifest
from distracted_pipeline.images.problems import OK
from distracted_pipeline.images.recheck import distrust
from distracted_pipeline.masks.batching import Failure, Wanted, segment_images
from distracted_pipeline.masks.cache import INDEX, Index, MaskCache, open_cache, rows_digest
from distracted_pipeline.masks.segmenter import Segmenter
from distracted_pipeline.masks.shards import SOURCE_DIGITS, Mask, write_table
from distracted_pipeline.masks.source import Source
from distracted_pipeline.masks.stage_timer import StageClock
from distracted_pipeline.options import RunOptions
from distracted_pipeline.progress import Log, Progress, duration
from distracted_pipeline.settings import Settings
from distracted_pipeline.standing import require_standing

SHARD_IMAGES = 256
SHARD_SECONDS = 120.0
"""A shard is written after so many images or so long, whichever comes first; a kill costs at most that."""


@dataclass(frozen=True)
class FillResult:
    """What filling one subject came to.

    Attributes:
        done: Masks made now.
        reused: Masks that were there.
        failed: Image -> why it has no mask.
        seconds: Wall time.
        index: What the subject holds; None where it could not be finished.
        error: Why it could not be finished; empty otherwise.
        cpu: CPU seconds by stage (`stage_timer.StageClock`); empty where nothing was made.
        model_seconds: Wall time in the model.
    """

    done: int
    reused: int
    failed: dict[str, str]
    seconds: float
    index: Index | None = None
    error: str = ""
    cpu: dict[str, float] = field(default_factory=dict)
    model_seconds: float = 0.0


@dataclass
class _Writer:
    """Gathers masks and writes them as shards."""

    cache: MaskCache
    subject: str
    description: dict[str, str]
    clock: StageClock
    masks: list[Mask] = field(default_factory=list)
    since: float = field(default_factory=time.monotonic)

    def add(self, mask: Mask) -> None:
        self.masks.append(mask)
        if len(self.masks) >= SHARD_IMAGES or time.monotonic() - self.since >= SHARD_SECONDS:
            self.flush()

    def flush(self) -> None:
        masks, self.masks, self.since = self.masks, [], time.monotonic()
        if masks:
            with self.clock.stage("write"):
                self.cache.write_shard(self.subject, masks, self.description)


def fill_subject(
    settings: Settings,
    subject: str,
    options: RunOptions = RunOptions(),
    *,
    segmenter: Segmenter | None = None,
) -> FillResult:
    """Make the masks that one driver, or one shard of unlabelled images, lacks.

    Args:
        settings: Data root and segmenter.
        subject: As in the manifest.
        options: How the segmenter runs; a GPU is claimed when the first mask is missing.
        segmenter: Stands in for the one that the settings name.

    Raises:
        DistractedError: No such subject, no segmenter, or the disk refuses; finished shards stay.
    """
    rows = _rows(read_manifest(settings), subject)
    return _fill(Source(settings, segmenter, options), subject, rows, rows.num_rows)


def fill_missing(
    settings: Settings,
    subjects: Iterable[str] | None = None,
    options: RunOptions = RunOptions(),
    *,
    segmenter: Segmenter | None = None,
    on_filled: Callable[[str, FillResult], object] = lambda subject, result: None,
) -> dict[str, FillResult]:
    """Make the masks that any of the subjects lacks; a subject that fails does not stop the others.

    Args:
        settings: Data root and segmenter.
        subjects: As in the manifest; None is all of them.
        options: As in `fill_subject`.
        segmenter: Stands in for the one that the settings name.
        on_filled: Called for each subject in which something was made.

    Returns:
        Subject -> result; those that could not be finished carry `error`.

    Raises:
        DistractedError: No manifest, or no segmenter though something is missing.
    """
    source, log = Source(settings, segmenter, options), options.log
    manifest = read_manifest(settings)
    if subjects is None:
        subjects = manifest.filter(pc.equal(manifest["status"], OK))["subject"].unique().to_pylist()
    chosen = {subject: _rows(manifest, subject) for subject in subjects}
    open_ones = {name for name, rows in chosen.items() if not finished(source.cache, settings.data, name, rows)}
    images = sum(chosen[name].num_rows for name in open_ones)
    if open_ones:
        # Before the first subject: a missing model is one error, not one for each of them.
        source.compile_for(images)
    progress = Progress(images, "images of all subjects", log)
    results: dict[str, FillResult] = {}
    for subject, rows in chosen.items():
        started = time.monotonic()
        try:
            results[subject] = _fill(source, subject, rows, images)
        except DistractedError as error:
            require_standing(settings.data)
            results[subject] = FillResult(0, 0, {}, time.monotonic() - started, error=str(error))
            log(f"{subject}: {error}")
            if isinstance(error.__cause__, OSError) and error.__cause__.errno in (
                errno.ENOSPC,
                errno.EROFS,
                errno.EDQUOT,
            ):
                break  # no other subject would fare better
        if results[subject].done:
            on_filled(subject, results[subject])
        if subject in open_ones and len(open_ones) > 1:  # the subject's own line has said it of a single one
            progress.advance(rows.num_rows)
    return results


def unfinished(settings: Settings) -> list[str]:
    """Return the subjects of the manifest for which something is left to do."""
    cache, manifest = open_cache(settings), read_manifest(settings)
    subjects = manifest.filter(pc.equal(manifest["status"], OK))["subject"].unique().to_pylist()
    return [name for name in subjects if not finished(cache, settings.data, name, _rows(manifest, name))]


def finished(cache: MaskCache, data: Path, subject: str, rows: pa.Table) -> Index | None:
    """Return the subject's index if nothing is left to do for these manifest rows, else None.

    Looks at the index and at the bytes of the shards, not at masks. An image that failed is tried again once its file
    has changed.
    """
    index = cache.index(subject)
    if index is None or index.rows != rows_digest(rows) or not cache.about():
        return None
    shards = cache.shards(subject)
    if {path.name: path.stat().st_size for path in shards} != index.shards or not all(map(is_whole, shards)):
        return None
    paths = dict(zip(rows["img"].to_pylist(), rows["path"].to_pylist(), strict=True))
    retry = any(item["stamp"] != _stamp(data, paths[img]) for img, item in index.quarantined.items())
    return None if retry else index


def _fill(source: Source, subject: str, rows: pa.Table, images: int) -> FillResult:
    """Make what a subject lacks; `images`: how many there are of all subjects that will be filled."""
    started = time.monotonic()
    cache, data = source.cache, source.settings.data
    index = finished(cache, data, subject, rows)
    if index is None:
        source.begin()
        with _only_writer(cache, subject, source.options.log):
            index = finished(cache, data, subject, rows)  # another process may have been faster
            if index is None:
                return _complete(source, subject, rows, images, started)
    return FillResult(0, index.images, _reasons(index), time.monotonic() - started, index)


def _complete(source: Source, subject: str, rows: pa.Table, images: int, started: float) -> FillResult:
    """Make what is missing and write the index; the caller holds the subject's lock."""
    cache, data, segmenter = source.cache, source.settings.data, source.segmenter
    log = source.options.log
    source.compare_precision(rows)
    wanted = [Wanted(*row) for row in zip(*(rows[name].to_pylist() for name in ("img", "path", "sha256")), strict=True)]
    sweep_temporaries(cache.folder(subject))
    there = _drop_stale(cache, subject, {item.img: item.sha256[:SOURCE_DIGITS] for item in wanted}, log)
    missing = [item for item in wanted if item.img not in there]
    source.compile_for(len(missing))
    clock = StageClock()
    writer = _Writer(
        cache, subject, {"segmenter": segmenter.name, "precision": str(getattr(segmenter, "precision", ""))}, clock
    )
    paths = {item.img: item.path for item in wanted}
    failed: dict[str, str] = {}
    changed: list[str] = []
    progress = Progress(len(missing), f"masks of {subject}", log)
    with ImageReader(data) as reader:
        try:
            decoders = source.decoders(images)
            masks = segment_images(missing, reader, segmenter, cache.categories, source.pieces, clock, decoders)
            with closing(masks):
                for result in masks:
                    if isinstance(result, Failure):
                        require_standing(data)
                        failed[result.img] = result.reason
                        if result.changed:
                            changed.append(paths[result.img])
                        log(f"{subject}: no mask for {result.img}: {result.reason}")
                    else:
                        writer.add(result)
                    progress.advance()
        finally:
            writer.flush()
            if changed:
                distrust(source.settings, changed)
    quarantined = {img: {"reason": why, "stamp": _stamp(data, paths[img])} for img, why in failed.items()}
    index = _summarise(cache, subject, rows_digest(rows), quarantined)
    cache.write_index(subject, index)
    seconds = time.monotonic() - started
    done = len(missing) - len(failed)
    log(
        f"{subject}: {done:,} masks made, {len(there):,} reused, {len(failed):,} failed in {duration(seconds)} "
        f"({done / max(seconds, 1e-9):.1f}/s)"
    )
    return FillResult(done, len(there), failed, seconds, index, cpu=clock.cpu_seconds(), model_seconds=clock.model_wall)


def _summarise(cache: MaskCache, subject: str, digest: str, quarantined: dict[str, dict[str, Any]]) -> Index:
    shards = cache.shards(subject)
    areas = cache.shard_areas(subject)
    return Index(
        rows=digest,
        images=len(areas),
        shards={path.name: path.stat().st_size for path in shards},
        quarantined=quarantined,
        empty=int((areas[:, 1:].sum(1) == 0).sum()),
        present=[int(count) for count in (areas > 0).sum(0)],
        pixels=[int(count) for count in areas.sum(0, dtype=np.int64)],
    )


def _drop_stale(cache: MaskCache, subject: str, wanted: dict[str, str], log: Log) -> set[str]:
    """Return the images whose mask is there; masks of other images, or of other bytes, leave their shards.

    A shard that cannot be read goes as a whole.
    """
    (cache.folder(subject) / INDEX).unlink(missing_ok=True)  # it no longer tells the truth
    there: set[str] = set()
    for shard in cache.shards(subject):
        try:
            sources = cache.sources(shard)
        except DistractedError:
            log(f"{subject}: {shard} is damaged: its masks are made anew")
            shard.unlink()
            continue
        keep = [img not in there and wanted.get(img) == source for img, source in sources.items()]
        there.update(img for img, good in zip(sources, keep, strict=True) if good)
        if not any(keep):
            shard.unlink()
        elif not all(keep):
            table = cache.read_shard(shard)
            write_table(shard, table.filter(pa.array(keep)).cast(cache.schema.with_metadata(table.schema.metadata)))
    return there


@contextmanager
def _only_writer(cache: MaskCache, subject: str, log: Log) -> Iterator[None]:
    """Hold the subject's lock; say so when another process has to finish first."""
    lock, what = cache.root / f".{subject}.lock", f"the masks of {subject}"
    try:
        with locked(lock, what=what, timeout=0):
            pass
    except DistractedError:
        log(f"{subject}: another process is making these masks; waiting for it (lock {lock})")
    with locked(lock, what=what):
        yield


def _rows(manifest: pa.Table, subject: str) -> pa.Table:
    rows = of_subject(manifest, subject)
    if not rows.num_rows:
        subjects = sorted(set(manifest["subject"].to_pylist()))
        raise DistractedError(
            f"the manifest has no usable image of subject {subject!r}.{did_you_mean(subject, subjects)} Its subjects: "
            f"{', '.join(subjects[:40])}. "
            f"After changing the data, type: {RUN}"
        )
    return rows


def _reasons(index: Index) -> dict[str, str]:
    return {img: item["reason"] for img, item in index.quarantined.items()}


def _stamp(data: Path, path: str) -> list[int]:
    """Return size and time of change of an image's file (of its archive, in a zip); both 0 without a file."""
    try:
        status = (data / path.partition(SEPARATOR)[0]).stat()
    except FileNotFoundError:
        return [0, 0]
    return [status.st_size, status.st_mtime_ns]
