"""`distracted train`: train one model, or a sweep, from the original project's options."""

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from distracted_pipeline.commands.common import FOLD, Number, current_settings, data_option, indented, short
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.scopes import ORIGINAL_FOLD


@click.command()
@click.option("--batch-size", default=128, show_default=True, type=click.IntRange(1))
@click.option("--model-name", default=None, help="Backbone; default DISTRACTED_BACKBONE.")
@click.option(
    "--adapters", default="[3]", show_default=True, help="Base blocks that get an adapter, e.g. [3] or [2,5]."
)
@click.option("--top-lr", default=2.0, show_default=True, type=Number(0))
@click.option("--top-decay", default=0.0, show_default=True, type=Number(0))
@click.option("--body-lr", default=0.0, show_default=True, type=Number(0))
@click.option("--body-decay", default=0.0, show_default=True, type=Number(0))
@click.option(
    "--gamma",
    default=1.0,
    show_default=True,
    type=Number(0, min_open=True),
    help="Factor of the learning rates after each epoch.",
)
@click.option("--epochs", default=10, show_default=True, type=click.IntRange(1))
@click.option(
    "--adapter-weight",
    default=0.0,
    show_default=True,
    type=Number(),
    help="0: serial adapter, else the parallel one's.",
)
@click.option("--checkpoint", default=None, help="Start from this trained variant, or from a model folder.")
@click.option("--name", default="custom", show_default=True, help="Folder and MLflow name of the result.")
@click.option("--fold", default=ORIGINAL_FOLD, show_default=True, type=FOLD)
@click.option(
    "--from-json", type=click.Path(path_type=Path, dir_okay=False), help="A sweep: {name: {--option: value}}."
)
@data_option
@click.pass_context
def train(ctx: click.Context, from_json: Path | None, name: str, fold: str, **options: Any) -> None:
    """Train one model from the original project's options: adapters, else body-lr, else masks.

    It is trained as often as any variant of its kind, two or three times; DISTRACTED_REPLICATES=1 trains it once.
    """
    given = [key for key in ("name", *options) if ctx.get_parameter_source(key) is ParameterSource.COMMANDLINE]
    if from_json and given:
        words = ", ".join(f"--{key.replace('_', '-')}" for key in given)
        raise DistractedError(
            f"{words}: with --from-json these come from {from_json}. Write them there, or leave them out."
        )
    from distracted_pipeline.training.original_cli import from_json as read_sweep
    from distracted_pipeline.training.original_cli import train_from_options

    settings = current_settings()
    for run_name, chosen in (read_sweep(from_json) if from_json else {name: options}).items():
        result = train_from_options(settings, name=run_name, fold=fold, log=indented, **chosen)
        click.echo(f"{run_name}: {short(result.folder)}")
