"""MLflow's store: killed runs are closed, resumed ones go on, and one that is down stops nobody."""

import dataclasses
import json
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest
from mlflow import MlflowClient

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.evaluation.predict import predict_fold
from distracted_pipeline.operations import doctor
from distracted_pipeline.options import RunOptions
from distracted_pipeline.settings import Settings
from distracted_pipeline.training import mlflow_outbox, tracking
from distracted_pipeline.training.checkpoint import CONFIG, is_trained, model_folder, read_meta
from distracted_pipeline.training.mlflow_outbox import FOLDER, settle, sync, unsent_folders
from distracted_pipeline.training.tracking import OpenRun, StoreDownError, open_client, reopen_or_start
from distracted_pipeline.training.train import train_variant
from distracted_pipeline.training.variant_run import PARENT
from distracted_pipeline_tests.damage import damage


def quiet(line: str) -> None:
    """Drop a log line."""


QUIET = RunOptions(log=quiet)


@pytest.fixture
def client(own_root: Settings) -> MlflowClient:
    return MlflowClient(tracking_uri=own_root.mlflow_uri)


@pytest.fixture
def refused(own_root: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """`own_root` with a tracking server whose port nobody listens on."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.socket() as taken:  # bound but not listening: connections are refused, and nobody else gets it
        taken.bind(("127.0.0.1", 0))
        yield dataclasses.replace(own_root, mlflow=f"http://user:secret@127.0.0.1:{taken.getsockname()[1]}")


def start(settings: Settings, fold: str = "0", run_id: str | None = None) -> OpenRun:
    return reopen_or_start(
        settings,
        f"v fold {fold}",
        {"fold": fold, "replicate": 0},
        {"variant": "v", "fold": fold, "replicate": "0"},
        recipe={"epochs": "3"},
        run_id=run_id,
        log=quiet,
    )


def test_the_next_training_of_a_variant_and_fold_closes_the_killed_ones_run(
    own_root: Settings, client: MlflowClient
) -> None:
    killed, other = start(own_root), start(own_root, fold="1")
    assert killed.id
    assert other.id
    again = start(own_root)
    assert again.id not in (None, killed.id)
    run = client.get_run(killed.id)
    assert run.info.status == "KILLED"
    assert "ended without closing its run" in run.data.tags["failure"]
    assert client.get_run(other.id).info.status == "RUNNING"


def test_a_resumed_training_goes_on_in_its_own_run(own_root: Settings, client: MlflowClient) -> None:
    first = start(own_root)
    assert first.id
    tracking.fail_run(own_root, first, "Ctrl-C", log=quiet)
    assert client.get_run(first.id).info.status == "FAILED"
    assert start(own_root, run_id=first.id).id == first.id
    reopened = client.get_run(first.id)
    assert reopened.info.status == "RUNNING"
    assert "failure" not in reopened.data.tags
    client.delete_run(first.id)
    assert start(own_root, run_id=first.id).id not in (None, first.id)


def test_trainings_stand_below_one_run_that_has_their_recipe(own_root: Settings, client: MlflowClient) -> None:
    first, second = start(own_root, "0"), start(own_root, "1")
    above = {client.get_run(str(run.id)).data.tags[PARENT] for run in (first, second)}
    run = client.get_run(above.pop())
    assert not above
    assert run.info.run_name == "v"
    assert run.data.params == {"epochs": "3"}
    assert client.get_run(str(second.id)).data.params == {"fold": "1", "replicate": "0"}
    changed = reopen_or_start(
        own_root, "v", {}, {"variant": "v", "fold": "2", "replicate": "0"}, recipe={"epochs": "4"}, log=quiet
    )
    assert client.get_run(str(changed.id)).data.tags[PARENT] != run.info.run_id


def test_a_store_inside_a_data_root_names_no_folder_and_a_server_does(own_root: Settings, client: MlflowClient) -> None:
    own, shared = start(own_root), start(dataclasses.replace(own_root, mlflow=own_root.mlflow_uri))
    assert str(own_root.data) not in str(client.get_run(str(own.id)).data)
    assert client.get_run(str(shared.id)).data.tags["distracted.root"] == str(own_root.data)


def test_settling_closes_runs_whose_process_is_gone_and_no_others(own_root: Settings, client: MlflowClient) -> None:
    own_root = dataclasses.replace(own_root, mlflow=own_root.mlflow_uri)  # as on a server that several roots share
    alive, gone, elsewhere = start(own_root, "0"), start(own_root, "1"), start(own_root, "2")
    assert alive.id
    assert gone.id
    assert elsewhere.id
    client.set_tag(gone.id, "distracted.process_started", "12345")
    client.set_tag(elsewhere.id, "distracted.root", "/another/data")
    client.set_tag(elsewhere.id, "distracted.process_started", "12345")
    said: list[str] = []
    settle(own_root, log=said.append)
    assert [client.get_run(run.id).info.status for run in (alive, gone, elsewhere)] == ["RUNNING", "KILLED", "RUNNING"]
    assert said == ["MLflow: v fold 1 was killed while it trained; its run is closed"]


def test_a_server_that_is_down_costs_no_training_and_sync_logs_everything_later(
    own_root: Settings, refused: Settings, client: MlflowClient
) -> None:
    said: list[str] = []
    folder = train_variant(refused, "masks_only", "1", RunOptions(log=said.append)).folder / "0"
    predict_fold(refused, "masks_only", "1", RunOptions(log=said.append))
    assert is_trained(refused, "masks_only", "1")
    assert read_meta(folder)["mlflow_run_id"] is None
    assert unsent_folders(refused) == [folder, folder.with_name("1")]
    assert sum("distracted sync" in line for line in said) >= 2
    assert str(folder / FOLDER) in "\n".join(said)
    assert "secret" not in "\n".join(said)
    with pytest.raises(StoreDownError, match=r"DISTRACTED_MLFLOW.*distracted sync"):
        sync(refused, log=quiet)

    before = (folder / CONFIG).stat().st_mtime_ns
    assert sync(own_root, log=quiet) == 2
    assert unsent_folders(own_root) == []
    meta = read_meta(folder)
    run = client.get_run(meta["mlflow_run_id"])
    assert run.info.status == "FINISHED"
    assert client.get_run(run.data.tags[PARENT]).data.params["kind"] == "masks_only"
    assert run.data.tags["data_fingerprint"] == meta["data_fingerprint"]
    assert {"loss/train", "recall_validation/c0", "accuracy/held_out"} <= set(run.data.metrics)
    artifacts = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert artifacts == {"config.json", "model.safetensors", "confusion_validation.svg"}
    assert (folder / CONFIG).stat().st_mtime_ns == before, "nothing downstream is stale: the model is the same"
    assert sync(own_root, log=quiet) == 0


def test_numbers_of_a_run_that_was_deleted_are_dropped_aloud(own_root: Settings, client: MlflowClient) -> None:
    meta = train_variant(own_root, "masks_only", "1", QUIET).metas[0]
    client.delete_run(meta["mlflow_run_id"])
    said: list[str] = []
    predict_fold(own_root, "masks_only", "1", RunOptions(log=said.append))
    assert any("no longer has the run" in line for line in said)
    assert unsent_folders(own_root) == []


def test_a_training_killed_before_its_result_was_sent_is_sent_by_the_next_run(
    own_root: Settings, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(tracking, "log_metrics", killed)
    with pytest.raises(KeyboardInterrupt):
        train_variant(own_root, "masks_only", "1", QUIET)
    monkeypatch.undo()
    folder = model_folder(own_root, "masks_only", "1")
    assert unsent_folders(own_root) == [folder]
    settle(own_root, log=quiet)
    assert client.get_run(json.loads((folder / CONFIG).read_text())["mlflow_run_id"]).info.status == "FINISHED"


def test_a_result_that_could_not_be_kept_for_want_of_room_is_sent_by_the_next_run(
    own_root: Settings, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise DistractedError("cannot write run.json: No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(mlflow_outbox, "write_json", full)
        with pytest.raises(DistractedError, match="No space left"):
            train_variant(own_root, "masks_only", "2", QUIET)
    folder = model_folder(own_root, "masks_only", "2")
    run_id = read_meta(folder)["mlflow_run_id"]
    client.set_tag(run_id, "distracted.process_started", "12345")  # the process has ended
    settle(own_root, log=quiet)
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["accuracy/validation"] == pytest.approx(read_meta(folder)["validation_accuracy"])


def test_a_silent_server_is_asked_once_and_then_left_alone(own_root: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    tries = int(tracking.PATIENCE["MLFLOW_HTTP_REQUEST_MAX_RETRIES"]) + 1
    backoff = 2 ** (tries - 1) * int(tracking.PATIENCE["MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR"])
    assert tries * int(tracking.PATIENCE["MLFLOW_HTTP_REQUEST_TIMEOUT"]) + backoff < 30
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        settings = dataclasses.replace(own_root, mlflow=f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert start(settings).id is None  # how long it waits: benchmarks.bench_tracking
        with pytest.raises(StoreDownError, match="did not answer a moment ago"):
            open_client(settings)


def test_a_lost_store_is_filled_again_from_the_checkpoints(own_root: Settings, client: MlflowClient) -> None:
    train_variant(own_root, "masks_only", "0", QUIET)
    folder = model_folder(own_root, "masks_only", "0")
    lost = read_meta(folder)["mlflow_run_id"]
    client.delete_run(lost)
    assert sync(own_root, log=quiet) == 0  # what every run does: it asks for no finished one
    assert sync(own_root, every=True, log=quiet) == 1
    meta = read_meta(folder)
    run = client.get_run(meta["mlflow_run_id"])
    assert (run.info.status, run.data.tags["variant"]) == ("FINISHED", "masks_only")
    assert run.data.tags[PARENT] == client.get_run(lost).data.tags[PARENT], "the same recipe, and so the same run above"
    assert run.data.metrics["loss/validation"] == pytest.approx(meta["history"][-1]["validation_loss"])
    assert is_trained(own_root, "masks_only", "0")
    assert sync(own_root, every=True, log=quiet) == 0


@pytest.mark.parametrize("how", ["zeroed", "truncated"])
def test_a_damaged_store_is_set_aside_and_another_one_begins(
    how: str, own_root: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(own_root.mlflow_database, how)
    client, experiment = open_client(own_root)
    assert client.search_runs([experiment]) == []
    (aside,) = own_root.data.glob("mlflow.db.damaged-*")
    said = capsys.readouterr().out
    assert aside.name in said
    assert "distracted sync" in said


def test_a_database_of_another_mlflow_is_named_with_the_command_that_upgrades_it(
    own_root: Settings, client: MlflowClient
) -> None:
    open_client(own_root)
    assert list(doctor._tracking(own_root)) == []
    with closing(sqlite3.connect(own_root.mlflow_database)) as store, store:
        store.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")
    told = str(tracking.down(own_root, RuntimeError("Detected out-of-date database schema")))
    assert "mlflow.db is of another version of MLflow (schema 451aebb31d03 instead of" in told
    assert f"mlflow db upgrade {own_root.mlflow_uri}, and: distracted sync" in told
    (found,) = doctor._tracking(own_root)
    assert (found.state, found.remedy) == ("note", f"copy it, then type: mlflow db upgrade {own_root.mlflow_uri}")


def test_a_link_to_a_run_opens_among_trainings_and_not_among_language_models(own_root: Settings) -> None:
    _, experiment = open_client(own_root)
    where = f"http://127.0.0.1:3001/#/experiments/{experiment}/runs/abc?workflowType=machine_learning"
    assert tracking.run_url(own_root, "abc") == where
    assert tracking.run_url(dataclasses.replace(own_root, data=own_root.data / "none"), "abc").endswith("/#/runs/abc")
