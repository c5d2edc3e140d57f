"""The same search, led by which lines a case reaches, of zips and label files above all.

It needs atheris (`pip install atheris`), which exists for Linux.

    python -m distracted_pipeline_tests.fuzz.guided zip -max_total_time=60

What follows the reader's name goes to libFuzzer. It ends at the first finding, with its traceback.
"""

import sys
import tempfile
from pathlib import Path

import atheris
from hypothesis import HealthCheck, given, settings

with atheris.instrument_imports(include=["distracted_pipeline.images", "distracted_pipeline.yaml_text", "zipfile"]):
    from distracted_pipeline_tests.fuzz.search import READERS, holds


def main() -> None:
    """Search the reader that the first argument names."""
    reader = READERS[sys.argv.pop(1)]
    with tempfile.TemporaryDirectory() as folder:
        options = settings(deadline=None, database=None, suppress_health_check=list(HealthCheck))
        test = options(given(reader.cases())(holds(reader, Path(folder), [0, 0])))
        atheris.Setup(sys.argv, test.hypothesis.fuzz_one_input)  # type: ignore[attr-defined]
        atheris.Fuzz()


if __name__ == "__main__":
    main()
