"""`distracted review`: labels in doubt are shown to a person, and what was decided is read back."""

from pathlib import Path

import click

from distracted_pipeline.advice import RUN
from distracted_pipeline.commands.common import current_settings, data_option, short


@click.command()
@click.option("--apply", "chosen", type=click.Path(path_type=Path, dir_okay=False), help="Decisions saved by the page.")
@click.option("--most", default=100, show_default=True, type=click.IntRange(1), help="Labels on the page.")
@click.option("--open/--no-open", "opens", default=False, help="Open the page in the browser.")
@data_option
def review(chosen: Path | None, most: int, opens: bool) -> None:
    """Write a page of labels in doubt to decide on, or take over what was decided there."""
    settings = current_settings()
    if chosen is not None:
        from distracted_pipeline.images.decisions import accept, decisions_file

        total, changed = accept(settings, chosen)
        click.echo(f"{changed} new or changed, {total} decisions in {short(decisions_file(settings))}")
        click.echo(f"delete that file to undo them all; next: {RUN}")
        return
    from distracted_pipeline.reports.review import write_review

    found = write_review(settings, most)
    before = f", {found.decided} decided before" if found.decided else ""
    click.echo(f"{found.in_doubt} labels in doubt{before}; the {found.shown} most doubted: {found.path.as_uri()}")
    click.echo("next: decide there, save, then: distracted review --apply label_decisions.csv")
    if opens:
        click.launch(found.path.as_uri())
