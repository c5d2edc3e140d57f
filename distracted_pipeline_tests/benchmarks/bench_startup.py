"""What loading the definitions costs beside an empty project: CPU time of `dagster definitions validate`.

    python -m distracted_pipeline_tests.benchmarks.bench_startup

Alternates the two and prints medians of user plus system time, children included. Bar: at most 1.5 times.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import click

OURS = "distracted_pipeline.definitions"
BAR = 1.5


def cpu_seconds(module: str, folder: Path) -> float:
    """Return user plus system seconds of validating `module` in a fresh process and its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("DAGSTER", "DISTRACTED"))}
    subprocess.run(
        [sys.executable, "-m", "dagster", "definitions", "validate", "-m", module],
        cwd=folder,
        env={**environment, "PYTHONPATH": str(folder)},
        check=True,
        capture_output=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@click.command()
@click.option("--rounds", default=7, show_default=True)
def main(rounds: int) -> None:
    """Print both sides and their ratio."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "empty_project.py").write_text("import dagster as dg\n\ndefs = dg.Definitions()\n")
        pairs = [(cpu_seconds("empty_project", folder), cpu_seconds(OURS, folder)) for _ in range(rounds)]
    empty, ours = (statistics.median(side) for side in zip(*pairs, strict=True))
    ratio = statistics.median(b / a for a, b in pairs)
    print(f"dagster definitions validate, CPU seconds, medians of {rounds} alternated pairs")
    print(f"  an empty project  {empty:5.2f}")
    print(f"  this project      {ours:5.2f}")
    print(f"  ratio             {ratio:5.2f}   bar {BAR}   {'met' if ratio <= BAR else 'MISSED'}")


if __name__ == "__main__":
    main()
