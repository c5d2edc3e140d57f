"""`distracted plan`: what it takes to see a change, from the noises of this data."""

import click

from distracted_pipeline.commands.common import (
    Number,
    current_settings,
    data_option,
    format_option,
    scope_option,
    width,
    wrapped,
)


@click.command()
@click.argument("variant", required=False)
@click.option("--against", help="What it is compared with.  [default: as in the report]")
@scope_option
@click.option(
    "--delta",
    default=0.05,
    show_default=True,
    type=Number(0, 1, min_open=True),
    help="The change of recall that is to be seen.",
)
@click.option(
    "--power",
    "reach",
    default=0.8,
    show_default=True,
    type=Number(0, 1, min_open=True, max_open=True),
    help="How likely it is to be seen.",
)
@click.option(
    "--questions",
    type=click.IntRange(1),
    help="How many questions are asked together.  [default: as many as in the report]",
)
@format_option
@data_option
def plan(
    variant: str | None,
    against: str | None,
    scope: str | None,
    delta: float,
    reach: float,
    questions: int | None,
    style: str,
) -> None:
    """Say how many drivers and trainings it takes to see a change of VARIANT, by class.

    Without VARIANT: of the one that the report's headline is about.
    """
    from distracted_pipeline.evaluation import comparison_tables as tables
    from distracted_pipeline.evaluation import plan_tables as planned

    settings = current_settings()
    found, scope = planned.read_study(settings, variant, against, scope, questions=questions, delta=delta, reach=reach)
    dataset = settings.dataset
    if style in ("csv", "json"):
        frame = planned.frame(found, dataset.class_names)
        click.echo(frame.to_csv(index=False).rstrip() if style == "csv" else frame.to_json(orient="records", indent=2))
        return
    labels = [dataset.class_label(k) for k in range(len(dataset.class_ids))]
    head, cells, legend = planned.plan_text(found, scope, labels)
    click.echo(wrapped(head))
    click.echo("\n" + (tables.as_text(cells, width()) if style == "table" else tables.as_markdown(cells)) + "\n")
    click.echo(wrapped(legend))
