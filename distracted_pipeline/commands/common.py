"""What every `distracted` command shares: the data root option, settings, and how lines are printed.

Does not belong here: commands themselves.
"""

import math
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from distracted_pipeline.advice import did_you_mean, typed
from distracted_pipeline.scopes import FOLDS, SCOPES, canonical_fold
from distracted_pipeline.settings import DEMO_DATA, Settings, default_root, expand_home, load_settings


class Listed(click.Group):
    """Lists its commands with their whole first sentence, where click would end it in three dots."""

    sections: Mapping[str, Sequence[str]] = {}
    """Title -> commands, in the order in which a person needs them; all under one title by default."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the lists below a group's help."""
        for title, names in (self.sections or {"Commands": self.list_commands(ctx)}).items():
            with formatter.section(title):
                formatter.write_dl([(name, self.commands[name].get_short_help_str(200)) for name in names])


class _Fold(click.Choice[str]):
    """A fold by its name; the one that it had in earlier versions is understood, with a note."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            fold = super().convert(canonical_fold(value), param, ctx)
        except click.BadParameter as error:
            self.fail(f"{error.message}{did_you_mean(str(value), FOLDS)}", param, ctx)
        if fold != value:
            click.echo(f"note: fold {value} is called {fold} now", err=True)
        return fold


FOLD = _Fold(FOLDS)
"""Type of every `--fold` option."""


class Number(click.FloatRange):
    """A number within limits; `nan` is within any, and `inf` within those of one side, so neither is one here."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number that was typed, or end the command."""
        found = float(super().convert(value, param, ctx))
        if not math.isfinite(found):
            self.fail(f"{value} is no finite number.", param, ctx)
        return found


PORTS = 2**16 - 1
"""The last port there is."""


_ENVIRONMENT = "distracted_pipeline.environment"
"""Where click keeps the environment in which the command was typed."""


def use_root(root: Path) -> None:
    """Have this command work on a data root: assets, and all that Dagster starts, look for it in the environment."""
    click.get_current_context().meta.setdefault(_ENVIRONMENT, dict(os.environ))
    os.environ["DISTRACTED_DATA"] = str(root)


def for_root(command: str, root: Path) -> str:
    """Return a command to be typed next: with `--data` where it would work on another data root than this one."""
    environment = click.get_current_context().meta.get(_ENVIRONMENT, os.environ)
    return command if default_root(environment) == root else f"{command} --data {typed(short(root))}"


def _use_data(ctx: click.Context, _param: click.Parameter, value: Path | None) -> None:
    if value is not None:
        root = expand_home(value, "--data").resolve()
        use_root(root)
        ctx.find_root().obj = root


def _data(default: str) -> Callable[[click.decorators.FC], click.decorators.FC]:
    return click.option(
        "--data",
        type=click.Path(path_type=Path),
        callback=_use_data,
        expose_value=False,
        help=f"Data root; default {default}.",
    )


data_option = _data(f"DISTRACTED_DATA, else data/ ({DEMO_DATA}/ while that is all there is)")
demo_option = _data(f"{DEMO_DATA}/, whatever DISTRACTED_DATA says")


scope_option = click.option(
    "--scope",
    type=click.Choice(list(SCOPES)),
    help="Which predictions: out of fold, or of the original split.  [default: the first that has both]",
)

format_option = click.option(
    "--format",
    "style",
    default="table",
    show_default=True,
    type=click.Choice(["table", "csv", "json", "markdown"]),
    help="table and markdown are rounded, csv and json are not.",
)


def current_settings() -> Settings:
    """Return the settings in force, after telling what is worth knowing about them."""
    settings = load_settings()
    for note in settings.notes:
        click.echo(f"note: {note}", err=True)
    return settings


def width() -> int:
    """Return how many columns the terminal has; 80 where there is none."""
    return shutil.get_terminal_size((80, 24)).columns


def wrapped(lines: Iterable[str]) -> str:
    """Return paragraphs, each from a line of its own, no wider than the terminal nor than is good to read."""
    return "\n".join(textwrap.fill(line, min(width(), 100), break_on_hyphens=False) for line in lines)


def hanging(line: str, indent: int) -> str:
    """Return a line folded at the edge of the terminal, its rest indented; whole where something else reads it."""
    if not sys.stdout.isatty():
        return line
    return textwrap.fill(
        line,
        width(),
        subsequent_indent=" " * indent,
        break_on_hyphens=False,
        break_long_words=False,
    )


def short(path: Path) -> str:
    """Return a path as a person would type it from here."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def indented(line: str) -> None:
    """Print a line of progress below the step it belongs to."""
    click.echo(f"    {line}")
