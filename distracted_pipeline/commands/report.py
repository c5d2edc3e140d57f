"""`distracted report …` and `distracted compare`: what came out, in the browser and in the terminal."""

import os
import re
import sys
from pathlib import Path
from typing import Any

import click

from distracted_pipeline.addresses import ports_of
from distracted_pipeline.advice import RUN
from distracted_pipeline.commands.common import (
    PORTS,
    Listed,
    current_settings,
    data_option,
    format_option,
    scope_option,
    width,
    wrapped,
)
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.settings import Settings


@click.command()
@click.argument("a")
@click.argument("b")
@click.option(
    "--show",
    default="classes",
    show_default=True,
    type=click.Choice(["classes", "confusions", "drivers"]),
    help="What there is a row for: a class, a pair of confused classes, a driver.",
)
@scope_option
@format_option
@data_option
def compare(a: str, b: str, show: str, scope: str | None, style: str) -> None:
    """Say what variant B changed against variant A."""
    from distracted_pipeline.evaluation import comparison_tables as evaluation

    found = evaluation.read_compared(current_settings(), a, b, scope)
    if style in ("csv", "json"):
        frames = {"classes": evaluation.classes, "confusions": evaluation.confusions, "drivers": evaluation.by_driver}
        frame = frames[show](found)
        click.echo(frame.to_csv(index=False).rstrip() if style == "csv" else frame.to_json(orient="records", indent=2))
        for line in found.missing:
            click.echo(f"missing: {line}", err=True)
        return
    texts = {
        "classes": evaluation.class_text,
        "confusions": evaluation.confusion_text,
        "drivers": evaluation.driver_text,
    }
    cells, legend = texts[show](found)
    table = _coloured(evaluation.as_text(cells, width())) if style == "table" else evaluation.as_markdown(cells)
    click.echo(wrapped(evaluation.verdict_lines(found)))
    click.echo(f"\n{table}\n")
    click.echo(wrapped([*legend, *(f"missing: {line}" for line in found.missing)]))


@click.group(cls=Listed)
def report() -> None:
    """Look at the report."""


@report.command("open")
@data_option
def report_open() -> None:
    """Open the latest report in the browser, straight from disk."""
    page = _latest_report(current_settings())
    click.echo(page.as_uri())
    if not _has_display():
        click.echo(
            f"no display here. Copy {page.parent} to where a browser is, or type: distracted report serve", err=True
        )
        return
    click.launch(page.as_uri())


def _has_display() -> bool:
    """Tell whether a browser can be opened: without a display, `xdg-open` tries text browsers and complains of each."""
    displays = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER", "WSL_DISTRO_NAME")
    return sys.platform != "linux" or any(map(os.environ.get, displays))


@report.command("serve")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(1, PORTS))
@click.option("--beside-ui", is_flag=True, hidden=True)
@data_option
def report_serve(port: int, beside_ui: bool) -> None:
    """Serve the reports on this machine only."""
    from distracted_pipeline.reports.serve import serve

    settings = current_settings()
    serve(settings.reports, port=port, ports=ports_of(settings.data) if beside_ui else None, log=click.echo)


def _coloured(table: str) -> str:
    """Return a table whose last column, the verdict, is coloured; without colours where there is no terminal."""
    looks: dict[str, dict[str, Any]] = {"improved": {"fg": "green"}, "worsened": {"fg": "red"}}
    looks |= {key: {"dim": True} for key in ("undetermined", "not testable")}
    return re.sub(rf"({'|'.join(looks)})$", lambda found: click.style(found[0], **looks[found[0]]), table, flags=re.M)


def _latest_report(settings: Settings) -> Path:
    page = settings.reports / "latest" / "index.html"
    if not page.exists():
        raise DistractedError(f"no report in {settings.reports} yet. Type: {RUN} (or: distracted demo)")
    return page.resolve()
