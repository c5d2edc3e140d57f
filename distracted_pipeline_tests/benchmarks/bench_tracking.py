"""What an MLflow run costs, and what a training waits for a server that takes connections and never answers.

    python -m distracted_pipeline_tests.benchmarks.bench_tracking

Runs in CPU seconds of this process, the store being a new SQLite file; waits by the clock, with the retries and
time-outs that the pipeline sets. Exits with 1 when a bar is missed.
"""

import socket
import tempfile
import time
from pathlib import Path

import click

from distracted_pipeline.files import write_json
from distracted_pipeline.settings import Settings
from distracted_pipeline.training import mlflow_outbox, tracking
from distracted_pipeline.training.checkpoint import CONFIG, WEIGHTS

RUN_BAR_S = 0.35
FIRST_BAR_S = 30.0
NEXT_BAR_S = 0.5


def seconds_of_a_run(settings: Settings, count: int) -> float:
    """Return the CPU seconds of a training's run: opened, its results sent, what it predicts added."""
    config = {"mlflow_run_id": None, "history": []}
    history = [{"epoch": k, "train_loss": 1.0, "validation_loss": 1.0, "validation_accuracy": 0.5} for k in range(8)]
    recalls = {f"validation_recall_c{k}": 0.5 for k in range(10)}
    tracking.open_client(settings)  # creates the database, which is not what a run costs
    start = time.process_time()
    for number in range(count):
        folder = settings.models / "variant" / str(number) / "0"
        folder.mkdir(parents=True)
        write_json(folder / CONFIG, config)
        (folder / WEIGHTS).write_bytes(bytes(100_000))
        tags = {"variant": "variant", "fold": str(number), "replicate": "0"}
        params = {f"option_{k}": k for k in range(30)}
        run = tracking.reopen_or_start(settings, f"variant fold {number}", params, tags, log=click.echo)
        mlflow_outbox.finish_run(
            settings, folder, run, history=history, metrics=recalls, figures={"confusion.svg": "<svg/>"}, log=click.echo
        )
        mlflow_outbox.add_metrics(settings, folder, run.id, {"held_out_accuracy": 0.5}, log=click.echo)
    return (time.process_time() - start) / count


def seconds_until_given_up(settings: Settings) -> float:
    """Return how long it takes until the store counts as down."""
    start = time.monotonic()
    try:
        tracking.open_client(settings)
    except tracking.StoreDownError:
        return time.monotonic() - start
    raise click.ClickException("the silent server answered")


@click.command()
@click.option("--runs", default=20, show_default=True, type=click.IntRange(1))
def main(runs: int) -> None:
    """Print what a run costs and both waits, with their bars."""
    with tempfile.TemporaryDirectory() as folder:
        each = seconds_of_a_run(Settings(data=Path(folder)), runs)
    click.echo(f"a run, CPU:                          {each:6.3f} s   (bar: {RUN_BAR_S:g})")
    with tempfile.TemporaryDirectory() as folder, socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        settings = Settings(data=Path(folder), mlflow=f"http://127.0.0.1:{silent.getsockname()[1]}")
        first, following = seconds_until_given_up(settings), seconds_until_given_up(settings)
    click.echo(f"a silent MLflow server, first asked: {first:6.2f} s   (bar: {FIRST_BAR_S:g})")
    click.echo(f"a moment later:                      {following:6.2f} s   (bar: {NEXT_BAR_S:g})")
    if each > RUN_BAR_S or first > FIRST_BAR_S or following > NEXT_BAR_S:
        raise click.ClickException("over the bar")


if __name__ == "__main__":
    main()
