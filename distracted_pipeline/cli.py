"""`distracted`: what a person types. Parses options and prints; the rooms and `operations` do the work.

Here are the commands that run the pipeline; those about one room are in `commands`. Heavy imports stay inside
the commands: `distracted --help` answers at once.
"""

import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from distracted_pipeline import __version__
from distracted_pipeline.advice import RUN, typed
from distracted_pipeline.commands.audit import audit
from distracted_pipeline.commands.common import (
    FOLD,
    PORTS,
    Listed,
    current_settings,
    data_option,
    demo_option,
    for_root,
    hanging,
    indented,
    short,
    use_root,
)
from distracted_pipeline.commands.masks import masks
from distracted_pipeline.commands.plan import plan
from distracted_pipeline.commands.predict import export, predict, sync
from distracted_pipeline.commands.report import compare, report
from distracted_pipeline.commands.review import review
from distracted_pipeline.commands.training import train
from distracted_pipeline.commands.variants import variants
from distracted_pipeline.commands.why import why
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.files import disk_refusal
from distracted_pipeline.operations import stopping
from distracted_pipeline.settings import DEFAULT_DATA, DEMO_DATA, PER_GPU, Settings, count_of, load_settings, variable
from distracted_pipeline.standing import gone

if TYPE_CHECKING:
    from distracted_pipeline.operations.run import RunSummary


class _Group(Listed):
    """Shows an error that a person can mend as one message, and Ctrl-C, SIGTERM and SIGHUP as an ordinary end."""

    sections = {  # noqa: RUF012  (never changed)
        "Begin": ("demo", "fetch", "doctor", "setup"),
        "Run": ("run", "train", "variants", "masks", "sync"),
        "Look": ("ui", "report", "why", "compare", "review", "plan", "predict", "export", "audit"),
    }

    def invoke(self, ctx: click.Context) -> Any:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")  # names that a terminal's encoding lacks are escaped
        if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":  # https://no-color.org
            ctx.color = False
        with stopping.listening():
            try:
                return super().invoke(ctx)
            except (click.ClickException, click.exceptions.Exit):
                raise
            except Exception as error:
                words = _in_words(error)
                if words is None:
                    raise
                raise click.ClickException(words) from error
            except KeyboardInterrupt:
                stopping.say_stopped()
                ctx.exit(stopping.exit_code())


def _in_words(error: Exception) -> str | None:
    """Return what a person can mend of an error; None where it is a bug."""
    if found := gone():
        return str(found)
    if isinstance(error, DistractedError):
        return str(error)
    return disk_refusal(error) if isinstance(error, OSError) else None


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="distracted")
@data_option
def main() -> None:
    """What does each technique do to the accuracy of each class of distracted driving?

    Ten minutes: `distracted demo`. Own data: put Kaggle's zip or its unpacked tree into data/, then `distracted run`.
    """


@main.command()
@click.option("--drivers", default=18, show_default=True, type=click.IntRange(12, 26), help="Drawn drivers.")
@click.option(
    "--frames", default=5, show_default=True, type=click.IntRange(2, 10_000), help="Frames per driver and class."
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Seed of the drawing.")
@demo_option
@click.pass_context
def demo(ctx: click.Context, drivers: int, frames: int, seed: int) -> None:
    """Draw a small data set with a planted effect and run the whole chain on it."""
    from distracted_pipeline.demo.prepare import prepare_demo
    from distracted_pipeline.demo.story import EXPECTED, findings
    from distracted_pipeline.images.feeder import cores

    # Never DISTRACTED_DATA: that is where the user's own data lies.
    root = ctx.find_root().obj or Path(DEMO_DATA).resolve()
    use_root(root)
    click.echo(f"demo data in {short(root)}; from drawing to report about four minutes on two idle cores")
    prepare_demo(root, drivers=drivers, frames=frames, seed=seed, log=indented)
    settings = load_settings()
    summary = _run(settings, workers=min(2, cores()))
    if summary.report:
        for finding in findings(settings)[: len(EXPECTED)]:
            click.echo(finding)
    _conclude(settings, summary)
    click.echo("next:")
    for command, what in (
        (for_root("distracted ui", root), "the asset graph, the runs, MLflow and the report, in a browser"),
        (
            f"cd {typed(short(root))} && mlflow ui",
            "the training runs alone: choose “Model training” at the top left",
        ),
        ("distracted fetch", "Kaggle's data into data/; says what to do where that needs an account"),
        (RUN, "the same on your own data: Kaggle's zip, or its unpacked tree, in data/"),
    ):
        click.echo(f"  {command:30} {what}")


@main.command()
@data_option
def fetch() -> None:
    """Download Kaggle's data into the data root; needs an account there, or put the zip in by hand."""
    from distracted_pipeline.images.fetch import fetch as download

    # Never the demo that bare commands fall back to while data/ is empty.
    settings = load_settings(data=variable("DISTRACTED_DATA") or DEFAULT_DATA)
    if not download(settings, log=click.echo):
        click.echo(f"{short(settings.data)} holds data already")
    click.echo(f"next: {RUN}")


@main.command()
@click.option("--variant", "variants", multiple=True, help="Only this variant (repeatable).")
@click.option("--fold", "folds", multiple=True, type=FOLD, help="Only this fold (repeatable).")
@click.option(
    "--config", type=click.Path(path_type=Path, dir_okay=False), help="Device, precision and batch size by op: YAML."
)
@click.option("--verify", is_flag=True, help="First read and hash every image anew, whatever its size and time say.")
@click.option(
    "--workers",
    type=click.IntRange(0),
    default=0,
    help="Processes that run steps; default: one for each GPU, else one.",
)
@click.option(
    "--per-gpu",
    type=click.IntRange(1),
    help=f"Processes that share a GPU; small trainings gain.  [default: {PER_GPU}, else 1]",
)
@data_option
def run(
    variants: tuple[str, ...],
    folds: tuple[str, ...],
    config: Path | None,
    verify: bool,
    workers: int,
    per_gpu: int | None,
) -> None:
    """Make everything that is missing or out of date; stop it and run it again as you like."""
    settings = current_settings()
    _conclude(settings, _run(settings, variants, folds, config, verify, workers, per_gpu))


def _run(
    settings: Settings,
    variants: tuple[str, ...] = (),
    folds: tuple[str, ...] = (),
    config: Path | None = None,
    verify: bool = False,
    workers: int = 0,
    per_gpu: int | None = None,
) -> "RunSummary":
    from distracted_pipeline.assets.compute import read_op_config
    from distracted_pipeline.operations.run import run_missing
    from distracted_pipeline.progress import duration

    summary = run_missing(
        settings,
        variants=variants,
        folds=folds,
        config=read_op_config(config) if config else None,
        verify=verify,
        workers=workers,
        per_gpu=per_gpu or count_of(PER_GPU) or 1,
        log=click.echo,
    )
    click.echo()
    for label, reason in summary.failed.items():
        click.secho(f"failed: {label}: {reason}", fg="red", err=True)
    for variant, reason in summary.skipped.items():
        click.echo(f"left out: {variant}: {reason}", err=True)
    steps = "step" if summary.done == 1 else "steps"
    click.echo(f"{summary.done} {steps} in {duration(summary.seconds)}, {len(summary.failed)} failed")
    return summary


def _conclude(settings: Settings, summary: "RunSummary") -> None:
    """Print what came out and where it is; exit with 1 where a step failed."""
    if summary.report:
        from distracted_pipeline.evaluation.tables import headline
        from distracted_pipeline.reports.read_report_data import read_report_data
        from distracted_pipeline.reports.verdict import verdict_line

        click.echo(headline(settings))
        click.secho(verdict_line(read_report_data(settings)), bold=True)
        click.echo(
            f"report: {summary.report.resolve().as_uri()}   (or `{for_root('distracted report open', settings.data)}`)"
        )
    if summary.failed:
        sys.exit(1)


@main.command()
@click.option("--hours", is_flag=True, help="Also time ten images and say how long the rest will take here.")
@data_option
def doctor(hours: bool) -> None:
    """Say what is there, what is missing, and what to type next.

    Exits with 1 where nothing can run.
    """
    from distracted_pipeline.operations.doctor import examine, next_command

    settings = current_settings()
    click.echo(f"data root: {settings.data}")
    findings = []
    for finding in examine(settings):
        for line in finding.lines():
            click.echo(hanging(line, 28 if "-> " in line[:28] else 25))
        findings.append(finding)
    click.echo(f"next: {next_command(findings)}")
    if any(finding.state == "missing" for finding in findings):
        sys.exit(1)
    if hours:
        from distracted_pipeline.operations.estimate import estimate, in_words

        click.echo("what is left, at the pace of ten images now:")
        for line in in_words(estimate(settings)):
            click.echo(f"  {line}")


@main.command()
@click.option(
    "--port",
    default=3000,
    show_default=True,
    type=click.IntRange(1, PORTS - 2),
    help="Dagster's port; MLflow and the report take the next two.",
)
@data_option
def ui(port: int) -> None:
    """Start Dagster, MLflow and the report server on this machine; one Ctrl-C ends all three."""
    from distracted_pipeline.operations.servers import serve_all

    serve_all(current_settings(), port=port, log=click.echo)


@main.command()
def setup() -> None:
    """Prepare this folder and this virtual environment for bare `dagster` commands."""
    from distracted_pipeline.operations.activation import MODULE_VARIABLES, write_conda_hooks, write_exports
    from distracted_pipeline.operations.instance import dagster_home, prepare_home

    home = dagster_home()
    prepare_home(home)
    scripts = [*write_exports(home), *write_conda_hooks(home)]
    names = ", ".join(script.name for script in scripts)
    click.echo(f"Dagster's history: {short(home)}")
    click.echo(f"activation exports: {names or 'none, there is no activate script beside this Python'}")
    if scripts and MODULE_VARIABLES[0] not in os.environ:
        click.echo("activate the environment once more, for bare `dagster` commands in this shell")


for command in (train, audit, compare, why, review, plan, predict, export, sync, masks, report, variants):
    main.add_command(command)


if __name__ == "__main__":
    main()
