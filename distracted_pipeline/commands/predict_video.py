"""The video side of `distracted predict`: clips, cameras, and how their rows and episodes are written.

Rows are printed as they come: a clip may be long, and a camera never ends.
"""

import csv
import json
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from distracted_pipeline.dataset import Dataset
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.images.names import natural, printable
from distracted_pipeline.options import RunOptions
from distracted_pipeline.settings import Settings

if TYPE_CHECKING:
    from distracted_pipeline.serving.engine import Engine
    from distracted_pipeline.serving.episodes import Rules
    from distracted_pipeline.serving.predict_video import Seen, Watched
    from distracted_pipeline.serving.video import Clip

Opener = Callable[[], "AbstractContextManager[Clip]"]


@dataclass(frozen=True)
class Wishes:
    """What the options of `distracted predict` ask of clips.

    Attributes:
        fps: Frames of each second at most; None takes all.
        seconds: Stop there; None goes to the end.
        rules: What makes an episode.
        episodes: CSV or JSON to write them to.
        annotate: Video to write, a folder where there are several clips.
        style: table, csv or json.
        top: Classes that a table shows.
    """

    fps: float | None
    seconds: float | None
    rules: "Rules"
    episodes: Path | None
    annotate: Path | None
    style: str
    top: int


def sources(path: Path | None, camera: str | None) -> dict[str, Opener]:
    """Return how to open each clip that was named, by the name it is known by; empty where it is about images."""
    from distracted_pipeline.serving.video import clips_in, open_camera, open_clip

    if camera is not None:
        return {f"camera {camera}": partial(open_camera, camera)}
    clips = sorted(clips_in(path), key=lambda clip: natural(clip.name)) if path is not None else []
    others = sum(1 for _ in path.iterdir()) - len(clips) if path is not None and path.is_dir() and clips else 0
    if others:
        aside(f"{others} other files and folders in {path} are not read")
    return {clip.name: partial(open_clip, clip, clip.name) for clip in clips}


def predict_clips(settings: Settings, clips: dict[str, Opener], variant: str, fold: str | None, wishes: Wishes) -> None:
    """Predict clips one after another, print their rows, and write what was asked for; exit with 1 where all fail."""
    from distracted_pipeline.files import write_text
    from distracted_pipeline.serving.video import load_pyav

    # What can be known without the model is said before it is loaded, which takes up to a minute.
    load_pyav()
    copies = _copies(list(clips), wishes.annotate)
    rows = _ROWS[wishes.style](settings.dataset, wishes.top)
    done: dict[str, Watched] = {}
    if readable := _readable(clips):
        from distracted_pipeline.serving.engine import load_engine

        engine = load_engine(settings, variant, fold, RunOptions(log=aside))
        for note in engine.notes:
            aside(note)
        done = _watched(engine, readable, wishes, copies, rows)
    rows.close()
    if wishes.episodes is not None and done:
        write_text(wishes.episodes, episodes_text(done, settings.dataset, wishes.episodes.suffix.lower()))
        aside(f"{sum(len(watched.episodes) for watched in done.values())} episodes in {wishes.episodes}")
    if len(done) < len(clips) > 1:
        aside(f"{len(done) or 'none'} of {len(clips)} clips could be predicted")
    if not done:
        sys.exit(1)


def _readable(clips: dict[str, Opener]) -> dict[str, Opener]:
    """Return the clips that can be opened, and say what is wrong with the others."""
    found: dict[str, Opener] = {}
    for name, opened in clips.items():
        try:
            with opened():
                found[name] = opened
        except DistractedError as error:
            _refuse(name, error)
    return found


def _watched(
    engine: "Engine", clips: dict[str, Opener], wishes: Wishes, copies: dict[str, Path], rows: Any
) -> "dict[str, Watched]":
    """Predict clips, hand their frames to `rows`, and return what came of those that did not fail."""
    from distracted_pipeline.serving.predict_video import watch

    done: dict[str, Watched] = {}
    for name, opened in clips.items():
        try:
            with opened() as clip:
                watched = watch(
                    engine,
                    clip,
                    rows.add,
                    fps=wishes.fps,
                    seconds=wishes.seconds,
                    rules=wishes.rules,
                    copy=copies.get(name),
                    log=aside,
                )
        except DistractedError as error:
            _refuse(name, error)
            continue
        done[name] = watched
        rows.close_clip(watched)
        for note in watched.notes:
            aside(note if note.startswith("warning") else f"{printable(name)}: {note}")
        aside(f"{printable(name)}: {watched.pace()}")
        if name in copies:
            aside(f"{printable(name)}: annotated in {copies[name]}")
    return done


def _refuse(name: str, error: DistractedError) -> None:
    aside(f"not predicted: {printable(name)}: {error}")


def episodes_text(done: "dict[str, Watched]", dataset: Dataset, suffix: str) -> str:
    """Return the episodes of some clips as the text of a `.csv` or `.json` file."""
    import io

    found = [
        {
            "video": name,
            "start": round(episode.start, 3),
            "end": round(episode.end, 3),
            "class": dataset.class_ids[episode.k],
            "name": dataset.class_names[episode.k],
            "confidence": round(episode.confidence, 6),
            "frames": episode.frames,
        }
        for name, watched in done.items()
        for episode in watched.episodes
    ]
    if suffix == ".json":
        return json.dumps(found, indent=2) + "\n"
    text = io.StringIO()
    columns = ("video", "start", "end", "class", "name", "confidence", "frames")
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(found)
    return text.getvalue()


def aside(line: str) -> None:
    """Print a line beside the result."""
    click.echo(line, err=True)


def _copies(names: Sequence[str], annotate: Path | None) -> dict[str, Path]:
    """Return where each clip's annotated copy goes: to the file that was named, or into the folder."""
    from distracted_pipeline.serving.annotate import check_format

    if annotate is None:
        return {}
    if len(names) == 1 and not annotate.is_dir():
        check_format(annotate)
        return {names[0]: annotate}
    if annotate.suffix and not annotate.is_dir():
        raise click.UsageError(f"--annotate {annotate}: there are {len(names)} clips, so name a folder.")
    return {name: annotate / f"{name}.mp4" for name in names}  # with its ending: a.mov and a.mkv may lie side by side


class _Table:
    """Rows for people, a line each; after a clip, its episodes."""

    def __init__(self, dataset: Dataset, top: int) -> None:
        self._dataset = dataset
        self._top = top
        self._clip: str | None = None

    def add(self, seen: "Seen") -> None:
        if seen.clip != self._clip:
            self._clip = seen.clip
            click.echo(f"{printable(seen.clip)}\n{'time':>11}  the {self._top} likeliest, with probabilities")
        best = (-seen.probabilities).argsort(kind="stable")[: self._top]
        shares = "   ".join(f"{self._dataset.class_label(k)} {seen.probabilities[k]:.3f}" for k in best)
        click.echo(f"{seen.time:9.3f} s  {shares}")

    def close_clip(self, watched: "Watched") -> None:
        click.echo("episodes" if watched.episodes else "no class lasts long enough for an episode")
        for episode in watched.episodes:
            label = self._dataset.class_label(episode.k)
            click.echo(f"{episode.start:9.2f} s to {episode.end:8.2f} s  {label} {episode.confidence:.3f}")

    def close(self) -> None:
        """Do nothing: a table has no end."""


class _Csv:
    """Rows as CSV, with every probability."""

    def __init__(self, dataset: Dataset, top: int) -> None:
        from distracted_pipeline.evaluation.prediction_table import probability_columns

        self._dataset = dataset
        self._columns = ("video", "frame", "time", "class", "name", *probability_columns(dataset.class_ids))
        self._begun = False

    def add(self, seen: "Seen") -> None:
        if not self._begun:
            self._begun = True
            self._write(self._columns)
        best = int(seen.probabilities.argmax())
        label = (self._dataset.class_ids[best], self._dataset.class_names[best])
        self._write(
            (seen.clip, seen.frame, f"{seen.time:.3f}", *label, *(f"{value:.6f}" for value in seen.probabilities))
        )

    def close_clip(self, watched: "Watched") -> None:
        """Do nothing: rows are all there is."""

    def close(self) -> None:
        """Do nothing: a CSV has no end."""

    def _write(self, row: Sequence[object]) -> None:
        import io

        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow(row)
        click.echo(text.getvalue(), nl=False)


class _Json:
    """Rows as one JSON list, an object a line."""

    def __init__(self, dataset: Dataset, top: int) -> None:
        self._dataset = dataset
        self._begun = False

    def add(self, seen: "Seen") -> None:
        best = int(seen.probabilities.argmax())
        shares = zip(self._dataset.class_ids, seen.probabilities, strict=True)
        row = {
            "video": seen.clip,
            "frame": seen.frame,
            "time": round(seen.time, 3),
            "class": self._dataset.class_ids[best],
            "name": self._dataset.class_names[best],
            "probabilities": {key: round(float(value), 6) for key, value in shares},
        }
        click.echo((",\n  " if self._begun else "[\n  ") + json.dumps(row), nl=False)
        self._begun = True

    def close_clip(self, watched: "Watched") -> None:
        """Do nothing: rows are all there is."""

    def close(self) -> None:
        click.echo("\n]" if self._begun else "[]")


_ROWS: dict[str, Any] = {"table": _Table, "csv": _Csv, "json": _Json}
