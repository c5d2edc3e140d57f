"""From variant and fold to checkpoint and predictions: complete, honest about what is stale, leak-free."""

import csv
import dataclasses
import json
import shutil
import sqlite3

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file

from distracted_pipeline.checksums import CHECKSUM, file_digest
from distracted_pipeline.dataset import STATE_FARM
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.evaluation.predict import is_predicted, predict_fold
from distracted_pipeline.evaluation.prediction_table import probabilities_of
from distracted_pipeline.evaluation.predictions import read_predictions
from distracted_pipeline.files import write_json
from distracted_pipeline.images.folds import fold_rows
from distracted_pipeline.images.ingest import ingest
from distracted_pipeline.options import RunOptions
from distracted_pipeline.serving.submission import CLIP, clipped, write_submission
from distracted_pipeline.settings import Settings
from distracted_pipeline.training import train as train_module
from distracted_pipeline.training.checkpoint import (
    CONFIG,
    LAST_GOOD,
    WEIGHTS,
    WEIGHTS_DIGEST,
    is_trained,
    load_trained,
    model_folder,
    read_meta,
)
from distracted_pipeline.training.inputs import load_inputs
from distracted_pipeline.training.train import train_variant
from distracted_pipeline.variants.backbones import load_backbone
from distracted_pipeline.variants.config import load_catalogue
from distracted_pipeline.variants.networks import VariantNet
from distracted_pipeline_tests.conftest import draw_frame
from distracted_pipeline_tests.training.rooted import images


def quiet(line: str) -> None:
    """Drop a log line."""


QUIET = RunOptions(log=quiet)


def held_out(settings: Settings, fold: str) -> pa.Table:
    """The images that a fold predicts."""
    table = images(settings)
    return table.take(pa.array(fold_rows(table, fold).predict))


VARIANTS = (
    "linear_probe", "top_only", "fine_tune", "adapter_serial", "masks_only", "masks_fused", "masks_fused_checkpoint",
    "lora", "batch_norm", "linear_probe_without_driver",
)  # fmt: skip


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_trains_is_kept_and_predicts_its_held_out_drivers(prepared: Settings, variant: str) -> None:
    result = train_variant(prepared, variant, "1", QUIET)
    assert not result.reused
    assert is_trained(prepared, variant, "1")
    again = train_variant(prepared, variant, "1", QUIET)
    assert again.reused
    assert again.metas == result.metas

    table = pq.read_table(predict_fold(prepared, variant, "1", QUIET))
    assert is_predicted(prepared, variant, "1")
    expected = held_out(prepared, "1")
    assert table["replicate"].to_pylist() == [0] * expected.num_rows + [1] * expected.num_rows
    for replicate in range(2):
        own = table.slice(replicate * expected.num_rows, expected.num_rows)
        assert own["img"].to_pylist() == expected["img"].to_pylist()
        assert own["subject"].to_pylist() == expected["subject"].to_pylist()
        assert [STATE_FARM.class_ids[k] for k in own["true"].to_pylist()] == expected["classname"].to_pylist()
    probabilities = probabilities_of(table)
    assert np.abs(probabilities.sum(1) - 1).max() < 1e-5

    trained = load_trained(prepared, variant, "1", "cpu")
    names = expected["img"].to_pylist()[:6]
    whole = load_inputs(prepared, trained.net.map_inputs, names, model_name=trained.config.model_name)
    with torch.no_grad():
        from_images = trained.net.forward_from_images(whole).softmax(1).numpy()
    assert np.abs(from_images - probabilities[:6]).max() < 2e-2  # fp16 taps
    kept = {name for name, _ in _learning(trained.net, variant, prepared)}
    if variant == "masks_fused_checkpoint":
        kept |= {f"trunk.{name}" for name, _ in trained.net.trunk.named_parameters()}
    assert set(load_file(result.folder / "0" / WEIGHTS)) == kept
    total = sum(p.numel() for p in trained.net.parameters())
    assert result.metas[0]["total_parameters"] == total
    assert 0 < result.metas[0]["trainable_parameters"] <= total
    assert not any(p.requires_grad for p in trained.net.parameters())
    evaluated = read_predictions(prepared, [variant])
    assert (variant, "1") in evaluated.parts
    assert evaluated.rejected == []


def _learning(net: VariantNet, variant: str, settings: Settings) -> list:
    chosen = load_catalogue(settings)[variant].technique.learning(net)
    return [(name, p) for name, p in net.named_parameters() if name in chosen]


def test_a_model_knows_none_of_the_drivers_it_is_judged_on(prepared: Settings) -> None:
    for fold in ("original", "0", "1"):
        meta = train_variant(prepared, "linear_probe", fold, QUIET).metas[0]
        judged = set(held_out(prepared, fold)["subject"].to_pylist())
        assert not set(meta["train_subjects"]) & judged
        assert set(meta["train_subjects"]).isdisjoint(meta["validation_subjects"])
        if fold != "original":
            assert not set(meta["validation_subjects"]) & judged


def test_a_leak_stops_training(own_root: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def leaky(table: pa.Table, fold: str) -> object:
        rows = fold_rows(table, fold)
        return dataclasses.replace(rows, train=np.concatenate([rows.train, rows.predict[:1]]))

    monkeypatch.setattr(train_module, "fold_rows", leaky)
    with pytest.raises(DistractedError, match="is in train and in predict"):
        train_variant(own_root, "masks_only", "1", QUIET)


def test_a_changed_option_makes_the_checkpoint_stale_and_trains_again(own_root: Settings) -> None:
    train_variant(own_root, "masks_only", "0", QUIET)
    assert own_root.variants_file is not None
    text = own_root.variants_file.read_text()
    own_root.variants_file.write_text(text.replace("masks_only: {epochs: 2}", "masks_only: {epochs: 1}"))
    assert not is_trained(own_root, "masks_only", "0")
    result = train_variant(own_root, "masks_only", "0", QUIET)
    assert not result.reused
    assert len(result.metas[0]["history"]) == 1


def test_new_images_make_the_checkpoint_stale(own_root: Settings) -> None:
    train_variant(own_root, "linear_probe", "0", QUIET)
    path = own_root.data / held_out(own_root, "0")["path"][0].as_py()
    draw_frame(5, 5, 77).save(path, quality=92)
    ingest(own_root, log=quiet)
    assert not is_trained(own_root, "linear_probe", "0")
    assert not train_variant(own_root, "linear_probe", "0", QUIET).reused


def test_another_backbone_makes_only_variants_with_a_backbone_stale(own_root: Settings, other_families: dict) -> None:
    train_variant(own_root, "linear_probe", "0", QUIET)
    train_variant(own_root, "masks_only", "0", QUIET)
    mobile = dataclasses.replace(own_root, backbone=str(other_families["mobilenet_v2"]))
    assert is_trained(mobile, "masks_only", "0")
    assert not is_trained(mobile, "linear_probe", "0")
    with pytest.raises(DistractedError, match="trained on another backbone"):
        load_trained(mobile, "linear_probe", "0", "cpu")
    with pytest.raises(DistractedError, match="kind top_only cuts into EfficientNet"):
        train_variant(mobile, "top_only", "0", QUIET)


def test_nan_stops_with_the_last_good_weights_and_no_checkpoint(
    own_root: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    factors = {1: 1.0}
    monkeypatch.setattr(
        "distracted_pipeline.training.loop.rate_factor", lambda config, epoch: factors.get(epoch, float("nan"))
    )
    folder = model_folder(own_root, "masks_only", "0")
    with pytest.raises(DistractedError, match=r"not finite in epoch 2 .*epoch 1 are kept in .*last_good") as raised:
        train_variant(own_root, "masks_only", "0", QUIET)
    assert '--partition "0|masks_only"' in str(raised.value)
    assert not is_trained(own_root, "masks_only", "0")
    kept = load_file(folder / LAST_GOOD)
    assert all(bool(tensor.isfinite().all()) for tensor in kept.values())
    with sqlite3.connect(own_root.data / "mlflow.db") as store:
        assert store.execute("select status from runs order by start_time desc").fetchone()[0] == "FAILED"
    monkeypatch.undo()
    train_variant(own_root, "masks_only", "0", QUIET)
    assert not (folder / LAST_GOOD).exists()


def test_a_damaged_or_absent_checkpoint_is_named_with_the_command(own_root: Settings) -> None:
    with pytest.raises(DistractedError, match=r'--select trained_model --partition "0\|masks_only"'):
        load_trained(own_root, "masks_only", "0", "cpu")
    folder = train_variant(own_root, "masks_only", "0", QUIET).folder / "0"
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:100])
    with pytest.raises(DistractedError, match="missing or damaged"):
        load_trained(own_root, "masks_only", "0", "cpu")
    (folder / CONFIG).write_text("{half")
    with pytest.raises(DistractedError, match=r'is damaged.*--partition "0\|masks_only"'):
        load_trained(own_root, "masks_only", "0", "cpu")


@pytest.mark.parametrize("old", [{"backbone": "b3"}, ["b3"]])
def test_a_checkpoint_of_an_older_version_counts_as_none_and_is_trained_again(own_root: Settings, old: object) -> None:
    folder = model_folder(own_root, "masks_only", "0")
    folder.mkdir(parents=True)
    (folder / CONFIG).write_text(json.dumps(old))
    assert not is_trained(own_root, "masks_only", "0")
    with pytest.raises(DistractedError, match="of another version.* --select trained_model"):
        load_trained(own_root, "masks_only", "0", "cpu")
    assert not train_variant(own_root, "masks_only", "0", QUIET).reused
    assert is_trained(own_root, "masks_only", "0")


def test_the_run_is_in_mlflow_with_params_curves_recalls_figure_and_weights(prepared: Settings) -> None:
    from mlflow import MlflowClient

    meta = train_variant(prepared, "masks_only", "1", QUIET).metas[0]
    predict_fold(prepared, "masks_only", "1", QUIET)
    client = MlflowClient(tracking_uri=prepared.mlflow_uri)
    run = client.get_run(meta["mlflow_run_id"])
    assert run.info.status == "FINISHED"
    assert run.data.params == {"fold": "1", "replicate": "0"}
    above = client.get_run(run.data.tags["mlflow.parentRunId"]).data
    assert above.params["optimizer"] == "adamw"
    assert above.params["kind"] == "masks_only"
    assert above.params["trainable_parameters"] == str(meta["trainable_parameters"])
    assert "description" not in above.params
    assert {"variant", "fold", "data_fingerprint", "masks_fingerprint", "code_version"} <= set(run.data.tags)
    assert "Learns from " in run.data.tags["mlflow.note.content"]
    assert {
        "loss/train",
        "loss/validation",
        "recall_validation/c0",
        "recall_validation/c9",
        "accuracy/held_out",
    } <= set(run.data.metrics)
    assert len(client.get_metric_history(run.info.run_id, "loss/train")) == 2
    assert {file.path for file in client.list_artifacts(run.info.run_id)} == {
        "config.json",
        "model.safetensors",
        "confusion_validation.svg",
    }
    assert run.info.artifact_uri.startswith("file://")
    assert str(prepared.mlflow_artifacts) in run.info.artifact_uri


def test_a_variant_may_start_from_anothers_weights_of_the_same_fold(own_root: Settings) -> None:
    assert own_root.variants_file is not None
    with own_root.variants_file.open("a") as handle:
        handle.write(
            "\nsecond: {kind: masks_only, epochs: 1, top_lr: 1.0e-9, optimizer: adamw, checkpoint: masks_only}\n"
        )
        handle.write("\nwrong: {kind: linear_probe, epochs: 1, checkpoint: masks_only}\n")
        handle.write(f"\nleaky: {{kind: masks_only, checkpoint: {model_folder(own_root, 'masks_only', '0')}}}\n")
    said: list[str] = []
    second = train_variant(own_root, "second", "0", RunOptions(log=said.append))
    assert "second starts from masks_only of the same fold" in said[0]
    first = train_variant(own_root, "masks_only", "0", QUIET)
    assert first.reused
    one, two = load_file(first.folder / "0" / WEIGHTS), load_file(second.folder / "0" / WEIGHTS)
    assert all(torch.allclose(one[name], two[name], atol=1e-5) for name in one)
    with pytest.raises(DistractedError, match="has no place here"):
        train_variant(own_root, "wrong", "0", QUIET)
    with pytest.raises(DistractedError, match="trained on fold 0 and may know the drivers that fold 1 holds out"):
        train_variant(own_root, "leaky", "1", QUIET)


def test_the_fused_checkpoint_stands_on_the_fine_tuned_body_of_its_fold(own_root: Settings) -> None:
    fused = train_variant(own_root, "masks_fused_checkpoint", "1", QUIET)
    tuned = train_variant(own_root, "fine_tune", "1", QUIET)
    assert tuned.reused  # it was trained on the way
    one, two = load_file(fused.folder / "0" / WEIGHTS), load_file(tuned.folder / "0" / WEIGHTS)
    body = [name for name in two if name.startswith("trunk.")]
    assert body
    assert all(torch.equal(one[name], two[name]) for name in body)
    pristine = load_backbone(own_root).trunk.state_dict()
    assert any(not torch.equal(one[name], pristine[name.removeprefix("trunk.")]) for name in body)
    judged = set(held_out(own_root, "1")["subject"].to_pylist())
    assert not judged & {*tuned.metas[0]["train_subjects"], *tuned.metas[0]["validation_subjects"]}
    net = load_trained(own_root, "masks_fused_checkpoint", "1", "cpu").net
    assert net.own_body


def test_a_changed_start_makes_what_follows_from_it_stale(own_root: Settings) -> None:
    train_variant(own_root, "masks_fused_checkpoint", "1", QUIET)
    assert is_trained(own_root, "masks_fused_checkpoint", "1")
    assert own_root.variants_file is not None
    text = own_root.variants_file.read_text()
    own_root.variants_file.write_text(text.replace("fine_tune: {epochs: 1}", "fine_tune: {epochs: 1, seed: 3}"))
    assert not is_trained(own_root, "fine_tune", "1")
    assert not is_trained(own_root, "masks_fused_checkpoint", "1")


def test_a_start_that_knows_a_held_out_driver_is_refused(own_root: Settings) -> None:
    folder = train_variant(own_root, "masks_only", "1", QUIET).folder / "0"
    driver = held_out(own_root, "1")["subject"][0].as_py()
    elsewhere = own_root.data / "elsewhere"
    shutil.copytree(folder, elsewhere)
    write_json(elsewhere / CONFIG, {**read_meta(folder), "train_subjects": [driver]})
    assert own_root.variants_file is not None
    with own_root.variants_file.open("a") as handle:
        handle.write(f"\nleaky: {{kind: masks_only, checkpoint: {elsewhere}}}\n")
    with pytest.raises(DistractedError, match=f"was trained on driver {driver}, whom fold 1 holds out"):
        train_variant(own_root, "leaky", "1", QUIET)


@pytest.mark.parametrize("family", ["mobilenet_v2", "convnext"])
def test_fine_tuning_trains_the_body_of_any_family(own_root: Settings, other_families: dict, family: str) -> None:
    settings = dataclasses.replace(own_root, backbone=str(other_families[family]))
    before = load_backbone(settings).trunk.state_dict()
    after = load_file(train_variant(settings, "fine_tune", "1", QUIET).folder / "0" / WEIGHTS)
    body = [name for name in after if name.startswith("trunk.")]
    moved = [name for name in body if not torch.equal(after[name], before[name.removeprefix("trunk.")])]
    assert len(moved) > 0.9 * len(body)
    assert predict_fold(settings, "fine_tune", "1", QUIET).is_file()


def test_a_checkpoint_with_foreign_weights_is_refused(own_root: Settings) -> None:
    folder = train_variant(own_root, "masks_only", "0", QUIET).folder / "0"
    weights = load_file(folder / WEIGHTS)
    weights.pop("classifier.bias")
    save_file(weights, folder / WEIGHTS)
    write_json(folder / CONFIG, {**read_meta(folder), WEIGHTS_DIGEST: file_digest(folder / WEIGHTS)})
    with pytest.raises(DistractedError, match=r"classifier\.bias"):
        load_trained(own_root, "masks_only", "0", "cpu")


def test_the_submission_has_kaggles_header_every_test_image_and_sane_probabilities(prepared: Settings) -> None:
    train_variant(prepared, "masks_fused", "original", QUIET)
    written = write_submission(prepared, "masks_fused", QUIET)
    with written.path.open(newline="") as handle:
        rows = list(csv.reader(handle))
    assert rows[0] == ["img", *STATE_FARM.class_ids]
    assert [row[0] for row in rows[1:]] == ["img_900000.jpg", "img_900001.jpg", "img_900002.jpg"]
    values = np.array([row[1:] for row in rows[1:]], float)
    assert np.abs(values.sum(1) - 1).max() < 1e-5
    assert values.min() >= CLIP / 2


def test_probabilities_are_clipped_and_sum_to_one_again() -> None:
    sure = np.eye(10)[:2]
    assert clipped(sure).min() > 0
    assert np.allclose(clipped(sure).sum(1), 1)
    assert (clipped(sure).argmax(1) == [0, 1]).all()


def test_without_test_images_or_model_the_submission_says_what_to_do(own_root: Settings) -> None:
    with pytest.raises(DistractedError, match=r'no trained model .*"original\|masks_only"'):
        write_submission(own_root, "masks_only", QUIET)
    for path in (own_root.data / "imgs" / "test").glob("*.jpg"):
        path.unlink()
    ingest(own_root, log=quiet)
    with pytest.raises(DistractedError, match="no unlabelled test images"):
        write_submission(own_root, "masks_only", QUIET)


def test_the_meta_is_plain_json_with_what_reports_need(prepared: Settings) -> None:
    folder = train_variant(prepared, "masks_only", "1", QUIET).folder / "0"
    meta = json.loads((folder / CONFIG).read_text())
    assert {name: value for name, value in meta.items() if name != CHECKSUM} == read_meta(folder)
    wanted = {
        "trainable_parameters", "total_parameters", "seconds", "history", "best_epoch", "data_fingerprint",
        "masks_fingerprint", "mlflow_run_id", "config", "fold", "variant", "backbone_fingerprint",
    }  # fmt: skip
    assert wanted <= set(meta)
    assert 1 <= meta["best_epoch"] <= len(meta["history"])
