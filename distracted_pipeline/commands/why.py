"""`distracted why`: the evidence behind the verdicts, made when it is asked for."""

import sys
from pathlib import Path

import click

from distracted_pipeline.commands.common import current_settings, data_option


@click.command()
@click.option("--variant", "variants", multiple=True, help="Only this variant (repeatable).")
@click.option(
    "--config", type=click.Path(path_type=Path, dir_okay=False), help="Device and batch size by op: a YAML file."
)
@data_option
def why(variants: tuple[str, ...], config: Path | None) -> None:
    """Ask the finished networks why: makes what the report's page "Why" shows; minutes, and resumable."""
    from distracted_pipeline.assets.compute import read_op_config
    from distracted_pipeline.operations.why import run_why
    from distracted_pipeline.progress import duration

    settings = current_settings()
    summary = run_why(settings, variants=variants, config=read_op_config(config) if config else None, log=click.echo)
    for label, reason in summary.failed.items():
        click.secho(f"failed: {label}: {reason}", fg="red", err=True)
    steps = "step" if summary.done == 1 else "steps"
    click.echo(f"{summary.done} {steps} in {duration(summary.seconds)}, {len(summary.failed)} failed")
    if summary.report:
        click.echo(f"report: {summary.report.resolve().as_uri()}")
    if summary.failed:
        sys.exit(1)
