"""What fuzzing found, and what was made to be too much: each reader holds it in a sentence, a bound and a moment."""

import sys
from pathlib import Path

import pytest

if sys.platform != "linux":
    pytest.skip("memory is measured as Linux counts it", allow_module_level=True)

from distracted_pipeline_tests.fuzz.reader import Finding, Reader, held
from distracted_pipeline_tests.fuzz.search import CORPUS, READERS, known, replay


def test_every_case_that_was_found_is_held(tmp_path: Path) -> None:
    cases = [(reader, case) for reader in READERS.values() for case in known(reader).values()]
    found, _, count = replay(cases, tmp_path)
    assert (list(found), count) == ([], len(cases))


def test_what_cases_are_made_from_is_taken(tmp_path: Path) -> None:
    for name, reader in READERS.items():
        for number, valid in enumerate(reader.valid()):
            reader.read(tmp_path / f"{name}{number}", valid)


def test_the_corpus_is_small_and_of_readers_there_are() -> None:
    assert {path.name for path in CORPUS.iterdir()} <= {*READERS}
    assert max(path.stat().st_size for path in CORPUS.glob("*/*")) < 2**13


def test_a_reader_that_does_what_none_may_is_found_out(tmp_path: Path) -> None:
    def reader(read: object, **bounds: float) -> Reader:
        return Reader("none", read, lambda: None, list, **bounds)  # type: ignore[arg-type]

    def hangs(folder: Path, case: bytes) -> None:
        while True:
            pass

    with pytest.raises(Finding, match="ZeroDivisionError"):
        held(reader(lambda folder, case: 1 / 0), tmp_path, b"")
    with pytest.raises(Finding, match="MiB, more than 16"):
        held(reader(lambda folder, case: len(b"x" * 2**26), memory_mib=16), tmp_path, b"")
    with pytest.raises(Finding, match=r"more than 0\.1 s"):
        held(reader(hangs, seconds=0.1), tmp_path, b"")
