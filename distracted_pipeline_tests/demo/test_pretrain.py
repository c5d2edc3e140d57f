"""Pretraining: what is drawn, what is learnt from it, and that half a run is never taken for a result."""

from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from distracted_pipeline.dataset import STATE_FARM
from distracted_pipeline.demo import backbone_training, pretext, pretrain, segmenter_training
from distracted_pipeline.demo.drivers import demo_drivers, driver_look
from distracted_pipeline.demo.poses import scene_of
from distracted_pipeline.demo.shipped import CHECKSUMS, shipped
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.masks.loading import load_segmenter
from distracted_pipeline.settings import Settings


def quiet(line: str) -> None:
    """Log nothing."""


def test_a_pretext_picture_is_the_same_for_the_same_key_only() -> None:
    (first, told), (again, retold), (other, _) = (pretext.draw(key) for key in ((0, 0, 1), (0, 0, 1), (0, 1, 1)))
    assert np.array_equal(first, again)
    assert np.array_equal(told, retold)
    assert not np.array_equal(first, other)


def test_every_answer_of_the_pretext_occurs() -> None:
    answers = np.stack([pretext.draw((5, number))[1] for number in range(350)])
    for column, (question, possible) in zip(answers.T, pretext.QUESTIONS.items(), strict=True):
        assert set(column) == set(range(len(possible))), question


def test_the_pretext_shows_none_of_the_mask_categories_but_stick_figures() -> None:
    subjects = " ".join(pretext.QUESTIONS["subject"])
    assert not [name for name in STATE_FARM.category_names if name in subjects]


def test_arrows_answer_where_they_point() -> None:
    tips = {name: np.asarray(pretext.THINGS[f"arrow {name}"][0][0]) for name in ("left", "right", "up", "down")}
    for name, axis, sign in (("left", 0, -1), ("right", 0, 1), ("up", 1, -1), ("down", 1, 1)):
        furthest = tips[name][np.argmax(tips[name][:, axis] * sign)]
        assert abs(furthest[1 - axis]) < 1e-9, name


def test_training_scenes_show_nobody_from_a_demo() -> None:
    demo_looks = [driver_look(int(name[1:])) for name in demo_drivers(26)]
    looks = [segmenter_training.random_scene(number, segmenter_training._TRAINING_SEED).driver for number in range(40)]
    assert not [look for look in looks if look in demo_looks]
    assert len({look.number for look in looks}) > 30


def test_in_training_no_pose_tells_what_the_hand_holds() -> None:
    scenes = [segmenter_training.random_scene(number, 1) for number in range(500)]
    talking = {scene.held for scene in scenes if scene.pose.turn > 0.8}  # with empty hands, in the demo
    assert talking == {None, "phone", "case", "cup", "bottle"}


def test_shares_of_a_cell_add_up() -> None:
    ids = torch.zeros(480, 640, dtype=torch.uint8)
    ids[:6, :4] = 1
    shares = segmenter_training.shares(ids)
    assert shares.shape == (7, 120, 160)
    assert torch.all(shares.sum(0) == 16)
    person = segmenter_training.LABELS.index("person")
    assert shares[person, :3, 0].tolist() == [16, 8, 0]


def test_a_missed_phone_counts_though_a_driver_has_700_times_its_pixels() -> None:
    share = torch.zeros(2, 120, 160)
    share[0, 50:53, 50:53] = 1
    share[1, 20:100, 30:110] = 1
    missed = torch.full_like(share, -12.0)
    found = torch.where(share > 0, 12.0, -12.0)
    small, large = (segmenter_training._mask_loss(missed[k : k + 1], share[k : k + 1]).item() for k in (0, 1))
    assert small > large / 10
    assert segmenter_training._mask_loss(found, share) < 0.05 * min(small, large)


@pytest.mark.slow
def test_segmenter_pretraining_ends_in_a_folder_that_the_pipeline_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segmenter_training, "BATCH", 1)
    scene = scene_of(driver_look(14), "c1", 0)
    monkeypatch.setattr(segmenter_training, "demo_scenes", lambda frames: [("c1", scene)])
    pretrain.pretrain("segmenter", tmp_path / "segmenter", 20, 3, scenes=2, workers=0, log=quiet)
    folder = shipped("segmenter", tmp_path)
    card = (folder / "MODEL_CARD.md").read_text()
    assert "--steps 20 --seed 3" in card
    assert "| person |" in card
    segmenter = load_segmenter(Settings(data=tmp_path, segmenter=str(folder)), "cpu")
    frame = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    small = np.asarray(Image.fromarray(frame).resize((320, 240), Image.Resampling.BILINEAR), np.float32)
    prepared = segmenter.prepare(frame, "x")  # type: ignore[attr-defined]
    assert torch.allclose(prepared.pixels, torch.from_numpy(small.transpose(2, 0, 1) - 127.5) / 127.5, atol=1e-5)


@pytest.mark.slow
def test_backbone_pretraining_is_repeatable_and_measured_on_new_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backbone_training, "BATCH", 8)
    for name in ("a", "b"):
        folder = tmp_path / name / "backbone"
        trained = backbone_training.train_backbone(folder, 20, 1, pictures=48, workers=0, log=quiet)
        trained.half().save_pretrained(folder)
        pretrain.write_checksums(folder)
    first, second = (shipped("backbone", tmp_path / name) / "model.safetensors" for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()
    measured = pretrain.measure_backbone(first.parent, 1, quiet, pictures=32)
    assert list(measured["accuracy"]) == list(pretext.QUESTIONS)
    seen, new = (backbone_training.Pictures(4, 1, part) for part in (0, 1))
    assert not any(torch.equal(a[0], b[0]) for a in (seen[k] for k in range(4)) for b in (new[k] for k in range(4)))


def test_a_run_that_dies_leaves_no_checksums_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / CHECKSUMS).write_text("of the weights before\n")

    def die(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(backbone_training, "train_backbone", die)
    with pytest.raises(KeyboardInterrupt):
        pretrain.pretrain("backbone", tmp_path, 20, 0, log=quiet)
    assert not (tmp_path / CHECKSUMS).exists()


def test_too_few_steps_are_refused_before_anything_is_touched(tmp_path: Path) -> None:
    (tmp_path / CHECKSUMS).write_text("whole\n")
    with pytest.raises(DistractedError, match="steps=3"):
        pretrain.pretrain("backbone", tmp_path, 3, 0, log=quiet)
    assert (tmp_path / CHECKSUMS).exists()
    result = CliRunner().invoke(pretrain.main, ["backbone", "--steps", "3", "--out", str(tmp_path)])
    assert result.exit_code == 1
    assert "steps=3" in result.output
