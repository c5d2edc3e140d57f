"""`distracted predict`: anybody's frames, decoded as everywhere, with what a reader must know beside them."""

import csv
import dataclasses
import io
import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from distracted_pipeline.cli import main
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.images.manifest import read_manifest
from distracted_pipeline.serving import engine as room
from distracted_pipeline.serving.predict_files import predict_files
from distracted_pipeline.settings import Settings
from distracted_pipeline_tests.conftest import draw_frame
from distracted_pipeline_tests.serving.crowned import QUIET, TRAINED


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    """Eleven frames of a driver whom nobody knows."""
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(1, 12):
        draw_frame(77, number % 10, number).save(folder / f"frame_{number}.jpg", quality=92)
    return folder


def typed(settings: Settings, *words: object, charset: str = "utf-8") -> Result:
    environment = {
        "DISTRACTED_DATA": str(settings.data),
        "DISTRACTED_BACKBONE": settings.backbone,
        "DISTRACTED_SEGMENTER": settings.segmenter,
        "DISTRACTED_VARIANTS": str(settings.variants_file),
    }
    return CliRunner(charset=charset).invoke(main, ["predict", *map(str, words)], env=environment)


@pytest.mark.parametrize("variant", TRAINED)
def test_a_held_out_frame_gets_the_probabilities_that_evaluation_counts(crowned: Settings, variant: str) -> None:
    rows = pq.read_table(crowned.predictions / variant / "original.parquet").to_pylist()[:3]
    paths = {row["img"]: row["path"] for row in read_manifest(crowned).to_pylist()}
    for row in rows:
        result = predict_files(crowned, crowned.data / paths[row["img"]], variant, options=QUIET)
        expected = [row[f"p_c{k}"] for k in range(10)]
        assert np.abs(result.probabilities[0] - expected).max() < 2e-2  # evaluation reads fp16 taps


def test_the_champion_predicts_as_the_variant_it_was_exported_from(crowned: Settings, frames: Path) -> None:
    best = json.loads((crowned.evaluation / "champion.json").read_text())["variant"]
    assert best == "linear_probe", "else the frames would need masks"
    champion = predict_files(crowned, frames, "champion", options=QUIET)
    variant = predict_files(crowned, frames, best, options=QUIET)
    assert np.allclose(champion.probabilities, variant.probabilities, atol=1e-5)
    assert "version 1 of distracted_driver" in champion.notes[0]
    assert "training 1 of 2" in variant.notes[0]
    assert "fold original (the original split)" in variant.notes[0]


def test_frames_come_in_natural_order_and_rotated_ones_upright(crowned: Settings, frames: Path) -> None:
    plain = predict_files(crowned, frames, "linear_probe", options=QUIET)
    assert plain.imgs == [f"frame_{number}.jpg" for number in range(1, 12)]
    assert np.allclose(plain.probabilities.sum(1), 1, atol=1e-5)
    upright = Image.open(frames / "frame_1.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6
    upright.transpose(Image.Transpose.ROTATE_90).save(frames / "frame_12.jpg", quality=95, exif=exif)
    again = predict_files(crowned, frames / "frame_12.jpg", "linear_probe", options=QUIET)
    assert np.abs(again.probabilities[0] - plain.probabilities[0]).max() < 0.02


def test_bad_files_are_listed_and_the_others_predicted(crowned: Settings, frames: Path) -> None:
    (frames / "notes.txt").write_text("my notes")
    (frames / "empty.jpg").touch()
    (frames / "half.jpg").write_bytes((frames / "frame_1.jpg").read_bytes()[:600])
    (frames / "shot.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50))
    (frames / ".hidden").touch()
    (frames / "deeper").mkdir()
    result = typed(crowned, frames, "--variant", "linear_probe", "--format", "csv")
    assert result.exit_code == 0
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert [row["img"] for row in rows] == [f"frame_{number}.jpg" for number in range(1, 12)]
    assert all(abs(sum(float(row[f"p_c{k}"]) for k in range(10)) - 1) < 1e-5 for row in rows)
    said = result.stderr
    assert "not predicted: empty.jpg: the file is empty" in said
    assert "not predicted: shot.png: the file is a PNG, not a JPEG" in said
    assert "not predicted: notes.txt" in said
    assert "not predicted: half.jpg" in said
    assert ".hidden" not in said
    assert "1 folders in" in said


def test_formats_and_top(crowned: Settings, frames: Path) -> None:
    one = frames / "frame_3.jpg"
    table = typed(crowned, one, "--variant", "linear_probe", "--top", "2").stdout
    assert table.startswith("image        the 2 likeliest classes, with probabilities\nframe_3.jpg  c")
    assert len(table.split()) > 4
    loaded = json.loads(typed(crowned, one, "--variant", "linear_probe", "--format", "json").stdout)
    assert loaded[0]["img"] == "frame_3.jpg"
    assert max(loaded[0]["probabilities"], key=loaded[0]["probabilities"].get) == loaded[0]["class"]
    assert table.splitlines()[1].split()[1] == loaded[0]["class"]


@pytest.mark.parametrize(("share", "warned"), [(0.25, False), (0.75, True), (None, False)])
def test_frames_unlike_the_trainings_are_warned_of_and_drawings_are_called_so(
    share: float | None, warned: bool, crowned: Settings, frames: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "unlike_training", lambda settings, drivers, frames: share)
    drawn = replace(crowned, synthetic=True)
    notes = predict_files(drawn, frames, "linear_probe", options=QUIET).notes
    assert "trained on drawings, not on photographs" in notes
    words = "warning: 75% of 11 frames looked at are unlike the drawings that this model was trained on"
    assert any(note.startswith(words) for note in notes) == warned


def test_frames_of_drivers_that_trained_the_model_are_no_evidence(crowned: Settings, frames: Path) -> None:
    manifest = read_manifest(crowned).to_pylist()
    train = next(row for row in manifest if row["split"] == "train")
    held_out = next(row for row in manifest if row["split"] == "test")
    shutil.copy(crowned.data / train["path"], frames / "renamed.jpg")
    shutil.copy(crowned.data / held_out["path"], frames / "fresh.jpg")
    notes = predict_files(crowned, frames, "linear_probe", options=QUIET).notes
    assert any("1 of 13 images are of drivers that this model was trained on (renamed.jpg first)" in n for n in notes)


def test_a_frame_that_shares_a_training_frame_s_name_is_no_training_frame(crowned: Settings, frames: Path) -> None:
    train = next(row for row in read_manifest(crowned).to_pylist() if row["split"] == "train")
    draw_frame(77, 1, 1).save(frames / train["img"])
    assert not [n for n in predict_files(crowned, frames, "linear_probe", options=QUIET).notes if "warning" in n]


def test_any_file_name_is_a_file_s_and_what_is_no_file_is_listed(crowned: Settings, frames: Path) -> None:
    (frames / "gone.jpg").symlink_to("nowhere.jpg")
    os.mkfifo(frames / "pipe.jpg")
    (frames / "frame_1.jpg").rename(frames / "ar::chive.jpg")
    (frames / "frame_2.jpg").rename(frames / "two\nlines.jpg")
    (frames / "frame_3.jpg.crdownload").write_bytes(b"half")
    result = typed(crowned, frames, "--variant", "linear_probe")
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 12
    assert {"ar::chive.jpg", "two\\nlines.jpg"} < {line.split()[0] for line in result.stdout.splitlines()}
    for name in ("gone.jpg", "pipe.jpg"):
        assert f"not predicted: {name}: it is no regular file, or a link to nowhere" in result.stderr
    assert "crdownload" not in result.stderr


@pytest.mark.parametrize("style", ["table", "csv", "json"])
def test_names_that_a_terminal_cannot_show_are_escaped(crowned: Settings, frames: Path, style: str) -> None:
    (frames / "frame_1.jpg").rename(frames / "кадр.jpg")
    (frames / "frame_2.jpg").rename(frames / os.fsdecode(b"caf\xe9.jpg"))
    result = typed(crowned, frames, "--variant", "linear_probe", "--format", style, charset="cp1252")
    assert result.exit_code == 0, result.output
    assert b"\\u043a\\u0430\\u0434\\u0440.jpg" in result.stdout_bytes
    assert b"caf\\udce9.jpg" in result.stdout_bytes


def test_a_frame_that_the_segmenter_cannot_take_is_listed(
    crowned: Settings, frames: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Narrow:
        def segment(self, images: list[np.ndarray], names: list[str]) -> list[np.ndarray]:
            if images[0].shape[0] < 10:
                raise RuntimeError("kernel size can't be greater than input size\nmore")
            return [np.zeros(image.shape[:2], np.uint8) for image in images]

    monkeypatch.setattr("distracted_pipeline.serving.engine.load_segmenter", lambda *options: Narrow())
    Image.new("RGB", (5000, 1)).save(frames / "frame_0.jpg")
    result = predict_files(crowned, frames, "masks_fused", options=QUIET)
    assert len(result.imgs) == 11
    assert result.failed == {
        "frame_0.jpg": "the segmenter cannot take it (RuntimeError: kernel size can't be greater than input size)"
    }


def test_a_model_of_masks_says_which_frames_have_none(crowned: Settings, frames: Path) -> None:
    result = typed(crowned, frames, "--variant", "masks_fused")
    assert result.exit_code == 1
    assert "not predicted: frame_1.jpg: no class map for frame_1.jpg" in result.stderr
    assert "none of 11 files could be predicted" in result.stderr
    assert result.stdout == ""


def test_masks_of_another_segmenter_are_told(crowned: Settings, tmp_path: Path) -> None:
    held_out = next(row for row in read_manifest(crowned).to_pylist() if row["split"] == "test")
    image = crowned.data / held_out["path"]
    assert not any(
        "another segmenter" in note for note in predict_files(crowned, image, "masks_fused", options=QUIET).notes
    )
    shutil.copytree(crowned.segmenter.removeprefix("folder:"), tmp_path / "maps")
    (tmp_path / "maps" / "one_more.png").write_bytes(b"")
    other = dataclasses.replace(crowned, segmenter=f"folder:{tmp_path / 'maps'}")
    assert any("another segmenter" in note for note in predict_files(other, image, "masks_fused", options=QUIET).notes)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("{frames}", "--variant", "nonsense"), r"no variant 'nonsense'.*linear_probe.*champion"),
        (("{frames}", "--variant", "top_only"), r'no trained model.*"original\|top_only"'),
        (("{frames}", "--variant", "linear_probe", "--fold", "3"), r'no trained model.*"3\|linear_probe"'),
        (("{frames}", "--fold", "3"), "champion's weights are those registered"),
        (("{frames}/nothing.jpg", "--variant", "linear_probe"), "neither a file nor a folder"),
        (("{frames}/void", "--variant", "linear_probe"), "holds no files"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_sentence(
    crowned: Settings, frames: Path, words: tuple[str, ...], message: str
) -> None:
    (frames / "void").mkdir()
    result = typed(crowned, *(word.format(frames=frames) for word in words))
    assert result.exit_code == 1
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    assert re.search(message, result.stderr)


def test_without_a_registered_champion_it_says_what_registers_one(prepared: Settings, frames: Path) -> None:
    with pytest.raises(DistractedError, match="no champion is registered.*distracted run"):
        predict_files(prepared, frames, "champion", options=QUIET)


def test_a_champion_whose_file_was_deleted_is_named(crowned: Settings, frames: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    shutil.copytree(crowned.data, root)
    settings = dataclasses.replace(crowned, data=root)
    for path in settings.mlflow_artifacts.rglob("model.pt2"):
        path.unlink()
    with pytest.raises(DistractedError, match="version 1 of distracted_driver.*distracted run"):
        predict_files(settings, frames, "champion", options=QUIET)
