"""When predictions and tables have to be made again: by what they record of their inputs, never by times of change."""

import dataclasses
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distracted_pipeline.dataset import STATE_FARM
from distracted_pipeline.evaluation.predictions import is_predicted, predictions_path
from distracted_pipeline.evaluation.tables import class_accuracy, read_class_accuracy, tables_current, tables_inputs
from distracted_pipeline.fingerprints import fingerprint
from distracted_pipeline.settings import Settings
from distracted_pipeline_tests.damage import write_unsealed
from distracted_pipeline_tests.evaluation.fakes import make_root, predict, write_model

TABLES = (
    "confusion.npz",
    "class_accuracy.parquet",
    "variants.parquet",
    "calibration.parquet",
    "confusions.parquet",
    "drivers.parquet",
)


def silent(_line: str) -> None:
    pass


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Two variants with predictions and tables."""
    root = make_root(tmp_path_factory.mktemp("made") / "data")
    predict(root, "base")
    predict(root, "other", ["0", "1"])
    class_accuracy(root, log=silent)
    return root


@pytest.fixture
def root(made: Settings, tmp_path: Path) -> Settings:
    """A copy of `made` that a test may change; its tables are current."""
    data = shutil.copytree(made.data, tmp_path / "data")
    root = dataclasses.replace(made, data=data, variants_file=data / "variants.yaml")
    assert tables_current(root)
    return root


def rewrite_metadata(path: Path, **facts: str) -> None:
    table = pq.read_table(path, partitioning=None)
    known = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
    write_unsealed(path, table.replace_schema_metadata({**known, **facts}))


def test_touched_and_copied_files_are_as_current_as_before(root: Settings, tmp_path: Path) -> None:
    for path in [*root.data.rglob("*.parquet"), *root.data.rglob("*.npz")]:
        os.utime(path, (path.stat().st_atime, path.stat().st_mtime + 1_000_000))
    assert tables_current(root)
    moved = tmp_path / "elsewhere"
    root.data.rename(moved)
    assert tables_current(dataclasses.replace(root, data=moved, variants_file=moved / "variants.yaml"))


def other_predictions(root: Settings) -> Settings:
    predict(root, "other", ["1"], wrong={2: 0})
    return root


def more_predictions(root: Settings) -> Settings:
    predict(root, "other", ["2"])
    return root


def fewer_predictions(root: Settings) -> Settings:
    predictions_path(root, "other", "0").unlink()
    return root


def damaged_predictions(root: Settings) -> Settings:
    path = predictions_path(root, "other", "0")
    path.write_bytes(path.read_bytes()[:100])
    return root


def predictions_of_a_variant_outside_the_catalogue(root: Settings) -> Settings:
    predict(root, "mine", ["0"])
    return root


def another_baseline(root: Settings) -> Settings:
    return dataclasses.replace(root, baseline="other")


def a_new_variant(root: Settings) -> Settings:
    assert root.variants_file is not None
    with root.variants_file.open("a") as catalogue:
        catalogue.write("other_1: {kind: masks_only, seed: 1}\n")
    return root


def another_control(root: Settings) -> Settings:
    assert root.variants_file is not None
    text = root.variants_file.read_text()
    root.variants_file.write_text(text.replace("other: {kind: masks_only}", "other: {kind: masks_only, control: base}"))
    return root


def other_images(root: Settings) -> Settings:
    manifest = pq.read_table(root.manifest)
    pq.write_table(manifest.slice(1), root.manifest)
    return root


def other_folds(root: Settings) -> Settings:
    manifest = pq.read_table(root.manifest)
    column = manifest.schema.names.index("fold")
    folds = [(fold + 1) % 5 for fold in manifest["fold"].to_pylist()]
    pq.write_table(manifest.set_column(column, "fold", pa.array(folds, pa.int8())), root.manifest)
    return root


def other_classes(root: Settings) -> Settings:
    reversed_ids = tuple(reversed(STATE_FARM.class_ids))
    return dataclasses.replace(root, dataset=dataclasses.replace(STATE_FARM, class_ids=reversed_ids))


def a_model_whose_cost_becomes_known(root: Settings) -> Settings:
    write_model(root, "base", "0", "f")
    return root


def no_manifest(root: Settings) -> Settings:
    root.manifest.unlink()
    return root


@pytest.mark.parametrize(
    "change",
    [
        other_predictions,
        more_predictions,
        fewer_predictions,
        damaged_predictions,
        predictions_of_a_variant_outside_the_catalogue,
        another_baseline,
        a_new_variant,
        another_control,
        other_images,
        other_folds,
        other_classes,
        a_model_whose_cost_becomes_known,
        no_manifest,
    ],
)
def test_tables_follow_everything_that_they_are_made_from(
    root: Settings, change: Callable[[Settings], Settings]
) -> None:
    assert not tables_current(change(root))


def test_other_words_for_a_variant_leave_the_tables_current(root: Settings) -> None:
    assert root.variants_file is not None
    text = root.variants_file.read_text()
    root.variants_file.write_text(text.replace("base: {kind: top_only}", "base: {kind: top_only, label: Base}"))
    assert tables_current(root)


@pytest.mark.parametrize("name", TABLES)
def test_tables_that_are_damaged_or_gone_are_made_again(root: Settings, name: str) -> None:
    path = root.evaluation / name
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert not tables_current(root)
    path.unlink()
    assert not tables_current(root)
    class_accuracy(root, log=silent)
    assert tables_current(root)


def test_tables_of_the_version_before_can_be_read_and_are_made_again(root: Settings) -> None:
    for name in TABLES[1:]:
        path = root.evaluation / name
        table = pq.read_table(path)
        kept = {key: value for key, value in table.schema.metadata.items() if key != b"inputs"}
        write_unsealed(path, table.replace_schema_metadata(kept))
    assert not tables_current(root)
    assert read_class_accuracy(root).missing


def test_predictions_belong_to_the_checkpoint_whose_fingerprint_they_record(root: Settings) -> None:
    path = predictions_path(root, "base", "0")
    assert not is_predicted(root, "base", "0"), "neither says which model it is"
    write_model(root, "base", "0", "one")
    assert not is_predicted(root, "base", "0")
    rewrite_metadata(path, model_fingerprint=fingerprint(["one0", "one1", "one2"]))
    assert is_predicted(root, "base", "0")
    os.utime(root.models / "base" / "0" / "1" / "config.json")
    assert is_predicted(root, "base", "0")
    write_model(root, "base", "0", "two", replicates=1)
    assert not is_predicted(root, "base", "0"), "one of three was trained again"
    (root.models / "base" / "0" / "2" / "config.json").write_text("{")
    assert not is_predicted(root, "base", "0")
    write_model(root, "base", "0", "one")
    assert is_predicted(root, "base", "0")
    assert not is_predicted(dataclasses.replace(root, replicates=2), "base", "0"), "of two trainings, and three there"
    path.write_bytes(path.read_bytes()[:-20])
    assert not is_predicted(root, "base", "0")


def test_whether_something_is_current_is_told_without_torch(root: Settings) -> None:
    code = f"""
import sys
from pathlib import Path
from distracted_pipeline.fingerprints import fingerprint
from distracted_pipeline.settings import Settings
from distracted_pipeline.evaluation.predict import is_predicted
from distracted_pipeline.evaluation.tables import tables_current, tables_inputs
from distracted_pipeline.explanation.explain import gradcam_current
from distracted_pipeline.serving.champion import champion_current
root = Path({str(root.data)!r})
settings = Settings(root, segmenter=f"folder:{{root}}", variants_file=root / "variants.yaml", baseline="base")
print(tables_inputs(settings), tables_current(settings), gradcam_current(settings, "base"),
      champion_current(settings), is_predicted(settings, "base", "0"))
print({{"torch", "transformers", "mlflow", "scipy"}} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == [tables_inputs(root), "True", "False", "False", "False", "set()"]
