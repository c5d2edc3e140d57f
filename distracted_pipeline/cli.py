"""`distracted`: what a person types. Parses options and prints; the rooms and `orchestration` do the work.

Heavy imports stay inside the commands: `distracted --help` answers at once.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from distracted_pipeline import __version__
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.settings import DEMO_DATA, Settings, load_settings
from distracted_pipeline.vocabulary import FOLDS


class _Group(click.Group):
    """Shows errors a person can mend as one message, and makes Ctrl-C an ordinary end."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except DistractedError as error:
            raise click.ClickException(str(error)) from error
        except KeyboardInterrupt:
            click.echo("\nStopped. What was finished is kept; the same command goes on from there.", err=True)
            ctx.exit(130)


def _use_data(ctx: click.Context, _param: click.Parameter, value: Path | None) -> None:
    if value is not None:
        # The assets, and every process Dagster starts, read the data root from the environment.
        os.environ["DISTRACTED_DATA"] = str(value.expanduser().resolve())
        ctx.find_root().obj = value.expanduser().resolve()


_data_option = click.option(
    "--data",
    type=click.Path(path_type=Path),
    callback=_use_data,
    expose_value=False,
    help="Data root; default DISTRACTED_DATA, else data/.",
)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="distracted")
@_data_option
def main() -> None:
    """What does each technique do to the accuracy of each class of distracted driving?

    Ten minutes: `distracted demo`. Own data: put Kaggle's zip or its unpacked tree into data/, then `distracted run`.
    """


def _settings() -> Settings:
    settings = load_settings()
    for note in settings.notes:
        click.echo(f"note: {note}", err=True)
    return settings


@main.command()
@click.option("--drivers", default=14, show_default=True, type=click.IntRange(12, 26), help="Drawn drivers.")
@click.option("--frames", default=8, show_default=True, type=click.IntRange(2), help="Frames per driver and class.")
@click.option("--seed", default=0, show_default=True, help="Seed of the drawing.")
@_data_option
@click.pass_context
def demo(ctx: click.Context, drivers: int, frames: int, seed: int) -> None:
    """Draw a small data set with a planted effect and run the whole chain on it."""
    from distracted_pipeline.demo.prepare import prepare_demo

    # Never DISTRACTED_DATA: that is where the user's own data lies.
    root = ctx.find_root().obj or Path(DEMO_DATA).resolve()
    os.environ["DISTRACTED_DATA"] = str(root)
    click.echo(f"demo data in {_short(root)}")
    prepare_demo(root, drivers=drivers, frames=frames, seed=seed, log=_indented)
    settings = load_settings()
    _run(settings, (), ())
    click.echo("next:")
    click.echo("  distracted ui              the asset graph, the runs, MLflow and the report in a browser")
    click.echo("  distracted doctor          what is there, what is missing for the real data")
    click.echo("  distracted run             after putting Kaggle's zip or tree into data/")


@main.command()
@click.option("--variant", "variants", multiple=True, help="Only this variant (repeatable).")
@click.option("--fold", "folds", multiple=True, help="Only this fold: seed, 0 ... 4 (repeatable).")
@_data_option
def run(variants: tuple[str, ...], folds: tuple[str, ...]) -> None:
    """Make everything that is missing, in one process; kill it and run it again as you like."""
    _run(_settings(), variants, folds)


def _run(settings: Settings, variants: tuple[str, ...], folds: tuple[str, ...]) -> None:
    from distracted_pipeline.orchestration.pipeline import run_missing
    from distracted_pipeline.progress import duration

    summary = run_missing(settings, variants=variants, folds=folds, log=click.echo)
    click.echo()
    for label, reason in summary.failed.items():
        click.secho(f"failed: {label}: {reason}", fg="red", err=True)
    click.echo(f"{summary.done} steps in {duration(summary.seconds)}, {len(summary.failed)} failed")
    if summary.report:
        from distracted_pipeline.evaluation.tables import headline

        click.echo(headline(settings))
        click.echo(f"report: {summary.report.resolve().as_uri()}   (or `distracted report open`)")
    if summary.failed:
        sys.exit(1)


@main.command()
@_data_option
def doctor() -> None:
    """Say what is there, what is missing, and what to type next."""
    from distracted_pipeline.doctor import examine

    click.echo(examine(_settings()))


@main.command()
@click.option("--batch-size", default=128, show_default=True, type=click.IntRange(1))
@click.option("--model-name", default=None, help="Backbone; default DISTRACTED_BACKBONE.")
@click.option(
    "--adapters", default="[3]", show_default=True, help="Base blocks that get an adapter, e.g. [3] or [2,5]."
)
@click.option("--top-lr", default=2.0, show_default=True)
@click.option("--top-decay", default=0.0, show_default=True)
@click.option("--body-lr", default=0.0, show_default=True)
@click.option("--body-decay", default=0.0, show_default=True)
@click.option("--gamma", default=1.0, show_default=True, help="Factor of the learning rates after each epoch.")
@click.option("--epochs", default=10, show_default=True, type=click.IntRange(1))
@click.option("--adapter-weight", default=0.0, show_default=True, help="0: serial adapter, else the parallel one's.")
@click.option("--checkpoint", default=None, help="Start from this trained variant, or from a model folder.")
@click.option("--name", default="custom", show_default=True, help="Folder and MLflow name of the result.")
@click.option("--fold", default="seed", show_default=True, type=click.Choice(FOLDS))
@click.option(
    "--from-json", type=click.Path(path_type=Path, dir_okay=False), help="A sweep: {name: {--option: value}}."
)
@_data_option
def train(from_json: Path | None, name: str, fold: str, **options: Any) -> None:
    """Train one model from the seed project's options: adapters, else body-lr, else masks."""
    from distracted_pipeline.training.sweep import from_json as read_sweep
    from distracted_pipeline.training.sweep import train_from_options

    settings = _settings()
    for run_name, chosen in (read_sweep(from_json) if from_json else {name: options}).items():
        result = train_from_options(settings, name=run_name, fold=fold, log=_indented, **chosen)
        click.echo(f"{run_name}: {_short(result.folder)}")


@main.command()
@click.argument("a")
@click.argument("b")
@click.option("--scope", default="oof", show_default=True, type=click.Choice(["oof", "dev", "test"]))
@click.option("--format", "style", default="table", show_default=True, type=click.Choice(["table", "csv", "json"]))
@_data_option
def compare(a: str, b: str, scope: str, style: str) -> None:
    """Say what variant B changed against variant A, class by class."""
    from distracted_pipeline.evaluation.tables import compare as compare_variants

    table = compare_variants(_settings(), a, b, scope=scope)
    if style == "csv":
        click.echo(table.to_csv(index=False), nl=False)
    elif style == "json":
        click.echo(table.to_json(orient="records", indent=2))
    else:
        click.echo(table.to_string(index=False, float_format=lambda value: f"{value:.3f}"))


@main.group()
def masks() -> None:
    """Look at the mask cache, take it out, put other masks in, sweep old ones."""


@masks.command("show")
@click.argument("img")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="PNG to write; default IMG.overlay.png.")
@_data_option
def masks_show(img: str, out: Path | None) -> None:
    """Write a frame with its mask drawn over it."""
    from distracted_pipeline.masks.overlays import show

    target = out or Path(f"{Path(img).stem}.overlay.png")
    show(_settings(), img).save(target)
    click.echo(target)


@masks.command("export")
@click.option("--npz", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder to write to.")
@_data_option
def masks_export(npz: Path) -> None:
    """Write every mask as <img>.jpg.npz with the category ids 0 to 6."""
    from distracted_pipeline.masks.exchange import export_npz

    click.echo(f"{export_npz(_settings(), npz, log=_indented):,} masks in {npz}")


@masks.command("import")
@click.option("--npz", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder to read.")
@_data_option
def masks_import(npz: Path) -> None:
    """Take masks from <img>.jpg.npz files into a cache of their own."""
    from distracted_pipeline.masks.exchange import import_npz

    results = import_npz(_settings(), npz, log=_indented).values()
    failed = sum(len(result.failed) for result in results)
    click.echo(f"{sum(result.done for result in results):,} masks taken, {failed:,} images without one")


@masks.command("gc")
@click.option("--delete", is_flag=True, help="Really delete; without it, only say what would go.")
@_data_option
def masks_gc(delete: bool) -> None:
    """Find the caches of segmenters that are no longer in force."""
    from distracted_pipeline.masks.exchange import collect_garbage

    old = collect_garbage(_settings(), delete=delete)
    for cache in old:
        click.echo(f"{'deleted' if delete else 'old'}  {cache.bytes / 2**20:8.1f} MiB  {cache.segmenter}  {cache.path}")
    if not old:
        click.echo("nothing old")
    elif not delete:
        click.echo("delete them with: distracted masks gc --delete")


@main.group()
def report() -> None:
    """Look at the report."""


@report.command("open")
@_data_option
def report_open() -> None:
    """Open the latest report in the browser, straight from disk."""
    page = _latest_report(_settings())
    click.echo(page.as_uri())
    click.launch(page.as_uri())


@report.command("serve")
@click.option("--port", default=8000, show_default=True)
@_data_option
def report_serve(port: int) -> None:
    """Serve the reports on this machine only."""
    from distracted_pipeline.reports.serve import serve

    settings = _settings()
    _latest_report(settings)
    serve(settings.reports, port=port, log=click.echo)


def _latest_report(settings: Settings) -> Path:
    page = settings.reports / "latest" / "index.html"
    if not page.exists():
        raise DistractedError(f"no report in {settings.reports} yet. Type `distracted run` (or `distracted demo`).")
    return page.resolve()


@main.command()
@click.option(
    "--port", default=3000, show_default=True, help="Dagster's port; MLflow and the report take the next two."
)
@_data_option
def ui(port: int) -> None:
    """Start Dagster, MLflow and the report server on this machine; one Ctrl-C ends all three."""
    from distracted_pipeline.orchestration.servers import serve_all

    serve_all(_settings(), port=port, log=click.echo)


@main.command()
def setup() -> None:
    """Prepare this folder and this virtual environment for bare `dagster` commands."""
    from distracted_pipeline.orchestration.activation import write_exports
    from distracted_pipeline.orchestration.instance import dagster_home, prepare_home

    home = dagster_home()
    prepare_home(home)
    scripts = write_exports(home)
    names = ", ".join(script.name for script in scripts)
    click.echo(f"Dagster's history: {_short(home)}")
    click.echo(f"activation exports: {names or 'none, there is no activate script beside this Python'}")


def _short(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


_indented: Callable[[str], None] = lambda line: click.echo(f"    {line}")  # noqa: E731


if __name__ == "__main__":
    main()
