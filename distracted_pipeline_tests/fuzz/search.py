"""The search for cases that a reader does not hold, in a process of its own that may die of one."""

import hashlib
import multiprocessing
import re
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings

from distracted_pipeline_tests.fuzz import checkpoints, class_maps, entries, jpegs, label_files, sealed, tables, zips
from distracted_pipeline_tests.fuzz.reader import Finding, Reader, held

READERS: dict[str, Reader] = {
    reader.name: reader
    for family in (zips, label_files, jpegs, class_maps, tables, checkpoints, entries, sealed)
    for reader in family.READERS
}

CORPUS = Path(__file__).parent / "corpus"

_ROUND = 500
_CURRENT = "current"
_PATIENCE_S = 120


def holds(reader: Reader, folder: Path, most: list[int]) -> Callable[[bytes], None]:
    """Return the property: a reader holds a case. `most` keeps the most MiB that one took, and how many there were."""

    def check(case: bytes) -> None:
        (folder / _CURRENT).write_bytes(case)
        most[:] = max(most[0], held(reader, folder / "root", case)), most[1] + 1

    return check


def search(reader: Reader, folder: Path, seconds: float) -> tuple[dict[str, bytes], int, int]:
    """Return the smallest case of each finding by what it is, the most MiB that any case took, and how many were tried.

    Args:
        reader: What is searched.
        folder: Scratch.
        seconds: For how long; cases that were found are made smaller after that.
    """
    return _apart(folder, _search, reader, folder, seconds)


def known(reader: Reader) -> dict[str, bytes]:
    """Return the cases that were found or made, by what they are."""
    found = {path.name: path.read_bytes() for path in sorted((CORPUS / reader.name).glob("*"))}
    return {**found, **reader.made()}


def keep(name: str, case: bytes) -> Path:
    """Write a finding of a reader into the corpus; return where."""
    path = CORPUS / name / hashlib.sha256(case).hexdigest()[:12]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(case)
    return path


def replay(cases: Sequence[tuple[Reader, bytes]], folder: Path) -> tuple[dict[str, bytes], int, int]:
    """Try cases once; return what `search` does."""
    return _apart(folder, _replay, cases, folder)


def _apart(folder: Path, work: Callable[..., None], *args: object) -> tuple[dict[str, bytes], int, int]:
    context = multiprocessing.get_context("fork")
    answer, theirs = context.Pipe(duplex=False)
    process = context.Process(target=work, args=(*args, theirs))
    process.start()
    theirs.close()
    try:
        found: tuple[dict[str, bytes], int, int] = answer.recv()
    except EOFError:
        process.join()
        found = ({f"the process died ({process.exitcode})": (folder / _CURRENT).read_bytes()}, 0, 0)
    process.join(_PATIENCE_S)
    return found


def _search(reader: Reader, folder: Path, seconds: float, answer: Connection) -> None:
    findings: dict[str, bytes] = {}
    most = [0, 0]
    check = holds(reader, folder, most)

    def kept(case: bytes) -> None:
        try:
            check(case)
        except Finding as finding:
            what = re.sub(r"\d+|'[^']*'", "#", str(finding))
            if what not in findings or len(case) <= len(findings[what]):
                findings[what] = case
            raise

    end, turn = time.monotonic() + seconds, time.time_ns()
    options = settings(
        max_examples=_ROUND,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        print_blob=False,
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=True,
    )
    while time.monotonic() < end and not findings:
        turn += 1
        try:
            seed(turn)(options(given(reader.cases())(kept)))()
        except (Finding, ExceptionGroup):
            break
    answer.send((findings, *most))


def _replay(cases: Sequence[tuple[Reader, bytes]], folder: Path, answer: Connection) -> None:
    findings: dict[str, bytes] = {}
    most = [0, 0]
    for reader, case in cases:
        try:
            holds(reader, folder, most)(case)
        except Finding as finding:
            findings[f"{reader.name}: {finding}"] = case
    answer.send((findings, *most))
