"""The leak premium: both sides judge the same frames, killed runs go on, nothing is compared with what is not there."""

import json

import numpy as np
import pytest

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.evaluation import leak_premium as room
from distracted_pipeline.evaluation.leak_premium import leak_premium, premium_current, premium_file, random_splits
from distracted_pipeline.evaluation.predictions import write_predictions
from distracted_pipeline.options import RunOptions
from distracted_pipeline.scopes import CROSS_FOLDS
from distracted_pipeline.settings import Settings
from distracted_pipeline_tests.evaluation.fakes import held_out, right, table, trainings
from distracted_pipeline_tests.training.rooted import ingested, own_root, prepared
from distracted_pipeline_tests.variants.tiny import efficientnet

__all__ = ["efficientnet", "ingested", "own_root", "prepared"]


def quiet(line: str) -> None:
    """Drop a log line."""


def test_every_image_is_held_out_once_and_no_class_is_left_to_chance() -> None:
    true = np.repeat(np.arange(4), 23)
    splits = random_splits(true, 5, seed=1)
    assert sorted(np.concatenate([one.held_out for one in splits]).tolist()) == list(range(len(true)))
    for one in splits:
        assert np.ptp(np.bincount(true[one.held_out], minlength=4)) <= 1
        parts = [set(part.tolist()) for part in (one.train, one.validation, one.held_out)]
        assert sum(map(len, parts)) == len(set.union(*parts)) == len(true)
    other = random_splits(true, 5, seed=2)
    assert any(a.held_out.tolist() != b.held_out.tolist() for a, b in zip(splits, other, strict=True))


def test_both_sides_judge_the_same_frames_and_a_killed_run_goes_on(
    own_root: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = RunOptions(log=quiet)
    with pytest.raises(DistractedError, match="no predictions of"):
        leak_premium(own_root, options)
    for fold in CROSS_FOLDS:
        images = held_out(own_root, fold)
        one = table(images, right(images) // 2 * 2)  # every other class is taken for its neighbour
        write_predictions(own_root, room.VARIANT, fold, trainings([one, one]))
    trained: list[int] = []
    whole = room._train_split

    def killed_in_the_second(*args, **more):
        trained.append(args[5])
        if len(trained) == 2:
            raise KeyboardInterrupt
        return whole(*args, **more)

    with monkeypatch.context() as patched:
        patched.setattr(room, "_train_split", killed_in_the_second)
        with pytest.raises(KeyboardInterrupt):
            leak_premium(own_root, options)
        found = leak_premium(own_root, options)
    assert trained == [0, 1, 1]
    found = leak_premium(own_root, options)
    assert premium_current(own_root)
    assert sum(row["n"] for row in found["classes"]) == found["images"] == 160
    assert found["accuracy"]["random"] == pytest.approx(
        np.average([row["random"] for row in found["classes"]], weights=[row["n"] for row in found["classes"]])
    )
    assert found["macro"]["premium"] == pytest.approx(found["macro"]["random"] - found["macro"]["disjoint"])
    assert found["accuracy"]["disjoint"] == 0.5
    assert json.loads(premium_file(own_root).read_text())["splits"] == 2
    monkeypatch.setattr(room, "_train_split", lambda *args: pytest.fail("trained again"))
    premium_file(own_root).write_text(premium_file(own_root).read_text()[:-20])
    assert not premium_current(own_root)
    assert leak_premium(own_root, options) == found
    assert premium_current(own_root)
