"""The class-wise tables: hand-made predictions in, files and verdicts out."""

import dataclasses
from pathlib import Path
from zlib import crc32

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distracted_pipeline.dataset import STATE_FARM
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.evaluation.comparison_tables import compare, driver_text, read_compared
from distracted_pipeline.evaluation.predictions import predictions_path, write_predictions
from distracted_pipeline.evaluation.tables import (
    class_accuracy,
    headline,
    leaderboard,
    read_class_accuracy,
    verdict_sentence,
)
from distracted_pipeline.settings import Settings
from distracted_pipeline_tests.damage import damage, write_unsealed
from distracted_pipeline_tests.evaluation.fakes import (
    DRIVERS,
    held_out,
    make_root,
    predict,
    right,
    table,
    trainings,
    write_model,
)

MOST = DRIVERS[1:]
"""All drivers but one: where all differ alike, nothing varies that a test could rest on."""


@pytest.fixture
def root(tmp_path: Path) -> Settings:
    return make_root(tmp_path / "data")


def silent(_line: str) -> None:
    pass


def row(frame, variant: str, class_id: int, scope: str = "oof"):
    chosen = (frame["variant"] == variant) & (frame["class_id"] == class_id) & (frame["scope"] == scope)
    return frame[chosen].iloc[0]


def test_a_variant_that_mends_one_class_and_breaks_another_is_found(root: Settings) -> None:
    predict(root, "base", wrong={2: 0, 6: 5}, drivers=MOST)
    predict(root, "other", wrong={2: 0, 7: 8}, drivers=MOST)
    result = class_accuracy(root, log=silent)
    assert verdict_sentence(result.classes, "other") == "1 of 10 classes improved, 1 worsened, 8 undetermined"
    assert "baseline" in verdict_sentence(result.classes, "base")
    six, seven, two = (row(result.classes, "other", c) for c in (6, 7, 2))
    assert (six.recall, six.verdict, six.drivers_compared) == (1, "improved", 12)
    assert six.delta_recall == pytest.approx(11 / 12)
    assert six.delta_low < 11 / 12 < six.delta_high
    assert (seven.recall, seven.delta_recall, seven.verdict) == pytest.approx((1 / 12, -11 / 12, "worsened"))
    assert (two.delta_recall, two.p, two.verdict) == (0, 1, "undetermined")
    assert six.p_holm == pytest.approx(min(1, six.p * 10), rel=1e-6)
    assert (six.n, six.trainings) == (36, 3)
    assert six.precision == 1
    assert row(result.classes, "base", 5).precision == pytest.approx(36 / 69)
    assert result.missing == []


def test_the_tensor_labels_classes_by_id(root: Settings) -> None:
    predict(root, "base", wrong={3: 9}, drivers=["p004"])
    predict(root, "other")
    confusion = class_accuracy(root, log=silent).confusion
    tensor = confusion.of("base")
    assert confusion.drivers == DRIVERS
    assert tensor[4, 3, 9] == 3
    assert tensor[4, 3, 3] == 0
    assert tensor.sum() == 12 * 10 * 3
    assert tensor.sum((0, 2)).tolist() == [36] * 10
    with np.load(root.evaluation / "confusion.npz", allow_pickle=False) as arrays:
        assert sorted(arrays) == ["T", "T_dev", "T_test", "drivers", "folds", "folds_dev", "folds_test", "variants"]
        assert arrays["T_dev"].sum() == 2 * 3 * 3 * 10 * 3  # both variants, three trainings, three dev drivers
        assert arrays["folds"].tolist() == [d % 5 for d in range(12)]
        assert arrays["folds_dev"].tolist() == [0 if d % 5 == 0 else -1 for d in range(12)]


def test_summaries_of_a_variant_name_its_worst_class_and_driver(root: Settings) -> None:
    predict(root, "base", wrong={3: 9, 1: 0}, drivers=["p004"])
    predict(root, "base", ["0"], wrong={8: 2})  # drivers p000, p005, p010
    variants = class_accuracy(root, log=silent).variants.set_index(["scope", "variant"])
    found = variants.loc["oof", "base"]
    assert found.accuracy == pytest.approx(1 - 15 / 360)
    assert found.macro_recall == pytest.approx((7 + 27 / 36 + 2 * 33 / 36) / 10)
    assert (found.worst_class, found.worst_class_recall) == (8, 0.75)
    assert (found.worst_driver, found.worst_driver_recall) == ("p004", 0.8)
    assert found.log_loss == pytest.approx((345 * -np.log(0.91) + 15 * -np.log(0.01)) / 360, rel=1e-5)
    assert found.folds_present == ["0", "1", "2", "3", "4"]
    assert variants.loc["dev", "base"].folds_present == ["original"]
    assert np.isnan(found.train_seconds)


def test_training_facts_come_from_the_checkpoints_of_every_fold(root: Settings) -> None:
    predict(root, "base", ["0", "1"])
    for fold in ("0", "1"):
        write_model(root, "base", fold)
    found = class_accuracy(root, log=silent).variants.iloc[0]
    assert (found.trainable_parameters, found.total_parameters, found.train_seconds) == (10, 99, 9.0)


def test_partial_results_give_tables_over_common_drivers_and_say_what_is_missing(root: Settings) -> None:
    predict(root, "base", ["0", "1", "2", "3"], wrong={4: 2})
    predict(root, "other", ["1", "2", "3", "4"], wrong={4: 2}, drivers=["p001", "p006", "p004"])
    result = class_accuracy(root, log=silent)
    four = row(result.classes, "other", 4)
    assert four.drivers_compared == 7  # folds 1 to 3: p001 p006 p011, p002 p007, p003 p008
    assert four.delta_recall == pytest.approx(5 / 7)
    assert four.recall == pytest.approx(6 / 9)  # its own drivers: folds 1 to 4
    assert result.variants.set_index("variant").loc["other", "folds_missing"] == ["0"]
    assert "base: no predictions for folds original, 4" in result.missing
    assert "missing: base: no predictions for folds original, 4" in headline(root)


def test_with_fewer_common_drivers_than_the_questions_take_nothing_is_testable(root: Settings) -> None:
    predict(root, "base", ["0", "original"])
    predict(root, "other", ["0", "original"], wrong={1: 2})
    classes = class_accuracy(root, log=silent).classes
    one = row(classes, "other", 1)
    assert (one.verdict, one.delta_recall) == ("not testable", -1)
    assert np.isnan(one.p)
    assert verdict_sentence(classes, "other").startswith("not testable: fewer than 9 drivers")


def test_every_class_of_every_variant_is_one_question(tmp_path: Path) -> None:
    root = make_root(tmp_path / "data")
    with root.variants_file.open("a") as catalogue:
        catalogue.write("third: {kind: masks_only, epochs: 3}\nfourth: {kind: masks_only, epochs: 4}\n")
    predict(root, "base", wrong={6: 5}, drivers=MOST)
    predict(root, "third", wrong={6: 5}, drivers=MOST)
    predict(root, "fourth", ["0", "1"])
    predict(root, "other")
    result = class_accuracy(root, log=silent)
    six = row(result.classes, "other", 6)
    # The fourth variant has too few drivers for any answer, so it is not asked and costs the others nothing.
    assert six.p_holm == pytest.approx(six.p * 20)
    assert six.p_own == pytest.approx(six.p * 10)
    assert six.verdict == "improved"
    assert row(result.classes, "fourth", 6).verdict == "not testable"
    assert np.isnan(row(result.classes, "fourth", 6).p_holm)
    assert verdict_sentence(result.classes, "fourth").startswith("not testable: fewer than 11 drivers")
    means = result.variants[result.variants["scope"] == "oof"].set_index("variant")
    assert means.loc["other", "macro_p_holm"] == pytest.approx(2 * means.loc["other", "macro_p"])
    assert np.isnan(means.loc["base", "macro_p_holm"])
    alone = compare(root, "base", "other")
    assert alone.loc[6, "p_holm"] == pytest.approx(six.p_own)


def test_a_variant_with_one_easy_fold_does_not_lead(root: Settings) -> None:
    predict(root, "base", wrong={4: 2}, drivers=["p001", "p002"])
    predict(root, "other", ["0"])
    result = class_accuracy(root, log=silent)
    variants = result.variants[result.variants["scope"] == "oof"].set_index("variant")
    assert variants.loc["other", "macro_recall"] > variants.loc["base", "macro_recall"]
    assert np.isnan(variants.loc["other", "ranked_recall"])
    first, second = leaderboard(result)
    assert first.startswith("base: macro recall 0.983 (")
    assert second.startswith("other: macro recall 1.000 (")
    assert second.endswith("; without folds 1, 2, 3, 4, so not ranked")


def test_tables_of_the_version_before_still_have_a_headline(root: Settings) -> None:
    predict(root, "base", wrong={4: 2})
    predict(root, "other")
    class_accuracy(root, log=silent)
    path = root.evaluation / "variants.parquet"
    write_unsealed(path, pq.read_table(path).drop_columns(["ranked_recall", "flattery", "macro_p_holm"]))
    assert headline(root).splitlines()[0].startswith("other: macro recall 1.000")


def test_variants_that_all_lack_folds_are_ranked_on_the_drivers_they_share(root: Settings) -> None:
    """The second one is right on the shared drivers, and wrong on a fold that the first one lacks."""
    predict(root, "base", ["0", "1"], wrong={4: 2}, drivers=["p001"])
    predict(root, "other", ["1", "2"], wrong={6: 5}, drivers=["p002", "p007"])
    result = class_accuracy(root, log=silent)
    variants = result.variants[result.variants["scope"] == "oof"].set_index("variant")
    assert variants["ranked_recall"].to_dict() == pytest.approx({"base": 1 - 1 / 30, "other": 1})
    assert [line.split(":")[0] for line in leaderboard(result)] == ["other", "base"]
    assert variants.loc["other", "macro_recall"] < variants.loc["base", "macro_recall"]
    assert variants.loc["other", "worst_driver"] == "p001", "of the drivers that both have"


def test_without_the_baseline_recalls_stand_and_nothing_is_compared(root: Settings) -> None:
    predict(root, "other")
    result = class_accuracy(root, log=silent)
    assert (result.classes["verdict"] == "not testable").all()
    assert (result.classes["obstacle"] == "nothing to compare with").all()
    assert (result.classes["recall"] == 1).all()
    sentence = verdict_sentence(result.classes, "other")
    assert sentence == "not testable: what it would be compared with has no predictions"
    assert any("the baseline base has no out-of-fold predictions" in line for line in result.missing)


def test_an_absent_class_is_undefined_and_left_out_of_the_mean(tmp_path: Path) -> None:
    root = make_root(tmp_path / "data", classes=[0, 1, 2, 3, 4, 5, 6, 7, 9])
    predict(root, "base", wrong={0: 8}, drivers=MOST)
    predict(root, "other")
    result = class_accuracy(root, log=silent)
    eight = row(result.classes, "other", 8)
    assert (eight.n, eight.verdict) == (0, "absent")
    undefined = ["recall", "recall_low", "recall_high", "precision", "f1", "delta_recall", "p", "p_holm"]
    assert eight[undefined].isna().all()
    means = result.variants.set_index(["scope", "variant"])["macro_recall"]
    assert means["oof", "base"] == pytest.approx((8 + 1 / 12) / 9)
    assert verdict_sentence(result.classes, "other") == "1 of 10 classes improved, 0 worsened, 8 undetermined, 1 absent"
    assert pq.read_table(root.evaluation / "class_accuracy.parquet")["recall"].null_count == 6


def test_a_perfect_class_has_an_interval_that_counts_drivers(root: Settings) -> None:
    predict(root, "base")
    zero = row(class_accuracy(root, log=silent).classes, "base", 0)
    assert zero.recall_high == 1
    assert zero.recall_low == pytest.approx(0.025 ** (1 / 12))


def test_a_rejected_file_is_named_and_does_not_enter_the_tables(root: Settings) -> None:
    predict(root, "base")
    path = predictions_path(root, "base", "0")
    old = pq.read_table(path)
    foreign = {**old.schema.metadata, b"data_fingerprint": b"0123456789ab"}
    write_unsealed(path, old.replace_schema_metadata(foreign))
    result = class_accuracy(root, log=silent)
    assert row(result.classes, "base", 0).n == 27
    assert len(result.rejected) == 1
    assert result.rejected[0] in result.missing
    assert result.rejected[0] in headline(root)


def table_of(root: Settings, name: str) -> pd.DataFrame:
    return pq.read_table(root.evaluation / name).to_pandas()


def test_precision_and_f1_move_with_intervals_and_drivers_are_described(root: Settings) -> None:
    predict(root, "base", wrong={6: 5})
    predict(root, "other", wrong={6: 5}, drivers=["p001", "p002", "p003"])
    classes = class_accuracy(root, log=silent).classes
    five, six = row(classes, "other", 5), row(classes, "other", 6)
    assert five.delta_precision == pytest.approx(36 / 45 - 0.5)
    assert five.delta_precision_low < five.delta_precision < five.delta_precision_high
    assert six.delta_f1 == pytest.approx(2 * 27 / (36 + 27))
    assert (six.driver_delta_low, six.driver_delta_high) == (0, 1)
    assert 0 < six.i2 < 1
    assert np.isnan(five.delta_low)  # no driver changed on c5: nothing to take an interval from
    base = row(classes, "base", 5)
    assert base[["delta_precision", "delta_f1", "driver_delta_low", "i2"]].isna().all()


def test_every_driver_has_a_row_per_class_even_where_they_lack_it(tmp_path: Path) -> None:
    root = make_root(tmp_path / "data")
    manifest = pq.read_table(root.manifest)
    keep = [(row["subject"], row["classname"]) != ("p003", "c4") for row in manifest.to_pylist()]
    pq.write_table(manifest.filter(pa.array(keep)), root.manifest)
    predict(root, "base", wrong={4: 2})
    predict(root, "other")
    result = class_accuracy(root, log=silent)
    assert row(result.classes, "other", 4).drivers_compared == 11
    drivers = table_of(root, "drivers.parquet").set_index(["scope", "variant", "class_id", "driver"])
    lacking = drivers.loc[("oof", "other", 4, "p003")]
    assert lacking.n == 0
    assert lacking[["recall", "baseline_recall", "delta"]].isna().all()
    there = drivers.loc[("oof", "other", 4, "p002")]
    assert there.tolist() == [3, 1, 0, 1]
    assert len(drivers) == 2 * (120 + 30 + 30)


def test_a_fold_without_a_class_leaves_its_drivers_out_of_that_class(tmp_path: Path) -> None:
    root = make_root(tmp_path / "data")
    manifest = pq.read_table(root.manifest)
    keep = [(row["fold"], row["classname"]) != (2, "c4") for row in manifest.to_pylist()]
    pq.write_table(manifest.filter(pa.array(keep)), root.manifest)
    predict(root, "base", wrong={4: 2}, drivers=MOST)
    predict(root, "other")
    four = row(class_accuracy(root, log=silent).classes, "other", 4)
    assert (four.n, four.drivers_compared, four.recall, four.delta_recall) == (30, 10, 1, pytest.approx(0.9))
    assert four.verdict == "improved"


def test_confusions_say_how_often_by_how_many_and_what_moved(root: Settings) -> None:
    predict(root, "base", wrong={6: 5, 1: 2})
    predict(root, "other", wrong={6: 5, 8: 0}, drivers=["p001", "p002", "p003"])
    class_accuracy(root, log=silent)
    found = table_of(root, "confusions.parquet").query("scope == 'oof' and variant == 'other'")
    assert list(zip(found["true"], found["predicted"], found["n"], strict=True)) == [(1, 2, 0), (6, 5, 9), (8, 0, 9)]
    moved = found.set_index(["true", "predicted"]).loc[(6, 5)]
    assert moved[["share", "baseline_share", "delta_share"]].tolist() == pytest.approx([0.25, 1, -0.75])
    # One of the three drivers of fold 1 and one of two in folds 2 and 3 was taken for c5: t with 12 - 5 degrees.
    variance = (3 / 2 * (2 / 3) + 2 * 2 * (1 / 2)) / 12**2
    half = 2.364624 * np.sqrt(variance)
    assert moved[["delta_low", "delta_high"]].tolist() == pytest.approx([max(-1, -0.75 - half), -0.75 + half])
    own = table_of(root, "confusions.parquet").query("scope == 'oof' and variant == 'base'")
    assert own["delta_share"].isna().all()


def test_calibration_is_by_bin_and_its_error_is_in_the_summary(root: Settings) -> None:
    predict(root, "base", wrong={3: 9})
    result = class_accuracy(root, log=silent)
    bins = table_of(root, "calibration.parquet").query("scope == 'oof' and variant == 'base'").set_index("bin")
    assert bins["n"].tolist() == [0] * 9 + [360]
    assert bins.loc[9, ["low", "high", "confidence", "accuracy"]].tolist() == pytest.approx([0.9, 1, 0.91, 0.9])
    assert np.isnan(bins.loc[0, "accuracy"])
    assert result.variants.iloc[0].calibration_error == pytest.approx(0.01, abs=1e-6)


def test_without_any_usable_prediction_the_reasons_are_in_the_error(root: Settings) -> None:
    with pytest.raises(DistractedError, match="run `distracted run`"):
        class_accuracy(root, log=silent)
    predict(root, "base", ["0"])
    predictions_path(root, "base", "0").write_bytes(b"no parquet")
    with pytest.raises(DistractedError, match=r"base, fold 0: .* cannot be read"):
        class_accuracy(root, log=silent)


def test_an_unknown_baseline_is_refused(root: Settings) -> None:
    predict(root, "base")
    with pytest.raises(DistractedError, match="DISTRACTED_BASELINE is 'elsewhere'.*base, other"):
        class_accuracy(Settings(root.data, variants_file=root.variants_file, baseline="elsewhere"), log=silent)


def test_reading_back_gives_the_same_tables(root: Settings) -> None:
    predict(root, "base", ["0", "1"])
    with pytest.raises(DistractedError, match=r"confusion.npz yet; run .*class_accuracy"):
        read_class_accuracy(root)
    written = class_accuracy(root, log=silent)
    read = read_class_accuracy(root)
    assert written.classes.equals(read.classes)
    assert written.variants.equals(read.variants)
    assert written.missing == read.missing
    assert (written.confusion.scopes["oof"] == read.confusion.scopes["oof"]).all()


@pytest.mark.parametrize("how", ["emptied", "zeroed", "truncated", "flipped"])
def test_a_damaged_tensor_is_named_with_what_makes_it_anew(how: str, root: Settings) -> None:
    predict(root, "base", wrong={}, drivers=MOST)
    class_accuracy(root, log=silent)
    damage(root.evaluation / "confusion.npz", how)
    with pytest.raises(DistractedError, match=r"a table in .* cannot be read .* Make them anew: distracted run"):
        read_class_accuracy(root)


def test_relabelling_the_classes_and_shuffling_the_rows_moves_the_numbers_with_them(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    shift = rng.permutation(10)
    results = []
    for name, new_class in (("plain", np.arange(10)), ("moved", shift)):
        root = make_root(tmp_path / name)
        for variant in ("base", "other"):
            for fold in "01234":
                images = held_out(root, fold)
                original = np.argsort(new_class)[right(images)]
                keys = zip(images["subject"].to_pylist(), original, images["img"].to_pylist(), strict=True)
                slip = [crc32(f"{variant} {driver} {c} {img[-5]}".encode()) % 7 == 0 for driver, c, img in keys]
                predicted = trainings([table(images, new_class[(original + slip) % 10])] * 2)
                write_predictions(root, variant, fold, predicted.take(pa.array(rng.permutation(predicted.num_rows))))
        results.append(class_accuracy(root, log=silent).classes.query("variant == 'other'").set_index("class_id"))
    plain, moved = results
    columns = [
        "n",
        "recall",
        "recall_low",
        "recall_high",
        "precision",
        "f1",
        "delta_recall",
        "delta_low",
        "p",
        "p_holm",
    ]
    assert plain["recall"].between(0.5, 0.99).all()
    for c in range(10):
        assert moved.loc[shift[c], columns].tolist() == pytest.approx(plain.loc[c, columns].tolist())


def test_a_data_set_of_four_classes_has_tables_of_four_classes(tmp_path: Path) -> None:
    classes = ("drive", "phone_l", "phone_r", "drink")
    toy = dataclasses.replace(STATE_FARM, class_ids=classes, class_names=classes)
    root = make_root(tmp_path / "data", dataset=toy)
    predict(root, "base", wrong={2: 1}, drivers=MOST)
    predict(root, "other")
    result = class_accuracy(root, log=silent)
    assert verdict_sentence(result.classes, "other") == "1 of 4 classes improved, 0 worsened, 3 undetermined"
    assert result.confusion.of("base").shape == (12, 4, 4)
    assert row(result.classes, "other", 2).verdict == "improved"
    assert len(result.classes) == 2 * 3 * 4
    assert compare(root, "base", "other")["name"].tolist() == list(classes)
    cells, _ = driver_text(read_compared(root, "base", "other"))
    assert cells[0] == ["driver", *classes, "mean"]


def test_the_cost_of_a_checkpoint_that_an_older_version_called_seed_is_known(root: Settings) -> None:
    predict(root, "base", ["original"])
    write_model(root, "base", "seed")
    assert set(class_accuracy(root, log=silent).variants["train_seconds"]) == {4.5}


def test_a_damaged_description_of_a_checkpoint_leaves_its_cost_unknown(root: Settings) -> None:
    predict(root, "base", ["0"])
    write_model(root, "base", "0")
    (root.models / "base" / "0" / "1" / "config.json").write_text('{"trainable_parameters": 10, "total')
    assert class_accuracy(root, log=silent).variants["train_seconds"].isna().all()
