"""One MLflow run per variant: its verdicts and numbers, with the runs of its trainings below."""

from dataclasses import replace
from pathlib import Path

import pytest

from distracted_pipeline.evaluation import parent_runs
from distracted_pipeline.evaluation.parent_runs import CONFUSION, find_parents, write_parent_runs
from distracted_pipeline.evaluation.tables import class_accuracy
from distracted_pipeline.settings import Settings
from distracted_pipeline.training import tracking
from distracted_pipeline.training.variant_run import PARENT, variant_run
from distracted_pipeline_tests.evaluation.fakes import make_root, predict


def silent(_line: str) -> None:
    pass


@pytest.fixture
def root(tmp_path: Path) -> Settings:
    root = make_root(tmp_path / "data")
    predict(root, "base", wrong={2: 0})
    predict(root, "other", wrong={5: 6})
    return root


def test_a_variant_has_one_run_with_recalls_differences_and_verdicts_and_its_trainings_below(root: Settings) -> None:
    client, experiment = tracking.open_client(root)
    below = client.create_run(experiment, tags={"variant": "other", "fold": "0"}).info.run_id
    ids = write_parent_runs(root, class_accuracy(root, log=silent), log=silent)
    assert set(ids) == {"base", "other"}
    run = client.get_run(ids["other"])
    assert run.data.metrics["recall/c2"] == 1
    assert run.data.metrics["delta/c2"] == pytest.approx(1)
    assert run.data.metrics["delta/c5"] == pytest.approx(-1)
    assert {"macro_recall", "recall_low/c2", "p/c2"} <= set(run.data.metrics)
    assert run.data.tags["reference"] == "base"
    assert run.data.tags["verdict.c3"] == "undetermined"
    assert "compared with base" in run.data.tags[tracking.NOTE]
    assert ", compared with" not in client.get_run(ids["base"]).data.tags[tracking.NOTE], (
        "nothing is compared with itself"
    )
    assert run.info.status == "FINISHED"
    assert client.get_run(below).data.tags[PARENT] == ids["other"]
    assert [file.path for file in client.list_artifacts(ids["other"])] == [CONFUSION]
    names = [entry.dataset.name for entry in run.inputs.dataset_inputs]
    assert len(names) == 5
    assert len({entry.dataset.digest for entry in run.inputs.dataset_inputs}) == 1
    assert str(root.data) not in str(run.data.tags), "a store that moves with its data root names no folder"


def test_drawings_are_not_called_by_the_name_of_the_photographs(root: Settings) -> None:
    drawn = replace(root, synthetic=True)
    ids = write_parent_runs(drawn, class_accuracy(drawn, log=silent), log=silent)
    run = tracking.open_client(drawn)[0].get_run(ids["other"])
    assert run.inputs.dataset_inputs[0].dataset.name == f"Drawings in the layout of {root.dataset.name}, fold 0"


def test_new_tables_replace_the_numbers_and_add_no_run(root: Settings) -> None:
    first = write_parent_runs(root, class_accuracy(root, log=silent), log=silent)
    predict(root, "other", wrong={2: 0})
    assert write_parent_runs(root, class_accuracy(root, log=silent), log=silent) == first
    client, experiment = tracking.open_client(root)
    assert client.get_run(first["other"]).data.metrics["recall/c5"] == 1
    assert len(client.search_runs([experiment])) == 2


def test_numbers_go_to_the_recipe_that_was_trained_last_and_an_earlier_one_keeps_its_own(root: Settings) -> None:
    client, experiment = tracking.open_client(root)
    trainings, above = [], []
    for epochs in ("3", "4"):
        above.append(variant_run(root, client, experiment, "other", {"epochs": epochs}, 1000))
        tags = {"variant": "other", PARENT: above[-1]}
        trainings.append(client.create_run(experiment, tags=tags, start_time=1000 + int(epochs)).info.run_id)
        client.set_terminated(trainings[-1], end_time=2000 + int(epochs))
    assert write_parent_runs(root, class_accuracy(root, log=silent), log=silent)["other"] == above[1]
    assert find_parents(root, client, experiment)["other"] == above[1]
    assert client.get_run(above[0]).data.metrics == {}
    assert (client.get_run(above[1]).info.start_time, client.get_run(above[1]).info.end_time) == (1000, 2004)
    assert [client.get_run(run).data.tags[PARENT] for run in trainings] == above
    client.delete_run(trainings[1])  # the first recipe again: what was trained by it is the latest there is
    assert write_parent_runs(root, class_accuracy(root, log=silent), log=silent)["other"] == above[0]
    assert find_parents(root, client, experiment)["other"] == above[0]
    assert len(client.get_run(above[0]).inputs.dataset_inputs) == 5


def test_a_store_that_does_not_answer_costs_no_tables(root: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise ConnectionError("refused")

    monkeypatch.setattr(parent_runs, "_runs", refuse)
    said: list[str] = []
    assert write_parent_runs(root, class_accuracy(root, log=silent), log=said.append) == {}
    assert "The tables are written all the same" in said[0]
