"""What a prediction file must be to count, and what is said about one that does not."""

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distracted_pipeline.dataset import STATE_FARM
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.evaluation.prediction_table import predictions_schema
from distracted_pipeline.evaluation.predictions import predictions_path, read_predictions, write_predictions
from distracted_pipeline.settings import Settings
from distracted_pipeline_tests.damage import write_unsealed
from distracted_pipeline_tests.evaluation.fakes import held_out, make_root, predict, right, table, trainings


@pytest.fixture
def root(tmp_path: Path) -> Settings:
    return make_root(tmp_path / "data")


def rewrite(path: Path, column: str, values: list, meta: dict | None = None) -> None:
    """Replace one column of a prediction file behind the writer's back."""
    old = pq.read_table(path)
    field = old.schema.field(column)
    new = old.set_column(old.column_names.index(column), field, pa.array(values, field.type))
    metadata = {**old.schema.metadata, **(meta or {})}
    write_unsealed(path, new.cast(predictions_schema(STATE_FARM.class_ids)).replace_schema_metadata(metadata))


def test_what_was_written_is_read_back_in_manifest_order(root: Settings) -> None:
    images = held_out(root, "2")
    shuffled = np.random.default_rng(0).permutation(images.num_rows)
    write_predictions(root, "base", "2", table(images, right(images)).take(pa.array(shuffled)))
    part = read_predictions(root).parts["base", "2"]
    assert part.img.tolist() == images["img"].to_pylist()
    assert (part.predicted == part.true).all()
    assert part.probabilities.dtype == np.float32
    assert part.probabilities.shape == (1, 60, 10)
    assert part.mean.max(1) == pytest.approx(0.91)


def test_trainings_are_read_one_by_one_whatever_the_order_of_rows(root: Settings) -> None:
    images = held_out(root, "2")
    true = right(images)
    wrong = (true + 1) % 10
    whole = trainings([table(images, true, sure=0.6), table(images, wrong, sure=0.9), table(images, true, sure=0.7)])
    write_predictions(root, "base", "2", whole.take(pa.array(np.random.default_rng(0).permutation(whole.num_rows))))
    assert pq.read_table(predictions_path(root, "base", "2"))["replicate"].to_pylist() == sorted([0, 1, 2] * 60)
    part = read_predictions(root).parts["base", "2"]
    assert part.probabilities.shape == (3, 60, 10)
    assert (part.answers == [part.true, (part.true + 1) % 10, part.true]).all()
    assert part.mean == pytest.approx(part.probabilities.mean(0))
    assert (part.predicted == part.true).all()  # .6 + .01 + .7 against .04 + .9 + .03


def test_folds_may_differ_in_how_often_they_were_trained(root: Settings) -> None:
    predict(root, "base", ["0"], replicates=2)
    predict(root, "base", ["1"], replicates=3)
    found = read_predictions(root)
    assert not found.rejected
    assert [len(found.parts["base", fold].probabilities) for fold in ("0", "1")] == [2, 3]


def test_a_file_of_an_earlier_version_holds_one_training(root: Settings) -> None:
    predict(root, "base", ["0"], replicates=1)
    path = predictions_path(root, "base", "0")
    write_unsealed(path, pq.read_table(path).drop_columns(["replicate"]))
    found = read_predictions(root)
    assert not found.rejected
    assert found.parts["base", "0"].probabilities.shape == (1, 90, 10)


@pytest.mark.parametrize(
    ("keep", "said"),
    [
        (lambda replicate, at: (replicate, at) != (1, 4), "trainings of different images: 1 are not in all 3 of them"),
        (lambda replicate, at: replicate != 1, "numbers its trainings 0, 2 instead of from 0 on"),
        (lambda replicate, at: replicate != 0 or at < 3, "trainings of different images: 87 are not in all 3"),
    ],
)
def test_trainings_that_disagree_on_the_images_disqualify_the_file(root: Settings, keep, said: str) -> None:
    predict(root, "base")
    path = predictions_path(root, "base", "0")
    rows = [keep(*divmod(row, 90)) for row in range(270)]
    write_unsealed(path, pq.read_table(path).filter(pa.array(rows)))
    found = read_predictions(root)
    assert ("base", "0") not in found.parts
    assert said in found.rejected[0]
    images = held_out(root, "1")
    uneven = trainings([table(images, right(images)), table(images, right(images)).slice(1)])
    with pytest.raises(DistractedError, match="trainings of different images: 1 are .* p001_c0_0.jpg first"):
        write_predictions(root, "base", "1", uneven)


def test_missing_variants_and_folds_are_named(root: Settings) -> None:
    predict(root, "base", ["0", "1", "original"])
    found = read_predictions(root)
    assert found.missing == ["base: no predictions for folds 2, 3, 4", "other: no predictions yet"]
    assert found.absent_folds("base", "oof") == ["2", "3", "4"]
    assert found.absent_folds("base", "dev") == []


def test_a_variant_set_to_null_is_left_out_and_one_trained_by_hand_is_not(root: Settings) -> None:
    for variant in ("base", "other", "by_hand"):
        predict(root, variant, ["0"])
    assert read_predictions(root).variants == ("base", "other", "by_hand")
    assert root.variants_file is not None
    with root.variants_file.open("a") as file:
        file.write("dropped: null\n")
    predict(root, "dropped", ["0"])
    assert read_predictions(root).variants == ("base", "other", "by_hand")


def test_a_fold_without_drivers_is_not_missing(tmp_path: Path) -> None:
    root = make_root(tmp_path / "few", drivers=("p0", "p1", "p2"))
    predict(root, "base", ["0", "1", "2", "original"])
    assert read_predictions(root, ["base"]).missing == []


def test_dev_and_test_rows_come_from_the_original_fold(root: Settings) -> None:
    predict(root, "base")
    (part,) = read_predictions(root).of("base", "dev")
    assert part.fold == "original"
    assert set(part.subject[part.rows("dev")]) == {"p000", "p005", "p010"}
    assert set(part.subject[part.rows("test")]) == {"p001", "p006", "p011"}
    assert not part.rows("oof").any()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_nan_is_refused_when_written_and_left_out_when_read(root: Settings, bad: float) -> None:
    images = held_out(root, "0")
    good = table(images, right(images))
    values = good["p_c3"].to_pylist()
    values[4] = bad
    with pytest.raises(DistractedError, match=r"NaN or infinite .* nothing was written"):
        write_predictions(root, "base", "0", good.set_column(6, "p_c3", pa.array(values, pa.float32())))
    assert not predictions_path(root, "base", "0").exists()
    predict(root, "base", replicates=1)
    rewrite(predictions_path(root, "base", "0"), "p_c3", values)
    found = read_predictions(root)
    assert ("base", "0") not in found.parts
    (line,) = found.rejected
    assert "in 1 of 90 rows, p000_c1_1.jpg first" in line
    assert 'dagster asset materialize --select predictions --partition "0|base"' in line
    assert "base: no predictions for fold 0" in found.missing


def test_predictions_of_other_data_are_left_out_and_named(root: Settings) -> None:
    predict(root, "base")
    manifest = pq.read_table(root.manifest)
    sha256 = ["changed", *manifest["sha256"].to_pylist()[1:]]
    pq.write_table(manifest.set_column(9, "sha256", pa.array(sha256)), root.manifest)
    found = read_predictions(root)
    assert not found.parts
    assert len(found.rejected) == 6
    assert all("was made from other data" in line for line in found.rejected)


def test_new_unlabelled_images_leave_predictions_valid(root: Settings) -> None:
    predict(root, "base")
    manifest = pq.read_table(root.manifest)
    extra = {**manifest.slice(0, 1).to_pylist()[0], "img": "t.jpg", "subject": "test-000", "classname": "", "fold": -1}
    extra["split"] = ""
    pq.write_table(pa.concat_tables([manifest, pa.Table.from_pylist([extra], manifest.schema)]), root.manifest)
    assert not read_predictions(root).rejected


@pytest.mark.parametrize(
    ("column", "change", "said"),
    [
        ("img", lambda v: [v[1], *v[1:]], "has 1 images twice"),
        ("img", lambda v: ["new.jpg", *v[1:]], "predicts 1 images that the manifest does not label, new.jpg first"),
        ("img", lambda v: ["p001_c0_0.jpg", *v[1:]], "1 images that the fold does not hold out, p001_c0_0.jpg"),
        ("true", lambda v: [5, *v[1:]], "disagrees with the manifest on driver or class of 1 images"),
        ("subject", lambda v: ["p009", *v[1:]], "disagrees with the manifest on driver or class of 1 images"),
        ("p_c0", lambda v: [-0.2, *v[1:]], "no probabilities summing to 1"),
        ("p_c0", lambda v: [None, *v[1:]], "has empty cells"),
    ],
)
def test_rows_that_do_not_fit_the_manifest_disqualify_the_file(root: Settings, column: str, change, said: str) -> None:
    predict(root, "base", replicates=1)
    path = predictions_path(root, "base", "0")
    rewrite(path, column, change(pq.read_table(path)[column].to_pylist()))
    found = read_predictions(root)
    assert ("base", "0") not in found.parts
    assert said in found.rejected[0]


def test_a_file_copied_from_another_variant_is_left_out(root: Settings) -> None:
    predict(root, "base", ["0"])
    path = predictions_path(root, "other", "0")
    path.parent.mkdir()
    path.write_bytes(predictions_path(root, "base", "0").read_bytes())
    assert "says it is 'base'" in read_predictions(root).rejected[0]


def test_a_truncated_file_is_left_out_and_the_others_stay(root: Settings) -> None:
    predict(root, "base")
    path = predictions_path(root, "base", "1")
    path.write_bytes(path.read_bytes()[:100])
    found = read_predictions(root)
    assert "cannot be read" in found.rejected[0]
    assert len(found.parts) == 5


def test_images_without_a_prediction_are_counted(root: Settings) -> None:
    images = held_out(root, "0")
    write_predictions(root, "base", "0", table(images, right(images)).slice(2))
    (line,) = read_predictions(root).incomplete
    assert line == "base, fold 0: 2 of 90 held-out images have no prediction, p000_c0_0.jpg first"


@pytest.mark.parametrize("name", ['it\'s "quoted" <script>', "fahrer_ä_日本"])
def test_names_with_quotes_and_unicode_survive(tmp_path: Path, name: str) -> None:
    root = make_root(tmp_path / "data", drivers=tuple(f"{name}{i}" for i in range(6)))
    predict(root, name)
    found = read_predictions(root)
    assert not found.rejected
    assert found.variants == ("base", "other", name)
    assert found.parts[name, "0"].subject[0] == f"{name}0"


def test_files_that_the_version_before_called_seed_are_those_of_the_original_fold(root: Settings) -> None:
    predict(root, "base")
    path = predictions_path(root, "base", "original")
    expected = read_predictions(root).parts["base", "original"]
    table = pq.read_table(path)
    former = path.with_name("seed.parquet")
    write_unsealed(former, table.replace_schema_metadata({**table.schema.metadata, b"fold": b"seed"}))
    path.unlink()
    found = read_predictions(root)
    assert not found.rejected
    assert predictions_path(root, "base", "original") == former
    assert found.parts["base", "original"].fold == "original"
    assert (found.parts["base", "original"].probabilities == expected.probabilities).all()


def test_a_data_set_of_other_classes_has_its_own_columns(tmp_path: Path) -> None:
    classes = ("drive", "phone_l", "phone_r", "drink")
    toy = dataclasses.replace(STATE_FARM, class_ids=classes, class_names=classes)
    root = make_root(tmp_path / "data", dataset=toy)
    predict(root, "base", wrong={1: 2})
    columns = pq.read_schema(predictions_path(root, "base", "0")).names
    assert columns == ["img", "subject", "true", "replicate", "p_drive", "p_phone_l", "p_phone_r", "p_drink"]
    found = read_predictions(root)
    assert not found.rejected
    assert found.classes == 4
    part = found.parts["base", "0"]
    assert part.probabilities.shape[2] == 4
    assert (part.predicted[part.true == 1] == 2).all()
    foreign = read_predictions(dataclasses.replace(root, dataset=dataclasses.replace(toy, class_ids=classes[:3])))
    assert not foreign.parts
