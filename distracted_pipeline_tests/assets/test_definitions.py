"""The definitions load light, hold the whole graph, and carry what the UI shows."""

import re
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph

from distracted_pipeline.dataset import STATE_FARM
from distracted_pipeline.definitions import defs
from distracted_pipeline.scopes import FOLDS
from distracted_pipeline.settings import Settings
from distracted_pipeline.variants.config import every_variant

HEAVY = ("torch", "torchvision", "transformers", "mlflow", "pandas", "matplotlib")

ASSETS = {
    "images": (),
    "subject_masks": ("subject",),
    "masks": (),
    "features": ("subject",),
    "trained_model": ("fold", "variant"),
    "predictions": ("fold", "variant"),
    "class_accuracy": (),
    "gradcam": ("variant",),
    "report": (),
    "champion": (),
    "submission": ("variant",),
    "counterfactuals": ("variant",),
    "mask_ablation": ("variant",),
    "robustness": ("variant",),
    "leak_premium": (),
    "label_errors": (),
    "driver_subspace": (),
}


@pytest.fixture(scope="module")
def graph() -> AssetGraph:
    return defs.resolve_asset_graph()


def test_importing_the_definitions_loads_no_heavy_package() -> None:
    code = f"import sys, distracted_pipeline.definitions; print(*[m for m in {HEAVY!r} if m in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, check=True)
    assert loaded.stdout.strip() == ""


def test_every_asset_of_the_design_is_there_with_its_partitions(graph: AssetGraph) -> None:
    keys = {key.to_user_string(): key for key in graph.materializable_asset_keys}
    assert set(keys) == set(ASSETS)
    for name, dimensions in ASSETS.items():
        partitions = graph.get(keys[name]).partitions_def
        if not dimensions:
            assert partitions is None, name
        elif len(dimensions) == 2:
            assert isinstance(partitions, dg.MultiPartitionsDefinition), name
            assert {d.name for d in partitions.partitions_defs} == set(dimensions)
        else:
            assert isinstance(partitions, dg.StaticPartitionsDefinition), name


def test_partitions_are_kaggles_subjects_and_the_catalogue_by_the_folds(graph: AssetGraph, tmp_path: Path) -> None:
    assert list(graph.get(dg.AssetKey("features")).partitions_def.get_partition_keys()) == list(STATE_FARM.drivers)
    pairs = graph.get(dg.AssetKey("trained_model")).partitions_def.get_partition_keys()
    catalogue = every_variant(Settings(data=tmp_path))
    assert set(pairs) == {f"{fold}|{variant}" for fold in FOLDS for variant in catalogue}


def test_every_asset_says_what_it_is_and_of_which_kind(graph: AssetGraph) -> None:
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        name = key.to_user_string()
        assert node.description, name
        assert node.kinds, name
        assert node.code_version or node.is_external, name


def test_the_groups_are_the_parts_of_the_story_and_what_costs_extra_stands_apart(graph: AssetGraph) -> None:
    groups: dict[str, set[str]] = {}
    for key in graph.get_all_asset_keys():
        groups.setdefault(graph.get(key).group_name, set()).add(key.to_user_string())
    assert groups == {
        "data": {"raw_data", "segmenter", "backbone", "images"},
        "masks": {"subject_masks", "masks"},
        "training": {"features", "trained_model"},
        "evaluation": {"predictions", "class_accuracy", "gradcam", "champion", "report"},
        "submission": {"submission"},
        "why": {
            "counterfactuals",
            "mask_ablation",
            "robustness",
            "leak_premium",
            "label_errors",
            "driver_subspace",
        },
    }


def test_jobs_are_there_by_name_and_everything_leaves_out_submissions(monkeypatch: pytest.MonkeyPatch) -> None:
    from distracted_pipeline.operations import run as room

    jobs = {job.name: job for job in defs.resolve_all_job_defs()}
    made = {name: {key.to_user_string() for key in job.asset_layer.executable_asset_keys} for name, job in jobs.items()}
    assert made["make_masks"] == {"images", "masks"}
    assert made["make_report"] == {"class_accuracy", "report", "champion"}
    assert "all assets but those of `distracted why` and `submission`" in str(jobs["everything"].description)

    def run_missing(settings: Settings, *, log: object) -> room.RunSummary:
        return room.RunSummary(done=2, failed={"top_only fold 0": "the loss is not finite"})

    monkeypatch.setattr(room, "run_missing", run_missing)
    result = jobs["everything"].execute_in_process(instance=dg.DagsterInstance.ephemeral(), raise_on_error=False)
    assert not result.success
    (event,) = (event for event in result.all_events if event.is_step_failure)
    assert "top_only fold 0: the loss is not finite" in str(event.step_failure_data.user_failure_data)


def test_the_story_runs_from_images_to_the_report(graph: AssetGraph) -> None:
    def upstream(name: str) -> set[str]:
        return {key.to_user_string() for key in graph.get(dg.AssetKey(name)).parent_keys}

    assert upstream("images") == {"raw_data"}
    assert {"images", "segmenter"} <= upstream("subject_masks")
    assert "subject_masks" in upstream("masks")
    assert "images" in upstream("features")
    assert {"features", "masks"} <= upstream("trained_model")
    assert "trained_model" in upstream("predictions")
    assert "predictions" in upstream("class_accuracy")
    assert {"class_accuracy", "gradcam"} <= upstream("report")


def test_every_check_and_sensor_says_what_it_does_in_a_sentence(graph: AssetGraph) -> None:
    descriptions = {str(key): graph.get_check_spec(key).description for key in graph.asset_check_keys}
    descriptions |= {sensor.name: sensor.description for sensor in defs.sensors or ()}
    odd = {name: text for name, text in descriptions.items() if not re.fullmatch(r"[A-Z].*[.]", text or "")}
    assert not odd


def test_checks_watch_the_data_and_the_models(graph: AssetGraph) -> None:
    watched = {key.asset_key.to_user_string() for key in graph.asset_check_keys}
    assert {"images", "masks", "trained_model", "class_accuracy", "report"} <= watched
