"""What a training waits for an MLflow server that takes connections and never answers, and what the next one waits.

    python -m distracted_pipeline_tests.benchmarks.bench_tracking

By the clock, with the retries and time-outs that the pipeline sets; exits with 1 when a bar is missed.
"""

import socket
import tempfile
import time
from pathlib import Path

import click

from distracted_pipeline.settings import Settings
from distracted_pipeline.training import tracking

FIRST_BAR_S = 30.0
NEXT_BAR_S = 0.5


def seconds_until_given_up(settings: Settings) -> float:
    """Return how long it takes until the store counts as down."""
    start = time.monotonic()
    try:
        tracking.open_client(settings)
    except tracking.StoreDownError:
        return time.monotonic() - start
    raise click.ClickException("the silent server answered")


@click.command()
def main() -> None:
    """Print both waits with their bars."""
    with tempfile.TemporaryDirectory() as folder, socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        settings = Settings(data=Path(folder), mlflow=f"http://127.0.0.1:{silent.getsockname()[1]}")
        first, following = seconds_until_given_up(settings), seconds_until_given_up(settings)
    click.echo(f"a silent MLflow server, first asked: {first:6.2f} s   (bar: {FIRST_BAR_S:g})")
    click.echo(f"a moment later:                      {following:6.2f} s   (bar: {NEXT_BAR_S:g})")
    if first > FIRST_BAR_S or following > NEXT_BAR_S:
        raise click.ClickException("over the bar")


if __name__ == "__main__":
    main()
