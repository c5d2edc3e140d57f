"""The same search, led by which lines a case reaches. It needs atheris (`pip install atheris`), which exists for Linux.

    python -m distracted_pipeline_tests.fuzz.guided                            # every reader, a minute each
    python -m distracted_pipeline_tests.fuzz.guided zip map_png -max_total_time=600

Options go to libFuzzer. Each reader is searched in a process of its own; its first finding goes into `corpus`.
"""

import multiprocessing
import sys
import tempfile
from pathlib import Path

import atheris
from hypothesis import HealthCheck, given, settings

with atheris.instrument_imports(include=["distracted_pipeline", "yaml", "zipfile"]):
    from distracted_pipeline_tests.fuzz.search import READERS, holds, keep
from distracted_pipeline_tests.fuzz.reader import Finding

_MINUTE = "-max_total_time=60"
_OWN_BOUND = "-rss_limit_mb=0"  # each reader has its own, which `held` measures


def main() -> int:
    """Search the readers that the arguments name, or all; return 1 where one does not hold."""
    options = [word for word in sys.argv[1:] if word.startswith("-")]
    names = [word for word in sys.argv[1:] if not word.startswith("-")] or list(READERS)
    if unknown := set(names) - READERS.keys():
        sys.exit(f"no reader is called {', '.join(sorted(unknown))}; there are {', '.join(READERS)}")
    found = []
    for name in names:
        print(f"== {name}", flush=True)
        process = multiprocessing.get_context("fork").Process(target=_search, args=(name, options))
        process.start()
        process.join()
        if process.exitcode:
            found.append(name)
    print(f"{len(names) - len(found)} of {len(names)} readers held" + f"; not: {', '.join(found)}" * bool(found))
    return bool(found)


def _search(name: str, options: list[str]) -> None:
    """Search one reader; libFuzzer ends the process."""
    with tempfile.TemporaryDirectory() as folder:
        check = holds(READERS[name], Path(folder), [0, 0])

        def kept(case: bytes) -> None:
            try:
                check(case)
            except Finding:
                print(f"kept as {keep(name, case)}", file=sys.stderr)
                raise

        quiet = settings(deadline=None, database=None, suppress_health_check=list(HealthCheck))
        test = quiet(given(READERS[name].cases())(kept))
        atheris.Setup([sys.argv[0], _MINUTE, _OWN_BOUND, *options], test.hypothesis.fuzz_one_input)  # type: ignore[attr-defined]
        atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
