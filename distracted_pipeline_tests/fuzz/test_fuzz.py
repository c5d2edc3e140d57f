"""A minute for every reader of bytes from outside; `make fuzz`, left out of the rest.

What is found is written into `corpus`, as small as it gets, for `test_replay.py` to try from then on.
"""

import os
import sys
from pathlib import Path

import pytest

if sys.platform != "linux":
    pytest.skip("memory is measured as Linux counts it", allow_module_level=True)

from distracted_pipeline_tests.fuzz.search import READERS, keep, replay, search

SECONDS = float(os.environ.get("DISTRACTED_TEST_FUZZ_SECONDS", "60"))

pytestmark = pytest.mark.fuzz


@pytest.mark.parametrize("name", READERS)
def test_no_case_is_found_that_a_reader_does_not_hold(name: str, tmp_path: Path) -> None:
    found, most, count = search(READERS[name], tmp_path, SECONDS)
    print(f"{name}: {count:,} cases, at most {most} of {READERS[name].memory_mib} MiB")
    for case in found.values():
        keep(name, case)
    assert not found


@pytest.mark.parametrize("name", [name for name, reader in READERS.items() if reader.largest is not dict])
def test_the_largest_file_that_a_reader_takes_or_refuses_is_held(name: str, tmp_path: Path) -> None:
    found, most, _ = replay([(READERS[name], case) for case in READERS[name].largest().values()], tmp_path)
    print(f"{name}: at most {most} of {READERS[name].memory_mib} MiB")
    assert not found
