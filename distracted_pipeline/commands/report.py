"""`distracted report …` and `distracted compare`: what came out, in the browser and in the terminal."""

from pathlib import Path

import click

from distracted_pipeline.commands.common import current_settings, data_option
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.settings import Settings


@click.command()
@click.argument("a")
@click.argument("b")
@click.option("--scope", default="oof", show_default=True, type=click.Choice(["oof", "dev", "test"]))
@click.option("--format", "style", default="table", show_default=True, type=click.Choice(["table", "csv", "json"]))
@data_option
def compare(a: str, b: str, scope: str, style: str) -> None:
    """Say what variant B changed against variant A, class by class."""
    from distracted_pipeline.evaluation.tables import compare as compare_variants

    table = compare_variants(current_settings(), a, b, scope=scope)
    if style == "csv":
        click.echo(table.to_csv(index=False), nl=False)
    elif style == "json":
        click.echo(table.to_json(orient="records", indent=2))
    else:
        click.echo(table.to_string(index=False, float_format=lambda value: f"{value:.3f}"))


@click.group()
def report() -> None:
    """Look at the report."""


@report.command("open")
@data_option
def report_open() -> None:
    """Open the latest report in the browser, straight from disk."""
    page = _latest_report(current_settings())
    click.echo(page.as_uri())
    click.launch(page.as_uri())


@report.command("serve")
@click.option("--port", default=8000, show_default=True)
@data_option
def report_serve(port: int) -> None:
    """Serve the reports on this machine only."""
    from distracted_pipeline.reports.serve import serve

    settings = current_settings()
    _latest_report(settings)
    serve(settings.reports, port=port, log=click.echo)


def _latest_report(settings: Settings) -> Path:
    page = settings.reports / "latest" / "index.html"
    if not page.exists():
        raise DistractedError(f"no report in {settings.reports} yet. Type `distracted run` (or `distracted demo`).")
    return page.resolve()
