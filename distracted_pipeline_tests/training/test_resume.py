"""Real processes, killed where it hurts: what they were training ends bit for bit as if they never were."""

import json
import multiprocessing
import os
import signal
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch

from distracted_pipeline.options import RunOptions
from distracted_pipeline.settings import Settings
from distracted_pipeline.training import checkpoint, loop, optimizers, snapshots, steps, tracking
from distracted_pipeline.training import train as train_module
from distracted_pipeline.training.checkpoint import CONFIG, WEIGHTS, fold_folder, is_trained, model_folder
from distracted_pipeline.training.snapshots import LAST, Interrupted, read_last, write_last
from distracted_pipeline.training.train import train_config, train_variant
from distracted_pipeline.variants.config import VariantConfig
from distracted_pipeline_tests.damage import damage
from distracted_pipeline_tests.variants.tiny import variant

FOLD = "1"


def quiet(line: str) -> None:
    """Drop a log line."""


QUIET = RunOptions(log=quiet)


CASES = {
    "a team, adadelta": variant("masks_only", top_lr=1.0, gamma=0.7, dropout=0.3, epochs=4, batch_size=32),
    "adamw": variant(
        "fine_tune", scheduler="cosine", layer_decay=0.8, augment=True, dropout=0.2, epochs=4, batch_size=40
    ),
    "lbfgs": variant("linear_probe", optimizer="lbfgs", top_lr=1.0, top_decay=1.0, epochs=4),
}
DEATHS = {
    "in epoch 1": 0,
    "in epoch 3": 2,
    "while writing the snapshot of epoch 3": 2,
    "after epoch 4": 4,
    "before the commit": 4,
}
"""Moments, and the epochs that are finished then."""

REPLICATES = 2


def die() -> None:
    """End this process as `kill -9` does."""
    os.kill(os.getpid(), signal.SIGKILL)


def work(settings: Settings, config: VariantConfig, death: str | None) -> None:
    """Train in a process of its own, which dies at a chosen moment."""
    # MLflow is no part of this, and takes seconds to load in every process.
    tracking.reopen_or_start = lambda *args, **kwargs: tracking.OpenRun("run", "", {}, {}, 0)
    train_module.mlflow_outbox.finish_run = lambda *args, **kwargs: None
    optimizers.LBFGS_ITERATIONS = steps.LBFGS_ITERATIONS = 2  # else it needs no four epochs
    plant(death)
    train_config(settings, config, FOLD, QUIET)


def plant(death: str | None) -> None:
    """Make this process die at that moment."""
    epochs = {"n": 0}

    def counting(session: Any, rows: Any, epoch: int, progress: Any = None, real: Any = loop.train_epoch) -> Any:
        epochs["n"] = epoch
        return real(session, rows, epoch, progress)

    def step(session: Any, batch: Any, labels: Any, keep: Any, real: Any = loop.step) -> torch.Tensor:
        loss: torch.Tensor = real(session, batch, labels, keep)
        if death == f"in epoch {epochs['n']}":
            die()
        return loss

    def save(tensors: Any, metadata: Any, real: Any = snapshots.save) -> bytes:
        if death == f"while writing the snapshot of epoch {epochs['n']}":
            die()
        return bytes(real(tensors, metadata=metadata))

    def write(folder: Path, team: dict[str, Interrupted]) -> None:
        write_last(folder, team)
        if death == f"after epoch {epochs['n']}":
            die()

    def commit(path: Path, value: Any, real: Any = checkpoint.write_json) -> None:
        if death == "before the commit":
            die()
        real(path, value)
        if death == "after a replicate":
            die()

    loop.train_epoch, loop.step, snapshots.save = counting, step, save
    train_module.write_last, checkpoint.write_json = write, commit


def start(settings: Settings, config: VariantConfig, death: str | None) -> BaseProcess:
    context = multiprocessing.get_context("forkserver")
    # Loaded once, before the forks: else every process takes seconds for it.
    context.set_forkserver_preload(
        [__name__, "transformers.models.auto.modeling_auto", "transformers.models.efficientnet.modeling_efficientnet",
         "transformers.models.auto.image_processing_auto"]
    )  # fmt: skip
    process = context.Process(target=work, args=(settings, config, death))
    process.start()
    process.join()
    return process


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="needs fork")
@pytest.mark.parametrize("optimizer", CASES)
def test_killed_again_and_again_the_weights_end_byte_for_byte_as_without(own_root: Settings, optimizer: str) -> None:
    config = CASES[optimizer]
    whole = config.model_copy(update={"name": "whole"})
    assert start(own_root, whole, None).exitcode == 0
    folder = fold_folder(own_root, config.name, FOLD)
    at_once = 1 if config.kind == "fine_tune" else REPLICATES
    for death, finished in DEATHS.items():
        assert start(own_root, config, death).exitcode == -signal.SIGKILL, death
        assert not list(folder.glob(f"*/{CONFIG}"))
        prints = [checkpoint.fingerprints(own_root, config, FOLD, r)["fingerprint"] for r in range(at_once)]
        kept = read_last(folder, prints)
        assert [len(one.snapshot.fit.history) for one in kept] == [finished] * at_once * bool(finished), death
    assert start(own_root, config, None).exitcode == 0
    assert sorted(path.name for path in folder.iterdir()) == [".lock", *map(str, range(REPLICATES))]
    for replicate in range(REPLICATES):
        mine, whole = (model_folder(own_root, name, FOLD, replicate) for name in (config.name, "whole"))
        assert (mine / WEIGHTS).read_bytes() == (whole / WEIGHTS).read_bytes()
        assert sorted(path.name for path in mine.iterdir()) == [CONFIG, WEIGHTS]


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="needs fork")
def test_killed_between_two_replicates_the_first_stays_and_the_second_is_trained(own_root: Settings) -> None:
    config = CASES["adamw"].model_copy(update={"epochs": 1})
    assert start(own_root, config, "after a replicate").exitcode == -signal.SIGKILL
    first, second = (model_folder(own_root, config.name, FOLD, replicate) / CONFIG for replicate in range(2))
    assert first.is_file()
    assert not second.exists()
    before = first.read_bytes()
    train_config(own_root, config, FOLD, QUIET)
    assert first.read_bytes() == before
    assert second.is_file()


def test_a_probe_with_dropout_is_solved_for_each_replicate_alone(own_root: Settings) -> None:
    config = variant("linear_probe", optimizer="lbfgs", top_lr=1.0, top_decay=10.0, dropout=0.3, epochs=2)
    metas = train_config(own_root, config, FOLD, QUIET).metas
    assert len({meta["validation_loss"] for meta in metas}) == REPLICATES
    alone = config.model_copy(update={"name": "alone"})
    first = train_config(replace(own_root, replicates=1), alone, FOLD, QUIET).metas[0]
    assert first["validation_loss"] == pytest.approx(metas[0]["validation_loss"], abs=1e-6)


def test_further_replicates_are_trained_beside_those_that_are_there(own_root: Settings) -> None:
    folder = train_variant(own_root, "masks_only", FOLD, QUIET).folder
    before = {path: path.read_bytes() for path in sorted(folder.glob(f"*/{CONFIG}"))}
    more = replace(own_root, replicates=4)
    assert not is_trained(more, "masks_only", FOLD)
    result = train_variant(more, "masks_only", FOLD, QUIET)
    assert [meta["replicate"] for meta in result.metas] == [0, 1, 2, 3]
    assert len({json.dumps(meta["history"][0]["train_loss"]) for meta in result.metas}) == 4
    assert {path: path.read_bytes() for path in before} == before
    assert is_trained(own_root, "masks_only", FOLD)


class Stop(Exception):
    """Stands in for whatever ends a training early."""


def interrupt(settings: Settings, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train a variant until its second epoch begins."""
    real = loop.train_epoch

    def stopping(session: Any, rows: Any, epoch: int, progress: Any = None) -> list[float]:
        if epoch == 2:
            raise Stop
        return real(session, rows, epoch, progress)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "train_epoch", stopping)
        with pytest.raises(Stop):
            train_variant(settings, name, FOLD, QUIET)


def test_an_interrupted_training_goes_on_in_the_same_mlflow_run(
    own_root: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    interrupt(own_root, "masks_only", monkeypatch)
    config = train_module.variant_named(own_root, "masks_only")
    prints = [checkpoint.fingerprints(own_root, config, FOLD, r)["fingerprint"] for r in range(REPLICATES)]
    kept = read_last(fold_folder(own_root, "masks_only", FOLD), prints)
    said: list[str] = []
    metas = train_variant(own_root, "masks_only", FOLD, RunOptions(log=said.append)).metas
    assert "going on after epoch 1" in said[0]
    client = MlflowClient(tracking_uri=own_root.mlflow_uri)
    for meta, before in zip(metas, kept, strict=True):
        assert meta["mlflow_run_id"] == before.run_id
        assert meta["seconds"] > before.seconds
        assert [line["epoch"] for line in meta["history"]] == [1, 2]
        assert client.get_run(before.run_id).info.status == "FINISHED"
        assert len(client.get_metric_history(before.run_id, "loss/train")) == 2


def test_what_another_variant_left_is_never_gone_on_from(own_root: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt(own_root, "masks_only", monkeypatch)
    assert own_root.variants_file is not None
    text = own_root.variants_file.read_text()
    own_root.variants_file.write_text(text.replace("masks_only: {epochs: 2}", "masks_only: {epochs: 2, seed: 5}"))
    said: list[str] = []
    folder = train_variant(own_root, "masks_only", FOLD, RunOptions(log=said.append)).folder
    assert not any("going on" in line for line in said)
    fresh = train_module.variant_named(own_root, "masks_only").model_copy(update={"name": "fresh"})
    other = train_config(own_root, fresh, FOLD, QUIET).folder
    assert (folder / "1" / WEIGHTS).read_bytes() == (other / "1" / WEIGHTS).read_bytes()


@pytest.mark.parametrize("how", ["emptied", "truncated", "flipped"])
def test_from_a_damaged_snapshot_nothing_is_taken(how: str, tmp_path: Path) -> None:
    one = Interrupted(loop.Snapshot(loop.Fit([], None, 0), {"w": torch.ones(3)}, {}, {}), "run", 1.0)
    write_last(tmp_path, {"a": one})
    assert len(read_last(tmp_path, ["a"])) == 1
    damage(tmp_path / LAST, how)
    said: list[str] = []
    assert read_last(tmp_path, ["a"], said.append) == []
    assert "last.safetensors is damaged" in said[0]
    assert not (tmp_path / LAST).exists()


def test_after_a_damaged_snapshot_the_training_begins_anew(own_root: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt(own_root, "masks_only", monkeypatch)
    damage(fold_folder(own_root, "masks_only", FOLD) / LAST, "truncated")
    said: list[str] = []
    train_variant(own_root, "masks_only", FOLD, RunOptions(log=said.append))
    assert "the training begins anew" in said[0]
    assert not any("going on" in line for line in said)
    assert is_trained(own_root, "masks_only", FOLD)
