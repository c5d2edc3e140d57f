"""The champion: the best variant on unseen drivers, in the registry, loadable by MLflow alone, at any batch size."""

import dataclasses
import json
import os
import shutil
import socket
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from distracted_pipeline.dataset import STATE_FARM
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.evaluation.table_schemas import VariantScore
from distracted_pipeline.evaluation.tables import VARIANTS_FILE, class_accuracy
from distracted_pipeline.evaluation.tables_io import schema_of
from distracted_pipeline.scopes import CROSS_FOLDS
from distracted_pipeline.serving import champion, engine
from distracted_pipeline.serving.champion import FILE, URI, best_variant, champion_current, crown, registered_version
from distracted_pipeline.serving.engine import load_champion
from distracted_pipeline.serving.export import TESTED_BATCHES, classifier_of, save_classifier
from distracted_pipeline.settings import Settings
from distracted_pipeline.training import tracking
from distracted_pipeline.training.checkpoint import Trained, load_trained
from distracted_pipeline.training.relocation import local_path
from distracted_pipeline.variants.backbones import load_backbone
from distracted_pipeline.variants.networks import build_network
from distracted_pipeline_tests.damage import write_unsealed
from distracted_pipeline_tests.evaluation.fakes import make_root, predict
from distracted_pipeline_tests.serving.crowned import TRAINED, quiet
from distracted_pipeline_tests.variants.tiny import settings_for, variant


def row(scope: str, name: str, recall: float | None, missing: tuple[str, ...] = (), parameters: int = 10) -> dict:
    return {
        "scope": scope,
        "variant": name,
        "macro_recall": recall,
        "ranked_recall": recall,
        "flattery": 0.02,
        "folds_missing": list(missing),
        "trainable_parameters": parameters,
    }


def tables(root: Path, rows: list[dict], trained: tuple[str, ...]) -> Settings:
    settings = Settings(data=root)
    settings.evaluation.mkdir(parents=True)
    table = pa.Table.from_pylist(rows, schema=schema_of(VariantScore))
    write_unsealed(settings.evaluation / VARIANTS_FILE, table)
    for name in trained:
        folder = settings.models / name / "original" / "0"
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps({"fingerprint": name}))
    return settings


def test_the_best_out_of_fold_wins_and_a_variant_with_missing_folds_cannot(tmp_path: Path) -> None:
    rows = [
        row("oof", "lucky", 0.99, missing=("1", "2")),
        row("oof", "good", 0.7),
        row("oof", "same_but_larger", 0.7, parameters=1000),
        row("dev", "dev_hero", 0.95),
        row("oof", "undefined", None),
    ]
    best = best_variant(tables(tmp_path, rows, ("lucky", "good", "same_but_larger", "dev_hero")))
    assert best is not None
    assert (best.variant, best.scope, best.fold, best.macro_recall) == ("good", "oof", "original", 0.7)
    assert best.facts()["flattery"] == 0.02
    assert best.score().endswith("on which it was also chosen: taking the best one flatters by about 0.020")
    assert dataclasses.replace(best, flattery=0.0001).score().endswith("flatters by less than 0.001"), "not by 0.000"


def test_a_variant_with_one_easy_fold_is_no_champion(tmp_path: Path) -> None:
    root = make_root(tmp_path / "data")
    predict(root, "base", CROSS_FOLDS, wrong={1: 2})
    predict(root, "other", ["0"])
    folder = root.models / "base" / "original" / "0"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"fingerprint": "base"}))
    class_accuracy(root, log=quiet)
    best = best_variant(root)
    assert best is not None
    assert best.variant == "base"


def test_without_all_folds_the_dev_drivers_decide_never_the_test_drivers(tmp_path: Path) -> None:
    rows = [row("test", "a", 0.9), row("dev", "a", 0.3), row("dev", "b", 0.4), row("oof", "a", 0.9, missing=("0",))]
    best = best_variant(tables(tmp_path, rows, ("a", "b")))
    assert best is not None
    assert (best.variant, best.scope) == ("b", "dev")


def test_while_nothing_is_complete_there_is_no_champion_and_no_error(tmp_path: Path) -> None:
    said: list[str] = []
    settings = tables(tmp_path, [row("oof", "a", 0.9, missing=("0",))], ("a",))
    assert crown(settings, log=said.append) is None
    assert "no champion yet" in said[0]
    assert not (settings.evaluation / FILE).exists()
    with pytest.raises(DistractedError, match="distracted run"):
        best_variant(Settings(data=tmp_path / "empty"))


def test_a_champion_whose_model_is_gone_is_an_error_with_the_command(tmp_path: Path) -> None:
    with pytest.raises(DistractedError, match=r'no trained model .*"original\|a"'):
        best_variant(tables(tmp_path, [row("oof", "a", 0.9)], ()))


def test_plain_mlflow_loads_the_registered_champion_and_it_equals_the_trained_network(
    crowned: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    best = json.loads((crowned.evaluation / FILE).read_text())
    assert best["variant"] in TRAINED
    eager = classifier_of(crowned, load_trained(crowned, best["variant"], "original", "cpu"))
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(crowned.mlflow_uri)
    try:
        loaded = mlflow.pytorch.load_model(URI)
    finally:
        mlflow.set_tracking_uri(before)
    for batch in (*TESTED_BATCHES, 5):
        inputs = eager.example(batch)
        probabilities = loaded(*inputs)
        assert torch.allclose(probabilities, eager(*inputs), atol=1e-5)
        assert torch.allclose(probabilities.sum(1), torch.ones(batch), atol=1e-5)
    assert not list(crowned.mlflow_artifacts.rglob("*.pkl"))
    assert not list(crowned.mlflow_artifacts.rglob("*.pth"))


def test_the_registered_champion_is_a_logged_model_with_signature_and_example(crowned: Settings) -> None:
    from mlflow.models import Model

    version = registered_version(crowned)
    assert version is not None
    client, experiment = tracking.open_client(crowned)
    (model,) = client.search_logged_models([experiment])
    assert version.source == model.artifact_location
    assert json.loads(model.tags["mlflow.modelVersions"]) == [{"name": "distracted_driver", "version": 1}]
    assert (model.name, model.status, model.model_type) == (version.tags["variant"], "READY", "classifier")
    described = Model.load(local_path(model.artifact_location))
    assert described.signature is not None
    assert described.saved_input_example_info is not None
    outputs = client.get_run(str(model.source_run_id)).outputs
    assert [output.model_id for output in outputs.model_outputs] == [model.model_id]


def test_crowning_again_registers_nothing_new_and_another_model_becomes_the_next_version(
    crowned: Settings, tmp_path: Path
) -> None:
    first = crown(crowned, log=quiet)
    assert first is not None
    assert first.version == "1"
    version = registered_version(crowned)
    assert version is not None
    assert version.tags["model_fingerprint"] == first.model_fingerprint
    assert "uint8 [B, 3, 32, 32]" in version.description
    assert "on which it was also chosen" in version.description
    assert "The first of 2 trainings on that fold, which differ by luck alone; not chosen" in version.description
    assert "flatters" in version.description

    root = tmp_path / "data"
    shutil.copytree(crowned.data, root)
    settings = dataclasses.replace(crowned, data=root)
    path = settings.evaluation / VARIANTS_FILE
    rows = [{**r, "ranked_recall": float(r["variant"] != first.variant)} for r in pq.read_table(path).to_pylist()]
    write_unsealed(path, pa.Table.from_pylist(rows, schema=schema_of(VariantScore)))
    second = crown(settings, log=quiet)
    assert second is not None
    assert second.variant != first.variant
    assert second.version == "2"


def test_a_store_that_is_down_postpones_the_champion(
    crowned: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    shutil.copytree(crowned.evaluation, tmp_path / "data" / "evaluation")
    shutil.copytree(crowned.models, tmp_path / "data" / "models")
    (tmp_path / "data" / "evaluation" / FILE).unlink()
    said: list[str] = []
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        server = f"http://127.0.0.1:{taken.getsockname()[1]}"
        best = crown(dataclasses.replace(crowned, data=tmp_path / "data", mlflow=server), log=said.append)
    assert best is not None
    assert best.version is None
    assert "distracted sync" in said[0]
    assert not (tmp_path / "data" / "evaluation" / FILE).exists(), "so the next run asks again"


def test_the_champion_is_current_until_the_tables_or_its_model_are_not(crowned: Settings, tmp_path: Path) -> None:
    assert champion_current(crowned)
    root = tmp_path / "data"
    shutil.copytree(crowned.data, root)
    settings = dataclasses.replace(crowned, data=root)
    for path in root.rglob("*.parquet"):
        os.utime(path, (0, 0))
    assert champion_current(settings)
    assert not champion_current(dataclasses.replace(settings, baseline=TRAINED[1])), "the tables are not"
    assert not champion_current(dataclasses.replace(settings, mlflow="http://elsewhere:5000")), "not registered there"
    record = settings.evaluation / FILE
    whole = record.read_text()
    for text in (whole[:40], "[]", json.dumps({k: v for k, v in json.loads(whole).items() if k != "inputs"})):
        record.write_text(text)
        assert not champion_current(settings)
    record.write_text(whole)
    assert champion_current(settings)
    config = settings.models / json.loads(whole)["variant"] / "original" / "0" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "fingerprint": "another"}))
    assert not champion_current(settings)


def test_a_moved_champion_is_found_and_one_whose_files_are_gone_is_known(crowned: Settings, tmp_path: Path) -> None:
    settings = dataclasses.replace(crowned, data=tmp_path / "a b?#%20ü")
    shutil.copytree(crowned.data, settings.data)
    there = registered_version(settings)
    assert there is not None
    files = Path(local_path(there.source))
    assert files.is_relative_to(settings.data)
    assert load_champion(settings).inputs
    assert champion._is_readable(settings, there)
    shutil.rmtree(files)
    assert not champion._is_readable(settings, there), "so it is registered again"
    assert [path.name for path in tmp_path.iterdir()] == [settings.data.name]
    assert champion_current(settings)
    settings.mlflow_database.unlink()
    assert not champion_current(settings), "its registry is gone"


@pytest.mark.parametrize("tags", [{"scope": "another"}, {"macro_recall": "high"}])
def test_a_champion_whose_tags_somebody_changed_is_refused_with_the_remedy(
    crowned: Settings, tags: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    there = registered_version(crowned)
    assert there is not None
    changed = SimpleNamespace(source=there.source, version=there.version, tags={**there.tags, **tags})
    monkeypatch.setattr(engine, "required_version", lambda settings, fold: changed)
    with pytest.raises(DistractedError, match=r"cannot be used .*Register it again: delete .*champion.json"):
        load_champion(crowned)


def test_where_no_variant_has_predicted_every_fold_no_champion_is_missing(tmp_path: Path) -> None:
    root = make_root(tmp_path / "data")
    predict(root, "base", ["0", "1"])
    assert not champion_current(root), "there are no tables"
    class_accuracy(root, log=quiet)
    assert champion_current(root)


def test_a_champion_that_the_version_before_registered_is_not_registered_again(
    crowned: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its tag called the original fold `seed`."""
    there = registered_version(crowned)
    assert there is not None
    former = SimpleNamespace(source=there.source, version=there.version, tags={**there.tags, "fold": "seed"})
    monkeypatch.setattr(champion, "registered_version", lambda settings: former)
    again = crown(crowned, log=quiet)
    assert again is not None
    assert again.version == "1"


@pytest.mark.slow
@pytest.mark.parametrize("family", ["mobilenet_v2", "convnext"])
def test_any_backbone_is_exported_with_a_free_batch(
    family: str, other_families: dict[str, Path], tmp_path: Path
) -> None:
    settings, config = settings_for(other_families[family]), variant("linear_probe")
    net = build_network(config, load_backbone(settings), settings.dataset).eval().requires_grad_(False)
    module = classifier_of(settings, Trained(net, config, {}))
    save_classifier(module, tmp_path / "model", {"variant": "probe"})  # compares at batches of 1, 2 and 7 itself
    assert (tmp_path / "model" / "data" / "model.pt2").is_file()


def test_an_export_that_computes_something_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow.pytorch

    config = variant("masks_only")
    net = build_network(config, None, STATE_FARM).eval()
    module = classifier_of(Settings(data=tmp_path), Trained(net, config, {}))
    monkeypatch.setattr(mlflow.pytorch, "load_model", lambda path: lambda maps: torch.full((len(maps), 10), 0.5))
    with pytest.raises(RuntimeError, match="differs by"):
        save_classifier(module, tmp_path / "model", {})
