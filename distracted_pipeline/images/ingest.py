"""Raw data -> checked manifest, list of subjects, list of problems.

Every file is read, hashed and decoded once; what has not changed since the last ingest is not read again.
A bad image keeps its row, with the reason as its status, so that nothing disappears unseen.
"""

import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Container
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from distracted_pipeline.advice import RUN
from distracted_pipeline.checksums import is_whole
from distracted_pipeline.dataset import TEST_PREFIX, Dataset
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.files import locked, sweep_temporaries, write_json, write_text
from distracted_pipeline.images.decisions import Decision, apply, decisions_file, in_words, read_decisions, tally
from distracted_pipeline.images.decode import NO_FILE, ImageReader
from distracted_pipeline.images.decode import verify as verify_jpeg
from distracted_pipeline.images.frames import Frame, Source
from distracted_pipeline.images.manifest import NO_FOLD, labelled, read_manifest, read_source_key, write_manifest
from distracted_pipeline.images.problems import DROPPED, OK, ImageProblem, Problem
from distracted_pipeline.images.recheck import distrusted, trust_again
from distracted_pipeline.images.rows import Row, as_table, deal, join, judge_content, twins
from distracted_pipeline.images.source import find_source
from distracted_pipeline.images.state import Content, read_state, state_is_whole, write_state
from distracted_pipeline.progress import Log, Progress, duration
from distracted_pipeline.settings import Settings

MAX_BAD_SHARE: Final = 0.01
"""Share of bad images, among the labelled or among the unlabelled ones, that is still accepted."""

PROBLEMS_NAME: Final = "images_problems.json"

_VERSION: Final = "3"
"""Raise it when the same raw data would make another manifest."""

_CHUNK: Final = 32
_SHOWN_PER_KIND: Final = 3


@dataclass(frozen=True)
class IngestResult:
    """What an ingest found.

    Attributes:
        table: The manifest.
        counts: `labelled`, `unlabelled`, `drivers`, `classes` (usable), `bad` (rows that are not), `read`, `unchanged`.
        problems: Everything that is wrong, also where the image stays usable.
        notes: Choices a reader should know about.
        reviewed: How many decisions about labels are in force, see `decisions.tally`.
        bad_share: The larger of the shares of bad rows among labelled and among unlabelled images.
        max_bad_share: The limit for it.
        seconds: Wall time.
    """

    table: pa.Table
    counts: dict[str, int]
    problems: list[Problem]
    notes: list[str]
    reviewed: dict[str, int]
    bad_share: float
    max_bad_share: float
    seconds: float

    @property
    def acceptable(self) -> bool:
        """Whether so few images are bad that results stand for the data set."""
        return self.bad_share <= self.max_bad_share


def ingest(
    settings: Settings, *, verify: bool = False, log: Log = print, max_bad_share: float = MAX_BAD_SHARE
) -> IngestResult:
    """Write `images.parquet`, `subjects.txt` and `images_problems.json` from the raw data in the data root.

    Args:
        settings: Names the data root.
        verify: Read every image anew, also where size and time say that it is as before.
        log: Receives progress, notes and problems.
        max_bad_share: Limit that the result reports on; bad images never stop the ingest.

    Raises:
        DistractedError: No data root, no images, no label file or a column of it missing, or not one usable labelled
            image.
    """
    start = time.monotonic()
    lock = settings.data / ".images.lock"
    with closing(find_source(settings)) as source, locked(lock, what=f"the manifest {settings.manifest}"):
        sweep_temporaries(settings.data)
        decided = read_decisions(decisions_file(settings), settings.dataset)
        key = _source_key(source, settings.dataset, decided)
        noted = distrusted(settings)
        doubted = {frame.path for frame in source.frames} if verify or noted is None else noted
        if settings.manifest.is_file() and not is_whole(settings.manifest):
            log(f"{settings.manifest} is not as it was written: writing it anew")
        known = None if doubted else _unchanged(settings, key)
        if known is not None:
            (table, problems), read = known, 0
        else:
            table, problems, read = _build(settings, source, key, doubted, decided, log)
            trust_again(settings, doubted)
    good = labelled(table)
    counts = {
        "labelled": len(good),
        "unlabelled": int(pc.sum(pc.equal(table["status"], OK)).as_py()) - len(good),
        "drivers": len(pc.unique(good["subject"])),
        "classes": len(pc.unique(good["classname"])),
        "bad": int(_bad(table).sum()),
        "read": read,
        "unchanged": len(source.frames) - read,
    }
    reviewed = tally(decided, table)
    notes = [*source.notes, *_dealt_drivers(good, settings.dataset), *filter(None, [in_words(reviewed)])]
    result = IngestResult(
        table, counts, problems, notes, reviewed, bad_share(table), max_bad_share, seconds=time.monotonic() - start
    )
    _say(result, settings.data, log)
    return result


def read_problems(settings: Settings) -> list[Problem]:
    """Return what the last ingest found wrong; empty before the first one."""
    try:
        entries = json.loads((settings.data / PROBLEMS_NAME).read_text(encoding="utf-8"))
        return [Problem(**entry) for entry in entries]
    except (FileNotFoundError, ValueError, TypeError, RecursionError):  # damaged: the next ingest writes it anew
        return []


def bad_share(table: pa.Table) -> float:
    """Return the larger of the shares of bad rows among the labelled and among the unlabelled images."""
    bad = _bad(table)
    unlabelled = pc.and_(pc.equal(table["classname"], ""), pc.starts_with(table["subject"], TEST_PREFIX)).to_numpy()
    return max(float(np.mean(bad[part])) if part.any() else 0.0 for part in (unlabelled, ~unlabelled))


def _bad(table: pa.Table) -> np.ndarray:
    """Tell which rows cannot be used; what a person dropped could be."""
    found: np.ndarray = pc.invert(pc.is_in(table["status"], value_set=pa.array([OK, DROPPED]))).to_numpy()
    return found


def _build(
    settings: Settings,
    source: Source,
    key: str,
    doubted: Container[str],
    decided: list[Decision],
    log: Log,
) -> tuple[pa.Table, list[Problem], int]:
    """Write everything anew; return the manifest, the problems, and how many files were read."""
    labels, problems = source.labels()
    rows, found = join(labels, source.frames, ", ".join(name for name, _ in source.files))
    read = _look_into(rows, source, settings.data, doubted, log)
    problems = [*problems, *source.problems, *found, *judge_content(rows)]
    problems += apply(decided, rows, decisions_file(settings))
    problems += twins(rows)
    problems.sort(key=lambda p: (p.where, p.row or 0, p.status))
    deal(rows, labels, _earlier_folds(settings), settings.dataset)
    write_json(settings.data / PROBLEMS_NAME, [asdict(p) for p in problems])
    if not any(row.usable for row in rows):
        raise DistractedError(
            f"{settings.data}: not one of {len(rows):,} images can be used. {' '.join(map(str, problems[:3]))} "
            f"{settings.data / PROBLEMS_NAME} lists all {len(problems):,} problems; mend them, then: {RUN}"
        )
    subjects = sorted({row.subject for row in rows if row.status == OK})
    write_text(settings.subjects_file, "".join(f"{subject}\n" for subject in subjects))
    # What a permission or a disk hid may appear without any change that the key would show.
    hidden = any(row.content.status == "unreadable" for row in rows)
    table = as_table(rows)
    beside = (settings.subjects_file, settings.data / PROBLEMS_NAME)
    write_manifest(settings, table, "" if hidden else key, beside)
    return table, problems, read


def _source_key(source: Source, dataset: Dataset, decided: list[Decision]) -> str:
    """Return a digest of all that the manifest depends on."""
    facts = (dataset.class_ids, dataset.split, dataset.folds, dataset.labels)
    digest = hashlib.sha256(f"{_VERSION}\n{facts}\n".encode())
    for one in decided:
        digest.update(f"{one}\n".encode())
    for name, raw in source.files:
        digest.update(f"{name}\n".encode() + hashlib.sha256(raw).digest())
    for frame in source.frames:
        digest.update(f"{frame.path}\n{frame.stamp}\n".encode("utf-8", "surrogateescape"))
    for problem in source.problems:
        digest.update(f"{problem}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _unchanged(settings: Settings, key: str) -> tuple[pa.Table, list[Problem]] | None:
    """Return manifest and problems as they are if they were made from the same raw data."""
    files = (settings.subjects_file, settings.data / PROBLEMS_NAME)
    there = all(path.is_file() for path in files) and state_is_whole(settings.data)
    if not there or read_source_key(settings) != key:
        return None
    return read_manifest(settings), read_problems(settings)


def _look_into(rows: list[Row], source: Source, root: Path, doubted: Container[str], log: Log) -> int:
    """Fill in every row's content, from the state where the file is unchanged; return how many files were read."""
    before = read_state(root)
    fresh: list[tuple[Row, Frame]] = []
    seen: dict[str, tuple[str, Content]] = {}
    for row in rows:
        if row.frame is None:
            continue
        known = before.get(row.frame.path)
        if known is not None and known[0] == row.frame.stamp and row.frame.path not in doubted:
            row.content = known[1]
            seen[row.frame.path] = known
        else:
            fresh.append((row, row.frame))
    progress = Progress(len(fresh), "images", log)
    with ImageReader(root) as reader:
        if source.archive is not None:
            reader.use(source.archive)
        chunks = [fresh[i : i + _CHUNK] for i in range(0, len(fresh), _CHUNK)]
        pool = ThreadPoolExecutor(max_workers=min(16, (os.cpu_count() or 1) + 1))
        try:
            for future in as_completed([pool.submit(_look, reader, chunk) for chunk in chunks]):
                progress.advance(future.result())
        finally:
            pool.shutdown(cancel_futures=True)  # Ctrl-C waits for the chunks at hand, not for all of them
    seen |= {frame.path: (frame.stamp, row.content) for row, frame in fresh if row.content.status != "unreadable"}
    if seen != before:
        write_state(root, seen)
    return len(fresh)


def _look(reader: ImageReader, chunk: list[tuple[Row, Frame]]) -> int:
    for row, frame in chunk:
        row.content = _content(reader, frame)
    return len(chunk)


def _content(reader: ImageReader, frame: Frame) -> Content:
    if frame.bytes < 0:
        return Content(status="unreadable", what=NO_FILE)
    sha256 = ""
    try:
        data = reader.bytes(frame.path)
        sha256 = hashlib.sha256(data).hexdigest()
        seen = verify_jpeg(data, frame.path)
    except ImageProblem as error:
        return Content(sha256=sha256, status=error.status, what=error.what)
    return Content(seen.width, seen.height, sha256, look=seen.look)


def _earlier_folds(settings: Settings) -> dict[str, int]:
    if not is_whole(settings.manifest):
        return {}
    try:
        table = read_manifest(settings)
    except DistractedError:
        return {}  # none yet, or one that this ingest replaces
    pairs = set(zip(table["subject"].to_pylist(), table["fold"].to_pylist(), strict=True))
    return {subject: fold for subject, fold in sorted(pairs) if fold != NO_FOLD}


def _dealt_drivers(good: pa.Table, dataset: Dataset) -> list[str]:
    """Return a note where the original fold has drivers whom no original split names."""
    pairs = set(zip(good["subject"].to_pylist(), good["split"].to_pylist(), strict=True))
    dealt = sorted((part, subject) for subject, part in pairs if dataset.part_of(subject) != part)
    if not dealt:
        return []
    parts = {part: ", ".join(s for p, s in dealt if p == part) for part, _ in dealt}
    words = "; ".join(f"{part}: {names}" for part, names in parts.items())
    return [
        f"the original split of {dataset.name} does not say the part of {len(dealt)} drivers; the fold 'original' "
        f"deals them by their names ({words})"
    ]


def _say(result: IngestResult, root: Path, log: Log) -> None:
    counts = result.counts
    for note in result.notes:
        log(f"note: {note}")
    for status, count in Counter(p.status for p in result.problems).most_common():
        for p in [p for p in result.problems if p.status == status][:_SHOWN_PER_KIND]:
            log(f"problem: {p}")
        if count > _SHOWN_PER_KIND:
            log(f"problem: {count - _SHOWN_PER_KIND:,} more of '{status}' in {root / PROBLEMS_NAME}")
    log(
        f"{counts['labelled']:,} labelled images of {counts['drivers']} drivers in {counts['classes']} classes, "
        f"{counts['unlabelled']:,} unlabelled, {counts['bad']:,} bad ({result.bad_share:.2%}); "
        f"{counts['read']:,} read, {counts['unchanged']:,} unchanged, {duration(result.seconds)}"
    )
    if not result.acceptable:
        log(
            f"{result.bad_share:.2%} of the images are bad, more than {result.max_bad_share:.0%}: results would not "
            f"stand for the data set. Mend what {root / PROBLEMS_NAME} lists, then: {RUN}"
        )
