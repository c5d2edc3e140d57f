"""`distracted predict` on clips: rows by time, the episodes that were drawn, an annotated copy, an end of bad files."""

import csv
import gc
import io
import json
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from torch import Tensor
from torch.nn import functional

from distracted_pipeline.cli import main
from distracted_pipeline.dataset import STATE_FARM
from distracted_pipeline.demo.clips import frames_of, write_clip
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.memory import Pieces
from distracted_pipeline.operations import stopping
from distracted_pipeline.serving import engine as room
from distracted_pipeline.serving import predict_video, video
from distracted_pipeline.serving.engine import Engine, Model
from distracted_pipeline.serving.predict_video import Seen, watch
from distracted_pipeline.serving.video import Frame, open_clip
from distracted_pipeline.settings import Settings
from distracted_pipeline_tests.serving.crowned import quiet

SCRIPT = (("c0", 2.0), ("c6", 2.0), ("c9", 1.5))
FPS = 4
INPUT = (24, 32)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drawn driver who drives, drinks and turns to the passenger, 22 frames."""
    path = tmp_path_factory.mktemp("clips") / "courier.mp4"
    write_clip(path, SCRIPT, FPS, size=(160, 120))
    return path


@pytest.fixture(scope="module")
def nearest() -> Model:
    """A classifier that works: the class whose drawing is nearest, of the same driver at another time."""
    drawn = {k: picture for k in ("c0", "c6", "c9") for _, picture in frames_of([(k, 1)], 1, seed=0)}
    known = torch.full((10, 3, *INPUT), 1e4)
    for k, picture in drawn.items():
        pixels = np.asarray(picture.resize(INPUT[::-1])).transpose(2, 0, 1)
        known[STATE_FARM.class_ids.index(k)] = torch.from_numpy(pixels.astype(np.float32))

    def run(pixels: Tensor) -> Tensor:
        apart = (pixels.float()[:, None] - known[None]).abs().flatten(2).mean(2)
        return functional.softmax(-apart, 1)

    return Model(run, ("pixels",), INPUT, torch.device("cpu"), {"train_subjects": []}, "nearest drawing")


@pytest.fixture
def engine(nearest: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """The classifier as an engine, four frames at once, that `distracted predict` loads instead of a trained one."""
    made = Engine(Settings(data=tmp_path), nearest, None, Pieces(4, quiet), [nearest.chosen])
    monkeypatch.setattr(room, "load_engine", lambda *words: made)
    monkeypatch.setattr(room, "unlike_training", lambda settings, drivers, frames: None)
    return made


def typed(*words: object) -> Result:
    return CliRunner().invoke(main, ["predict", *map(str, words)])


def test_the_episodes_that_were_drawn_are_found(engine: Engine, clip: Path) -> None:
    rows: list[Seen] = []
    with open_clip(clip, clip.name) as opened:
        watched = watch(engine, opened, rows.append, log=quiet)
    found = [(STATE_FARM.class_ids[e.k], e.start, e.end) for e in watched.episodes]
    assert [k for k, *_ in found] == ["c0", "c6", "c9"]
    assert [at for _, *ends in found for at in ends] == pytest.approx([0, 2, 2, 4, 4, 5.5], abs=0.51)
    assert all(episode.confidence > 0.5 for episode in watched.episodes)
    assert [row.time for row in rows] == pytest.approx([number / FPS for number in range(22)], abs=0.002)
    assert watched.frames == 22
    assert watched.notes == []


def test_rows_are_printed_by_time_and_episodes_written(engine: Engine, clip: Path, tmp_path: Path) -> None:
    result = typed(clip, "--format", "csv", "--episodes", tmp_path / "episodes.csv")
    assert result.exit_code == 0, result.output
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert list(rows[0])[:5] == ["video", "frame", "time", "class", "name"]
    assert [row["time"] for row in rows[:3]] == ["0.000", "0.250", "0.500"]
    assert all(abs(sum(float(row[f"p_c{k}"]) for k in range(10)) - 1) < 1e-4 for row in rows)
    episodes = list(csv.DictReader((tmp_path / "episodes.csv").open()))
    assert [row["class"] for row in episodes] == ["c0", "c6", "c9"]
    assert episodes[1]["name"] == "drinking"
    assert "frames a second" in result.stderr
    as_json = typed(clip, "--format", "json", "--episodes", tmp_path / "episodes.json", "--fps", 1)
    assert [row["time"] for row in json.loads(as_json.stdout)] == [0, 1, 2, 3, 4, 5]
    assert json.loads((tmp_path / "episodes.json").read_text())[0]["video"] == "courier.mp4"
    table = typed(clip, "--fps", 2, "--seconds", 2, "--top", 1).stdout
    assert table.splitlines()[0] == "courier.mp4"
    assert "    0.500 s  c0 safe driving" in table
    assert table.splitlines()[-1].startswith("     0.00 s to     2.00 s  c0 safe driving")


def test_an_annotated_copy_keeps_times_and_shows_class_and_masks(engine: Engine, clip: Path, tmp_path: Path) -> None:
    class Upper:
        name, fingerprint = "upper", "0123456789ab"

        def segment(self, images: list[np.ndarray], names: list[str]) -> list[np.ndarray]:
            masks = [np.zeros(image.shape[:2], np.uint8) for image in images]
            for mask in masks:
                mask[: len(mask) // 2] = 1
            return masks

    engine.segmenter = Upper()
    copy = tmp_path / "copy.mp4"
    with open_clip(clip, clip.name) as opened:
        plain = list(opened.frames())
        assert not copy.exists()
    with open_clip(clip, clip.name) as opened:
        watch(engine, opened, quiet, copy=copy, log=quiet)
    with open_clip(copy, copy.name) as opened:
        drawn = list(opened.frames())
    assert [frame.time for frame in drawn] == pytest.approx([frame.time for frame in plain], abs=0.002)
    assert drawn[0].image.shape == plain[0].image.shape
    strip = drawn[3].image[:4].mean()
    assert strip < plain[3].image[:4].mean() * 0.6, "a dark strip above"
    moved = np.abs(drawn[3].image.astype(int) - plain[3].image).mean((1, 2))
    assert moved[40:58].mean() > 15 > 8 > moved[64:].mean(), "tinted in its upper half, as it was below"


def test_what_is_held_does_not_grow_with_the_clip(engine: Engine) -> None:
    alive: weakref.WeakSet[_Pixels] = weakref.WeakSet()

    @dataclass
    class Endless:
        length: int
        name: str = "endless"
        rate: float = 10.0
        live: bool = False
        end: float = 0.0
        notes: tuple[str, ...] = ()

        def frames(self, fps: float | None, seconds: float | None) -> Iterator[Frame]:
            for number in range(self.length):
                image = np.zeros((*INPUT, 3), np.uint8).view(_Pixels)
                alive.add(image)
                yield Frame(number, number / 10, image)

    most = []
    for length in (40, 120):
        counted: list[int] = []
        watch(engine, Endless(length), lambda seen, c=counted: c.append(len(alive)), log=quiet)  # type: ignore[arg-type]
        most.append(max(counted))
        gc.collect()
    assert most[0] == most[1]
    assert most[1] < 40, "two batches of four, and the sample that is compared with the training's frames"


def test_frames_that_grow_on_the_way_wait_in_smaller_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predict_video, "_AT_ONCE", 3000)
    frames = [
        Frame(number, number / 10, np.zeros((10, width, 3), np.uint8))
        for number, width in enumerate([4] * 5 + [60] * 4)
    ]
    assert [len(batch) for batch in predict_video._batches(iter(frames), 4)] == [4, 3, 2]


class _Pixels(np.ndarray):
    """An array that can be counted."""

    __hash__ = object.__hash__


def test_a_folder_of_clips_names_the_bad_ones_and_annotates_the_others(
    engine: Engine, clip: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "trip"
    folder.mkdir()
    (folder / "part2.mp4").write_bytes(clip.read_bytes())
    (folder / "part10.mp4").write_bytes(b"broken")
    (folder / "part1.mov").write_bytes(b"")
    (folder / "notes.txt").write_text("mine")
    out = tmp_path / "out"
    result = typed(folder, "--format", "csv", "--fps", 1, "--annotate", out, "--episodes", tmp_path / "e.csv")
    assert result.exit_code == 0, result.output
    assert {row["video"] for row in csv.DictReader(io.StringIO(result.stdout))} == {"part2.mp4"}
    assert "not predicted: part1.mov: the file is empty" in result.stderr
    assert "not predicted: part10.mp4: it cannot be opened as a video" in result.stderr
    assert "1 other files and folders" in result.stderr
    assert "1 of 3 clips could be predicted" in result.stderr
    assert [path.name for path in out.iterdir()] == ["part2.mp4.mp4"]
    (folder / "part2.mp4").unlink()
    nothing = typed(folder, "--format", "json")
    assert nothing.exit_code == 1
    assert json.loads(nothing.stdout) == []
    assert "none of 2 clips could be predicted" in nothing.stderr


def test_a_segmenter_that_cannot_take_the_frames_ends_the_clip_and_leaves_no_copy(
    engine: Engine, clip: Path, tmp_path: Path
) -> None:
    class Given:
        name, fingerprint = "given", "0123456789ab"

        def segment(self, images: list[np.ndarray], names: list[str]) -> list[np.ndarray]:
            raise DistractedError(f"no class map for {names[0]}")

    engine.segmenter = Given()
    result = typed(clip, "--annotate", tmp_path / "copy.mp4")
    assert result.exit_code == 1
    assert "not predicted: courier.mp4: no class map for courier.mp4 at 0.00 s" in result.stderr
    assert not list(tmp_path.glob("*copy*"))


def test_a_camera_ends_with_ctrl_c_and_its_episodes_are_written(
    engine: Engine, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no camera here: a clip stands in for it, and Ctrl-C comes in its third second."""
    whole = video.Clip.frames

    def until_stopped(self: video.Clip, fps: float | None, seconds: float | None) -> Iterator[Frame]:
        for frame in whole(self, fps, seconds):
            if frame.time > 2.9:
                raise KeyboardInterrupt
            yield frame

    def opened(address: str, **options: object) -> object:
        return real(str(clip))

    import av

    real = av.open
    monkeypatch.setattr(av, "open", opened)
    monkeypatch.setattr(video.Clip, "frames", until_stopped)
    monkeypatch.setattr(stopping, "take_your_time", lambda: None)
    result = typed("--camera", "0", "--format", "csv", "--episodes", tmp_path / "episodes.csv")
    assert result.exit_code == 0, result.output
    assert len(result.stdout.splitlines()) == 1 + 12
    assert "camera 0: stopped" in result.stderr
    assert (tmp_path / "episodes.csv").read_text().splitlines()[1].startswith("camera 0,0.0,")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "Name an image, a video or a folder"),
        (("clip.mp4", "--camera", "0"), "Name an image, a video or a folder"),
        (("https://example.org/clip.mp4",), "https://example.org/clip.mp4 is an address. Download it"),
        (("clip.mp4", "--episodes", "e.txt"), "ends neither in .csv nor in .json"),
        (("frame.jpg", "--fps", "2"), "are for videos; frame.jpg is none"),
        (("clip.mp4", "--annotate", "copy.gif"), r"ends in .mp4, .mov, .mkv. Name it copy.mp4"),
        (("nothing.mp4",), "nothing.mp4 is neither a file nor a folder"),
        (("nothing.jpg",), "nothing.jpg is neither a file nor a folder"),
        (("nothing",), "nothing is neither a file nor a folder"),
        (("clip.mp4",), "not predicted: clip.mp4: the file is empty"),
        (("trip",), "none of 2 clips could be predicted"),
        (("--camera", "/dev/nothing"), "not predicted: camera /dev/nothing: it cannot be opened"),
    ],
)
def test_what_cannot_be_done_is_said_before_a_model_is_loaded(
    words: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load_engine(*words: object) -> Engine:
        raise AssertionError("a model is loaded")

    monkeypatch.setattr(room, "load_engine", load_engine)
    monkeypatch.setattr(stopping, "take_your_time", lambda: None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trip").mkdir()
    for name in ("clip.mp4", "frame.jpg", "trip/a.mp4", "trip/b.mp4"):
        (tmp_path / name).touch()
    result = typed(*words)
    assert result.exit_code in (1, 2)
    assert message in result.stderr
    assert "Traceback" not in result.stderr
