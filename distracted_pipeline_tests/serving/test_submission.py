"""Kaggle's CSV against Kaggle's own sample: the same images in the same order, or an error that counts."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor

from distracted_pipeline.dataset import STATE_FARM
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.images.ingest import ingest
from distracted_pipeline.options import RunOptions
from distracted_pipeline.serving.submission import (
    SAMPLE,
    clipped,
    sample_images,
    submission_header,
    write_submission,
)
from distracted_pipeline.settings import Settings
from distracted_pipeline.training.checkpoint import load_trained
from distracted_pipeline.training.inputs import load_inputs
from distracted_pipeline.training.train import train_variant
from distracted_pipeline.variants.networks import VariantNet

HEADER = submission_header(STATE_FARM.class_ids)
TESTS = ["img_900000.jpg", "img_900001.jpg", "img_900002.jpg"]


def quiet(line: str) -> None:
    """Drop a log line."""


def write_sample(settings: Settings, imgs: list[str], header: tuple[str, ...] = HEADER) -> None:
    lines = [",".join(header), *(f"{img},{','.join(['0.1'] * 10)}" for img in imgs)]
    (settings.data / SAMPLE).write_text("\r\n".join(lines) + "\r\n")


def test_the_submission_follows_the_order_of_kaggles_sample(own_root: Settings) -> None:
    write_sample(own_root, TESTS[::-1])
    train_variant(own_root, "masks_only", "original", RunOptions(log=quiet))
    written = write_submission(own_root, "masks_only", RunOptions(log=quiet))
    with written.path.open(newline="") as handle:
        rows = list(csv.reader(handle))
    assert [row[0] for row in rows] == ["img", *TESTS[::-1]]
    own_order = own_root.data / "own.csv"
    shutil.move(written.path, own_order)
    (own_root.data / SAMPLE).unlink()
    with write_submission(own_root, "masks_only", RunOptions(log=quiet)).path.open(newline="") as handle:
        unordered = {row[0]: row[1:] for row in csv.reader(handle)}
    assert all(np.allclose(np.array(row[1:], float), np.array(unordered[row[0]], float), atol=2e-6) for row in rows[1:])


def test_probabilities_are_the_mean_over_trainings(own_root: Settings) -> None:
    train_variant(own_root, "masks_only", "original", RunOptions(log=quiet))
    said: list[str] = []
    with write_submission(own_root, "masks_only", RunOptions(log=said.append)).path.open(newline="") as handle:
        written = np.array([row[1:] for row in csv.reader(handle)][1:], float)
    assert "masks_only: probabilities are the mean over 2 trainings on the original fold" in said
    each = []
    for replicate in (0, 1):
        trained = load_trained(own_root, "masks_only", "original", "cpu", replicate)
        inputs = load_inputs(own_root, trained.net.map_inputs, TESTS)
        each.append(trained.net.forward_from_images(inputs).double().softmax(1).numpy())
    assert np.abs(each[0] - each[1]).max() > 1e-3
    assert written == pytest.approx(clipped(np.mean(each, axis=0)), abs=2e-6)


def test_a_batch_size_is_how_many_images_are_predicted_at_once(
    own_root: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_variant(own_root, "masks_only", "original", RunOptions(log=quiet))
    sizes: list[int] = []

    def spy(self: VariantNet, batch: dict[str, Tensor]) -> Tensor:
        sizes.append(len(batch["fractions"]))
        return self(batch)

    monkeypatch.setattr(VariantNet, "forward_from_images", spy)
    for size, expected in ((0, [3, 3]), (2, [2, 2, 1, 1])):  # by each of two trainings
        sizes.clear()
        write_submission(own_root, "masks_only", RunOptions(batch_size=size, log=quiet))
        assert sizes == expected


def test_missing_and_foreign_images_are_counted_with_examples(own_root: Settings) -> None:
    (own_root.data / "imgs" / "test" / TESTS[0]).write_bytes(b"\xff\xd8 damaged")
    ingest(own_root, log=quiet)
    write_sample(own_root, [*TESTS[:2], *(f"img_{number}.jpg" for number in range(5))])
    with pytest.raises(DistractedError) as raised:
        write_submission(own_root, "masks_only", RunOptions(log=quiet))
    said = str(raised.value)
    assert "lists 7 images, and there are 2 usable test images" in said
    assert "6 of its images are missing or damaged here (img_0.jpg, img_1.jpg, img_2.jpg, …)" in said
    assert f"1 here are not in it ({TESTS[2]})" in said
    assert not (own_root.submissions / "masks_only.csv").exists()


def test_a_sample_that_is_none_is_refused(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path)
    path = tmp_path / SAMPLE
    assert sample_images(path, HEADER) is None
    write_sample(settings, TESTS, header=("img", "c1", "c0"))
    with pytest.raises(DistractedError, match="begins with 'img,c1,c0' instead of 'img,c0,c1"):
        sample_images(path, HEADER)
    write_sample(settings, [*TESTS, TESTS[1]])
    with pytest.raises(DistractedError, match="names img_900001.jpg twice"):
        sample_images(path, HEADER)
    path.write_bytes(b"\xff\xfe\x00PK")
    with pytest.raises(DistractedError, match="cannot be read"):
        sample_images(path, HEADER)
    path.write_text("")
    with pytest.raises(DistractedError, match="begins with 'empty'"):
        sample_images(path, HEADER)
