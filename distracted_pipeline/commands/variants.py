"""`distracted variants …`: the catalogue as it is in force, and what one entry's network looks like."""

import click

from distracted_pipeline.commands.common import Listed, current_settings, data_option


@click.group(cls=Listed, invoke_without_command=True)
@data_option
@click.pass_context
def variants(ctx: click.Context) -> None:
    """List the variants that train: the shipped ones, and those of the file that DISTRACTED_VARIANTS names."""
    if ctx.invoked_subcommand is not None:
        return
    from distracted_pipeline.variants.config import every_variant

    settings = current_settings()
    catalogue = every_variant(settings)
    width = max(map(len, catalogue))
    for name, config in catalogue.items():
        mark = "  (baseline)" if name == settings.baseline else "  (on request)" if config.on_request else ""
        click.echo(f"{name:{width}}  {config.technique.trains}{mark}")
    click.echo("One of them: distracted variants show NAME")


@variants.command("show")
@click.argument("name")
@data_option
def show(name: str) -> None:
    """Print a variant's options, the parts of its network with their parameters, and the base blocks for adapters."""
    from distracted_pipeline.variants.layout import describe

    for line in describe(current_settings(), name):
        click.echo(line)
