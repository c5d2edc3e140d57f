"""Predicting a fold: its held-out drivers, once per checkpoint, and never from a stale one."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.evaluation.predict import check_predictions, is_predicted, predict_fold
from distracted_pipeline.evaluation.predictions import read_predictions
from distracted_pipeline.images.folds import fold_rows
from distracted_pipeline.images.ingest import ingest
from distracted_pipeline.options import RunOptions
from distracted_pipeline.settings import Settings
from distracted_pipeline.training import mlflow_outbox
from distracted_pipeline.training.checkpoint import model_folder, read_meta
from distracted_pipeline.training.inputs import Rows
from distracted_pipeline.training.train import train_variant
from distracted_pipeline_tests.conftest import draw_frame
from distracted_pipeline_tests.damage import DAMAGES, damage, write_unsealed
from distracted_pipeline_tests.training.rooted import images, ingested, own_root, prepared
from distracted_pipeline_tests.variants.tiny import efficientnet

__all__ = ["efficientnet", "ingested", "own_root", "prepared"]


def quiet(line: str) -> None:
    """Drop a log line."""


def held_out(settings: Settings, fold: str) -> pa.Table:
    """The images that a fold predicts."""
    table = images(settings)
    return table.take(pa.array(fold_rows(table, fold).predict))


def test_a_fold_is_predicted_once_and_again_after_training_anew(
    own_root: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_variant(own_root, "masks_only", "0", RunOptions(log=quiet))
    assert not is_predicted(own_root, "masks_only", "0")
    sizes: list[int] = []
    whole = Rows.batch

    def spy(self: Rows, index: torch.Tensor, device: torch.device) -> dict[str, torch.Tensor]:
        sizes.append(len(index))
        return whole(self, index, device)

    with monkeypatch.context() as patched:
        patched.setattr(Rows, "batch", spy)
        path = predict_fold(own_root, "masks_only", "0", RunOptions(batch_size=7, log=quiet))
    assert max(sizes) == 7
    assert sum(sizes) == 2 * held_out(own_root, "0").num_rows  # by each of two trainings
    assert is_predicted(own_root, "masks_only", "0")
    stamp = path.stat().st_mtime_ns
    assert predict_fold(own_root, "masks_only", "0", RunOptions(log=quiet)).stat().st_mtime_ns == stamp
    assert own_root.variants_file is not None
    text = own_root.variants_file.read_text()
    own_root.variants_file.write_text(text.replace("masks_only: {epochs: 2}", "masks_only: {epochs: 1}"))
    train_variant(own_root, "masks_only", "0", RunOptions(log=quiet))
    assert not is_predicted(own_root, "masks_only", "0")
    assert predict_fold(own_root, "masks_only", "0", RunOptions(log=quiet)).stat().st_mtime_ns > stamp


def test_each_training_predicts_every_image_and_its_own_run_hears_of_it(
    own_root: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_variant(own_root, "masks_only", "0", RunOptions(log=quiet))
    heard: dict[str, tuple[str, float]] = {}

    def spy(settings: Settings, folder: Path, run_id: str, metrics: dict[str, float], *, log: object) -> None:
        heard[folder.name] = run_id, metrics["held_out_accuracy"]

    monkeypatch.setattr(mlflow_outbox, "add_metrics", spy)
    path = predict_fold(own_root, "masks_only", "0", RunOptions(log=quiet))
    part = read_predictions(own_root, ["masks_only"]).parts["masks_only", "0"]
    assert part.probabilities.shape == (2, held_out(own_root, "0").num_rows, 10)
    assert np.abs(part.probabilities[0] - part.probabilities[1]).max() > 1e-3, "trained by luck of their own"
    runs = [read_meta(model_folder(own_root, "masks_only", "0", replicate))["mlflow_run_id"] for replicate in (0, 1)]
    accuracies = (part.answers == part.true).mean(1)
    assert heard == {str(r): (runs[r], pytest.approx(accuracies[r])) for r in (0, 1)}
    check = check_predictions(own_root, "0", path)
    assert check.passed
    assert check.facts["trainings"] == 2


def test_a_training_that_is_missing_is_named(own_root: Settings) -> None:
    train_variant(own_root, "masks_only", "0", RunOptions(log=quiet))
    predict_fold(own_root, "masks_only", "0", RunOptions(log=quiet))
    shutil.rmtree(model_folder(own_root, "masks_only", "0", 1))
    assert not is_predicted(own_root, "masks_only", "0")
    with pytest.raises(DistractedError, match=r"no trained model in .*masks_only.0.1"):
        predict_fold(own_root, "masks_only", "0", RunOptions(log=quiet))


def test_predictions_that_are_damaged_or_of_other_images_are_made_again(own_root: Settings) -> None:
    quiet_options = RunOptions(log=quiet)
    train_variant(own_root, "masks_only", "0", quiet_options)
    path = predict_fold(own_root, "masks_only", "0", quiet_options)
    before = path.read_bytes()
    for how in DAMAGES:
        damage(path, how)
        assert not is_predicted(own_root, "masks_only", "0"), how
        assert not read_predictions(own_root, ["masks_only"]).parts
        predict_fold(own_root, "masks_only", "0", quiet_options)
        assert path.read_bytes() == before
    table = pq.read_table(path, partitioning=None)
    for other in (
        table.replace_schema_metadata({**table.schema.metadata, b"data_fingerprint": b"another"}),
        table.slice(1),
        table.set_column(4, "p_c0", pa.array(np.full(table.num_rows, np.nan, np.float32))),
    ):
        write_unsealed(path, other)
        assert not is_predicted(own_root, "masks_only", "0")
        predict_fold(own_root, "masks_only", "0", quiet_options)
        assert path.read_bytes() == before
    write_unsealed(path, table)
    assert is_predicted(own_root, "masks_only", "0"), "of an earlier version, and nothing is wrong with it"


def test_predictions_from_other_data_are_refused(own_root: Settings) -> None:
    train_variant(own_root, "linear_probe", "0", RunOptions(log=quiet))
    draw_frame(5, 5, 77).save(own_root.data / held_out(own_root, "0")["path"][0].as_py(), quality=92)
    ingest(own_root, log=quiet)
    with pytest.raises(DistractedError, match="trained on other data"):
        predict_fold(own_root, "linear_probe", "0", RunOptions(log=quiet))


def test_the_check_tells_missing_images_and_sums_that_are_not_one(own_root: Settings) -> None:
    train_variant(own_root, "masks_only", "1", RunOptions(log=quiet))
    path = predict_fold(own_root, "masks_only", "1", RunOptions(log=quiet))
    assert check_predictions(own_root, "1", path).passed
    table = pq.read_table(path, partitioning=None)
    broken = path.with_name("broken.parquet")
    write_unsealed(broken, table.slice(1))
    assert not check_predictions(own_root, "1", broken).passed
    column = table.column_names.index("p_c0")
    write_unsealed(broken, table.set_column(column, "p_c0", pa.array(np.full(table.num_rows, 0.9))))
    assert not check_predictions(own_root, "1", broken).passed
