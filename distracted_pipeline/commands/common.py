"""What every `distracted` command shares: the data root option, settings, and how lines are printed.

Does not belong here: commands themselves.
"""

import os
from pathlib import Path

import click

from distracted_pipeline.settings import Settings, load_settings


def _use_data(ctx: click.Context, _param: click.Parameter, value: Path | None) -> None:
    if value is not None:
        # The assets, and every process Dagster starts, read the data root from the environment.
        os.environ["DISTRACTED_DATA"] = str(value.expanduser().resolve())
        ctx.find_root().obj = value.expanduser().resolve()


data_option = click.option(
    "--data",
    type=click.Path(path_type=Path),
    callback=_use_data,
    expose_value=False,
    help="Data root; default DISTRACTED_DATA, else data/.",
)


def current_settings() -> Settings:
    """Return the settings in force, after telling what is worth knowing about them."""
    settings = load_settings()
    for note in settings.notes:
        click.echo(f"note: {note}", err=True)
    return settings


def short(path: Path) -> str:
    """Return a path as a person would type it from here."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def indented(line: str) -> None:
    """Print a line of progress below the step it belongs to."""
    click.echo(f"    {line}")
