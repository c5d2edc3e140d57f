"""`distracted predict`: what frames and clips show. `export`: a model for other programs. `sync`: what MLflow lacks."""

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from distracted_pipeline.commands.common import FOLD, Number, current_settings, data_option
from distracted_pipeline.commands.predict_video import Wishes, aside, predict_clips, sources
from distracted_pipeline.dataset import Dataset
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.images.names import printable
from distracted_pipeline.operations import stopping
from distracted_pipeline.options import RunOptions
from distracted_pipeline.settings import Settings

if TYPE_CHECKING:
    from distracted_pipeline.serving.predict_files import FilePredictions


@click.command()
@click.argument("path", type=click.Path(path_type=Path), required=False)
@click.option("--camera", help="A camera instead: its number or name. Ctrl-C ends it.")
@click.option("--variant", default="champion", show_default=True, help="A trained variant, or the registered champion.")
@click.option("--fold", type=FOLD, help="Whose weights; by default those of the original split.")
@click.option("--format", "style", default="table", show_default=True, type=click.Choice(["table", "csv", "json"]))
@click.option("--top", default=3, show_default=True, type=click.IntRange(1), help="Classes that a table shows.")
@click.option("--fps", type=Number(0, min_open=True), help="Video: frames of each second; default all.")
@click.option("--seconds", type=Number(0, min_open=True), help="Video: stop there.")
@click.option("--episodes", type=click.Path(path_type=Path, dir_okay=False), help="Video: .csv or .json to write.")
@click.option("--smooth", default=1.0, show_default=True, type=Number(0), help="Seconds averaged over.")
@click.option("--min-length", default=1.0, show_default=True, type=Number(0), help="Seconds of an episode.")
@click.option("--annotate", type=click.Path(path_type=Path), help="Video: copy with the answers in it (.mp4, .mkv).")
@data_option
def predict(
    path: Path | None,
    camera: str | None,
    variant: str,
    fold: str | None,
    style: str,
    top: int,
    fps: float | None,
    seconds: float | None,
    episodes: Path | None,
    smooth: float,
    min_length: float,
    annotate: Path | None,
) -> None:
    """Say what the driver does in an image, a video, a folder of either, or before a camera.

    Only the result goes to standard output; which model it was, and what cannot be read, to standard error. Videos need
    the extra `video`; from them come a row for each frame, and episodes: from when to when the driver did what.
    """
    from distracted_pipeline.serving.episodes import Rules

    if (path is None) == (camera is None):
        raise click.UsageError("Name an image, a video or a folder of them; or --camera 0.")
    if path is not None and path.parts[:1] and re.fullmatch(r"[a-z]{2,}:", path.parts[0]):
        address = str(path).replace(":/", "://", 1)
        raise click.UsageError(f"{address} is an address. Download it, and name the file: nothing is fetched.")
    if path is not None and not path.exists():  # before anything is imported or loaded, which takes a minute
        raise DistractedError(f"{path} is neither a file nor a folder. Name an image, a video, or a folder of either.")
    if episodes is not None and episodes.suffix.lower() not in (".csv", ".json"):
        raise click.BadParameter(f"{episodes} ends neither in .csv nor in .json.", param_hint="--episodes")
    settings, clips = current_settings(), sources(path, camera)
    if clips:
        if camera is not None:
            stopping.take_your_time()  # Ctrl-C is how a camera ends
        wishes = Wishes(fps, seconds, Rules(smooth, min_length), episodes, annotate, style, top)
        predict_clips(settings, clips, variant, fold, wishes)
        return
    assert path is not None
    if any(wish is not None for wish in (fps, seconds, episodes, annotate)):
        raise click.UsageError(f"--fps, --seconds, --episodes and --annotate are for videos; {path} is none.")
    _predict_images(settings, path, variant, fold, style, top)


def _predict_images(settings: Settings, path: Path, variant: str, fold: str | None, style: str, top: int) -> None:
    from distracted_pipeline.serving.predict_files import predict_files

    result = predict_files(settings, path, variant, fold=fold, options=RunOptions(log=aside))
    for note in result.notes:
        aside(note)
    for name, reason in result.failed.items():
        aside(f"not predicted: {printable(name)}: {reason}")
    click.echo({"table": _table, "csv": _csv, "json": _json}[style](result, settings.dataset, top), nl=False)
    if not result.imgs:
        if len(result.failed) > 1:
            aside(f"none of {len(result.failed)} files could be predicted")
        sys.exit(1)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--variant", default="champion", show_default=True, help="A trained variant, or the registered champion.")
@click.option("--fold", type=FOLD, help="Whose weights; by default those of the original split.")
@data_option
def export(folder: Path, variant: str, fold: str | None) -> None:
    """Write a model for other programs into FOLDER: ONNX, which reads whole frames, and its model card."""
    from distracted_pipeline.serving.package import export_package

    export_package(current_settings(), variant, folder, fold=fold, log=click.echo)


@click.command()
@data_option
def sync() -> None:
    """Log the results that MLflow does not have: it did not answer, or its database was lost."""
    from distracted_pipeline.evaluation.tables import VARIANTS_FILE
    from distracted_pipeline.serving.champion import crown
    from distracted_pipeline.training.mlflow_outbox import sync as send

    settings = current_settings()
    sent = send(settings, every=True, log=click.echo)
    click.echo(f"{sent} results sent to MLflow" if sent else "MLflow has every result")
    if (settings.evaluation / VARIANTS_FILE).is_file():
        crown(settings, log=click.echo)


def _table(result: "FilePredictions", dataset: Dataset, top: int) -> str:
    names = [printable(name) for name in result.imgs]
    width = max(map(len, ("image", *names)))
    head = (
        f"the {top} likeliest classes, with probabilities" if top > 1 else "the likeliest class, with its probability"
    )
    lines = [f"{'image':{width}}  {head}\n"] if names else []
    for name, row in zip(names, result.probabilities, strict=True):
        best = (-row).argsort(kind="stable")[:top]
        shares = "   ".join(f"{dataset.class_label(k)} {row[k]:.3f}" for k in best)
        lines.append(f"{name:{width}}  {shares}\n")
    return "".join(lines)


def _csv(result: "FilePredictions", dataset: Dataset, top: int) -> str:
    import csv
    import io

    from distracted_pipeline.evaluation.prediction_table import probability_columns

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("img", "class", "name", *probability_columns(dataset.class_ids)))
    for name, row in zip(result.imgs, result.probabilities, strict=True):
        best = int(row.argmax())
        writer.writerow((name, dataset.class_ids[best], dataset.class_names[best], *(f"{value:.6f}" for value in row)))
    return text.getvalue()


def _json(result: "FilePredictions", dataset: Dataset, top: int) -> str:
    import json

    rows = []
    for name, row in zip(result.imgs, result.probabilities, strict=True):
        best = int(row.argmax())
        shares = {key: round(float(value), 6) for key, value in zip(dataset.class_ids, row, strict=True)}
        rows.append(
            {
                "img": name,
                "class": dataset.class_ids[best],
                "name": dataset.class_names[best],
                "probabilities": shares,
            }
        )
    return json.dumps(rows, indent=2) + "\n"
