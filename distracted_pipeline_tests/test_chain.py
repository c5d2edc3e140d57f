"""The whole chain as a person types it: processes, a fresh Dagster home, files on disk; then what a change re-makes."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pandas as pd
import pyarrow.parquet as pq
import pytest

import distracted_pipeline as dp
from distracted_pipeline.dataset import STATE_FARM
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.operations.run import run_missing
from distracted_pipeline.settings import load_settings
from distracted_pipeline_tests.chain import write_chain_root
from distracted_pipeline_tests.damage import write_unsealed

pytestmark = pytest.mark.slow


def _environment(root: Path, home: Path) -> dict[str, str]:
    return {
        **os.environ,
        "DISTRACTED_DATA": str(root),
        "DAGSTER_HOME": str(home),
        "DAGSTER_CLI_ASSET_MATERIALIZE_MODULE_NAME": "distracted_pipeline.definitions",
        "DISTRACTED_EXECUTOR": "in_process",
    }


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("chain")
    return write_chain_root(folder / "data"), folder / "dagster_home"


def _type(place: tuple[Path, Path], *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a console command of this environment in an empty folder."""
    root, home = place
    command = [str(Path(sys.executable).with_name(words[0])), *words[1:]]
    done = subprocess.run(command, cwd=root.parent, env=_environment(root, home), text=True, capture_output=True)
    assert done.returncode == 0 or not check, f"{words}:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done


@pytest.fixture(scope="module")
def finished(place: tuple[Path, Path]) -> tuple[tuple[Path, Path], str]:
    """The chain after one `distracted run` ."""
    return place, _type(place, "distracted", "run").stdout


def test_a_run_ends_with_a_verdict_and_the_reports_address(finished: tuple[tuple[Path, Path], str]) -> None:
    (root, _), said = finished
    page = root / "reports" / "latest" / "index.html"
    assert page.exists()
    assert "report: file://" in said
    lines = said.splitlines()
    verdict = next(k for k, line in enumerate(lines) if line.startswith("report: ")) - 1
    assert re.fullmatch(r"Masks \+ embedding, compared with Top only: .*\b10 (classes|questions)\b.*\.", lines[verdict])
    assert "0 failed" in said


def test_every_fold_predicts_its_held_out_drivers_and_no_other(finished: tuple[tuple[Path, Path], str]) -> None:
    (root, _), _ = finished
    manifest = {row["img"]: row for row in pq.read_table(root / "images.parquet").to_pylist() if row["classname"]}
    covered: list[tuple[int, str]] = []
    for fold in "01234":
        rows = pq.read_table(root / "predictions" / "top_only" / f"{fold}.parquet").to_pylist()
        assert {manifest[row["img"]]["fold"] for row in rows} == {int(fold)}
        assert all(abs(sum(row[f"p_c{k}"] for k in range(10)) - 1) < 1e-5 for row in rows)
        covered += [(row["replicate"], row["img"]) for row in rows]
    assert sorted(covered) == sorted((replicate, img) for replicate in range(2) for img in manifest)


def test_a_second_run_finds_nothing_to_train(finished: tuple[tuple[Path, Path], str]) -> None:
    place, _ = finished
    again = _type(place, "distracted", "run").stdout
    assert "fold" not in again
    assert "features" not in again


def test_history_is_kept_in_the_one_instance(finished: tuple[tuple[Path, Path], str]) -> None:
    (_, home), _ = finished
    with dg.DagsterInstance.from_config(str(home)) as instance:
        for name in ("images", "masks", "subject_masks", "features", "class_accuracy", "report"):
            assert instance.get_latest_materialization_event(dg.AssetKey(name)) is not None, name
        trained = instance.get_materialized_partitions(dg.AssetKey("trained_model"))
        assert len(trained) == 12


def test_the_bare_dagster_commands_work_as_typed(finished: tuple[tuple[Path, Path], str]) -> None:
    place, _ = finished
    _type(place, "dagster", "asset", "materialize", "--select", "masks")
    _type(place, "dagster", "asset", "materialize", "--select", "subject_masks", "--partition", "p002")
    _type(place, "dagster", "asset", "materialize", "--select", "report")


def test_doctor_counts_what_is_there(finished: tuple[tuple[Path, Path], str]) -> None:
    place, _ = finished
    said = _type(place, "distracted", "doctor").stdout
    assert "160 labelled frames, 8 drivers, 10 classes" in said
    assert "8 of 8 subjects" in said or "9 of 9 subjects" in said


def test_mlflow_holds_a_run_per_variant_fold_and_replicate(finished: tuple[tuple[Path, Path], str]) -> None:
    (root, _), _ = finished
    configs = [json.loads(path.read_text()) for path in root.glob("models/*/*/*/config.json")]
    assert len(configs) == 24
    assert len({config["mlflow_run_id"] for config in configs}) == 24
    assert (root / "mlflow.db").exists()


def test_a_notebook_finds_everything_in_the_data_root(finished: tuple[tuple[Path, Path], str]) -> None:
    (root, _), _ = finished
    data = dp.open(root)
    img = data.images.query("classname == 'c1'").img.iloc[0]
    assert data.image(img).size == data.overlay(img).size == (64, 48)
    assert set(data.mask(img).flat) == {0, 1, 3, 6}
    held_out = data.predictions("masks_fused").query("fold != 'original'")
    for _, trained in held_out.groupby("replicate"):
        assert sorted(trained.img) == sorted(data.images.query("classname != ''").img)
    assert set(held_out.replicate) == {0, 1}
    assert set(data.class_accuracy.class_id) == set(STATE_FARM.class_ids)
    assert data.taps(["pooled"], [img])["pooled"].shape[0] == 1
    for variant in ("top_only", "masks_fused"):
        assert (data.cam(variant, img, "c1") >= 0).all()
    with pytest.raises(DistractedError, match="no image nobody.jpg"):
        data.image("nobody.jpg")
    with pytest.raises(DistractedError, match="distracted run --variant lora"):
        data.predictions("lora")


@pytest.fixture
def changeable(
    finished: tuple[tuple[Path, Path], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Path, Callable[..., list[str]]]]:
    """The finished data root, put back afterwards, and a run on it in this process that returns its steps."""
    (root, home), _ = finished
    shutil.copytree(root, tmp_path / "kept", symlinks=True)  # with times of change: the images count as unchanged
    monkeypatch.setenv("DISTRACTED_DATA", str(root))
    monkeypatch.setenv("DAGSTER_HOME", str(home))

    def run(*folds: str, workers: int = 0) -> list[str]:
        said: list[str] = []
        summary = run_missing(load_settings(), folds=folds, workers=workers, log=said.append)
        assert not summary.failed
        return [line.partition("  (")[0] for line in said]

    yield root, run
    shutil.rmtree(root)
    shutil.move(tmp_path / "kept", root)


NOTHING = ["images", "masks"]
"""Steps that always run; they find that nothing is missing."""


def _set(root: Path, line: str) -> None:
    with (root / "settings.env").open("a", encoding="utf-8") as settings:
        settings.write(f"{line}\n")


def test_where_nothing_changed_nothing_is_made_whatever_the_times_of_change_say(
    changeable: tuple[Path, Callable[..., list[str]]],
) -> None:
    root, run = changeable
    for number, path in enumerate(sorted(path for path in root.glob("[!il]*/**/*") if path.is_file())):
        os.utime(path, (number, number))
    assert run() == NOTHING


def test_other_masks_make_every_gradcam_anew_and_train_only_what_reads_them(
    changeable: tuple[Path, Callable[..., list[str]]],
) -> None:
    root, run = changeable
    shutil.copytree(root / "label_maps", root / "other_maps")
    for path in (root / "other_maps").glob("*.png"):
        shutil.copy(root / "label_maps" / "img_5.png", path)
    _set(root, "DISTRACTED_SEGMENTER=folder:other_maps")
    assert run("0") == [
        *NOTHING,
        "masks_fused fold 0",
        *("class_accuracy", "gradcam top_only", "gradcam masks_fused", "champion", "report"),
    ]
    assert run("0") == NOTHING


def test_two_processes_make_what_one_made(changeable: tuple[Path, Callable[..., list[str]]]) -> None:
    root, run = changeable
    lost = [root / "predictions" / variant / "0.parquet" for variant in ("top_only", "masks_fused")]
    before = [pq.read_table(path).to_pandas() for path in lost]
    for path, folder in zip(lost, ("top_only", "masks_fused"), strict=True):
        path.unlink()
        shutil.rmtree(root / "models" / folder / "0" / "1")
    steps = run(workers=2)
    assert steps[:3] == ["images", "2 processes run the steps side by side", "masks"]
    assert steps[3:6] == ["top_only fold 0", "masks_fused fold 0", "class_accuracy"]
    assert steps[-2:] == ["champion", "report"]
    for path, expected in zip(lost, before, strict=True):
        pd.testing.assert_frame_equal(pq.read_table(path).to_pandas(), expected, atol=1e-4)
    assert run() == NOTHING


def test_another_baseline_makes_tables_report_and_champion_anew(
    changeable: tuple[Path, Callable[..., list[str]]],
) -> None:
    root, run = changeable
    _set(root, "DISTRACTED_BASELINE=masks_fused")
    assert run() == [*NOTHING, "class_accuracy", "champion", "report"]
    assert set(pq.read_table(root / "evaluation" / "class_accuracy.parquet")["baseline"].to_pylist()) == {"masks_fused"}


def test_an_unknown_baseline_is_an_error_that_names_the_variants(
    changeable: tuple[Path, Callable[..., list[str]]],
) -> None:
    root, run = changeable
    _set(root, "DISTRACTED_BASELINE=masks_fussed")
    with pytest.raises(DistractedError, match=r"'masks_fussed', which is no variant.*top_only, masks_fused"):
        run()


def test_another_label_of_a_variant_or_a_lost_summary_makes_the_report_alone(
    changeable: tuple[Path, Callable[..., list[str]]],
) -> None:
    root, run = changeable
    catalogue = root / "variants.yaml"
    catalogue.write_text(catalogue.read_text().replace("top_only: {epochs: 2}", "top_only: {epochs: 2, label: Head}"))
    assert run() == [*NOTHING, "report"]
    assert "Head" in (root / "reports" / "latest" / "index.html").read_text()
    (root / "reports" / "latest" / "summary.html").unlink()
    assert run() == [*NOTHING, "report"]
    assert run() == NOTHING


def test_predictions_that_an_older_version_named_seed_are_read(
    changeable: tuple[Path, Callable[..., list[str]]],
) -> None:
    root, run = changeable
    for path in (root / "predictions").glob("*/original.parquet"):
        table = pq.read_table(path)
        write_unsealed(path, table.replace_schema_metadata({**(table.schema.metadata or {}), b"fold": b"seed"}))
        path.rename(path.with_name("seed.parquet"))
    assert not [step for step in run() if "fold" in step or "features" in step]
    assert run() == NOTHING
    data = dp.open(root)
    assert set(data.predictions("top_only").fold) == {"original", *"01234"}
    assert data.model("top_only").meta["fold"] == "original"


def test_without_data_the_error_names_the_folder_and_the_next_command(tmp_path: Path) -> None:
    failed = _type((tmp_path / "data", tmp_path / "home"), "distracted", "run", check=False)
    assert failed.returncode == 1
    assert str(tmp_path / "data") in failed.stderr
    assert "distracted demo" in failed.stderr
    assert "Traceback" not in failed.stderr
