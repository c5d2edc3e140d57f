"""The class-wise tables of variants that were trained several times, and of those that have a control."""

from pathlib import Path

import numpy as np
import pytest

from distracted_pipeline.evaluation import statistics as st
from distracted_pipeline.evaluation import table_rows
from distracted_pipeline.evaluation.predictions import write_predictions
from distracted_pipeline.evaluation.tables import (
    class_accuracy,
    verdict_sentence,
)
from distracted_pipeline.settings import Settings
from distracted_pipeline_tests.evaluation.fakes import (
    held_out,
    make_root,
    predict,
    right,
    table,
    trainings,
)
from distracted_pipeline_tests.evaluation.test_tables import MOST, root, row, silent, table_of

__all__ = ["root"]


def test_one_training_is_not_testable_and_says_so_in_its_own_words(root: Settings) -> None:
    predict(root, "base", wrong={6: 5}, drivers=MOST)
    predict(root, "other", replicates=1)
    result = class_accuracy(root, log=silent)
    six = row(result.classes, "other", 6)
    assert (six.verdict, six.obstacle, six.trainings) == ("not testable", "one training only", 1)
    assert six.delta_recall == pytest.approx(11 / 12)
    assert np.isnan([six.p, six.p_holm, six.delta_low, six.recall_low]).all()
    said = verdict_sentence(result.classes, "other")
    assert said.startswith("not testable: one training only, which says nothing of another; set `replicates` to 2")
    found = result.variants.set_index(["scope", "variant"])
    assert found.loc[("oof", "base"), "trainings"] == 3
    assert np.isnan(found.loc[("oof", "other"), "macro_p"])


def test_a_comparison_that_cannot_be_tested_costs_the_others_nothing(tmp_path: Path) -> None:
    root = make_root(tmp_path / "data")
    with root.variants_file.open("a") as catalogue:
        catalogue.write("once: {kind: masks_only, epochs: 3}\n")
    predict(root, "base", wrong={6: 5}, drivers=MOST)
    predict(root, "other")
    predict(root, "once", replicates=1)
    six = row(class_accuracy(root, log=silent).classes, "other", 6)
    assert six.p_holm == six.p_own == pytest.approx(six.p * 10)


def test_folds_that_were_trained_more_or_less_often_are_averaged_by_fold(root: Settings) -> None:
    predict(root, "base", wrong={6: 5}, drivers=MOST)
    predict(root, "other", ["0", "1", "2", "3"])
    images = held_out(root, "4")
    true = right(images)
    slipped = np.where(true == 6, 5, true)
    write_predictions(root, "other", "4", trainings([table(images, true), table(images, slipped)]))
    result = class_accuracy(root, log=silent)
    six, five = row(result.classes, "other", 6), row(result.classes, "other", 5)
    assert (six.n, six.trainings) == (36, 2)
    assert six.recall == pytest.approx(11 / 12)  # half of the images of two drivers
    assert six.verdict == "improved"
    assert six.delta_sd_training > 0
    assert six.training_alone == pytest.approx(np.sqrt(0.5) * 2 / 12)
    assert five.precision == pytest.approx(36 / 39)
    assert row(result.classes, "base", 6).sd_training == 0
    counts = result.confusion.trainings("other")
    assert np.isnan(counts[2, 4]).all()
    assert np.isfinite(counts[2, 3]).all()
    assert result.confusion.of("other")[4, 6, 5] == 1.5
    found = result.variants.set_index(["scope", "variant"]).loc["oof", "other"]
    assert (found.n, found.accuracy) == (360, pytest.approx(1 - 3 / 360))
    bins = table_of(root, "calibration.parquet").query("scope == 'oof' and variant == 'other'")
    assert bins["n"].sum() == 360
    assert ((bins["n"] > 0) == bins["confidence"].notna()).all()


def test_what_one_of_three_trainings_says_once_counts_in_its_bin(monkeypatch: pytest.MonkeyPatch) -> None:
    said = np.array([[0.65, 0.35], [0.95, 0.05], [0.95, 0.05]])
    monkeypatch.setattr(table_rows, "_of_scope", lambda *_: (said, np.zeros(3, int), np.full(3, 1 / 3)))
    bins = table_rows.calibration_rows(None, "oof", "v")  # type: ignore[arg-type]
    assert [(one.n, one.accuracy) for one in bins if one.n or one.accuracy is not None] == [(1, 1.0), (1, 1.0)]


def simulated(root: Settings, variant: str, rng: np.random.Generator, luck: float) -> None:
    """Write three trainings of each fold, each of which is lucky or unlucky with a class, all drivers alike."""
    for fold in "01234":
        images = held_out(root, fold)
        true = right(images)
        each = []
        for _ in range(3):
            chance = (0.75 + rng.normal(0, luck, 10)).clip(0, 1)
            slips = rng.random(len(true)) > chance[true]
            each.append(table(images, (true + slips) % 10))
        write_predictions(root, variant, fold, trainings(each))


def test_luck_of_trainings_alone_is_not_called_a_difference(tmp_path: Path) -> None:
    """Six variants and a baseline that do the same, trained with much luck."""
    root = make_root(tmp_path / "data", drivers=[f"p{d:03d}" for d in range(20)], frames=12)
    with root.variants_file.open("a") as catalogue:
        catalogue.write("".join(f"v{i}: {{kind: masks_only, epochs: {i + 2}}}\n" for i in range(6)))
    rng = np.random.default_rng(1)
    for variant in ("base", *(f"v{i}" for i in range(6))):
        simulated(root, variant, rng, luck=0.2)
    result = class_accuracy(root, log=silent)
    oof = result.classes[(result.classes["scope"] == "oof") & (result.classes["variant"] != "base")]
    assert oof["delta_recall"].abs().max() > 0.15
    assert set(oof["verdict"]) == {"undetermined"}
    of_means = result.variants["macro_p_holm"].dropna()
    assert len(of_means) == 6
    assert (of_means > 0.05).all()
    signs = st.swap_signs(result.confusion.drivers)
    base = result.confusion.of("base")
    by_drivers = [
        st.swap_test(st.hits(own).T, st.support(own).T, st.hits(base).T, st.support(base).T, signs)[0]
        for own in map(result.confusion.of, sorted(set(oof["variant"])))
    ]
    assert (np.array(by_drivers) < 0.05).mean() > 0.2, "swapping drivers alone would call luck a difference"


def controlled(root: Settings) -> None:
    assert root.variants_file is not None
    with root.variants_file.open("a") as catalogue:
        catalogue.write("plain: {kind: top_only, epochs: 3}\ntuned: {kind: masks_only, epochs: 3, control: plain}\n")


def test_a_variant_is_compared_with_its_control_which_claims_nothing_itself(tmp_path: Path) -> None:
    root = make_root(tmp_path / "data")
    controlled(root)
    predict(root, "base", wrong={6: 5}, drivers=MOST)
    predict(root, "other")
    predict(root, "plain", wrong={3: 1}, drivers=MOST)
    predict(root, "tuned", wrong={6: 5}, drivers=MOST)
    result = class_accuracy(root, log=silent)
    assert not result.missing
    three, six = row(result.classes, "tuned", 3), row(result.classes, "tuned", 6)
    assert (three.baseline, three.verdict, six.verdict) == ("plain", "improved", "worsened")
    assert set(result.classes.query("variant == 'plain'")["verdict"]) == {"control"}
    assert result.classes.query("variant == 'plain'")["p"].isna().all()
    assert verdict_sentence(result.classes, "plain") == "a control that others are compared with"
    assert row(result.classes, "other", 6).baseline == "base"
    assert three.p_holm == pytest.approx(three.p * 20)  # two comparisons, each with its own reference
    found = result.variants.set_index(["scope", "variant"])["baseline"]
    assert found["oof"].to_dict() == {"base": "base", "other": "base", "plain": "base", "tuned": "plain"}


def test_what_is_trained_on_request_takes_no_claim_from_what_it_is_compared_with(tmp_path: Path) -> None:
    root = make_root(tmp_path / "data")
    controlled(root)
    assert root.variants_file is not None
    text = root.variants_file.read_text().replace("control: plain}", "control: plain, on_request: true}")
    root.variants_file.write_text(text)
    predict(root, "base", wrong={6: 5}, drivers=MOST)
    predict(root, "plain", wrong={3: 1}, drivers=MOST)
    predict(root, "tuned", wrong={6: 5}, drivers=MOST)
    (root.models / "tuned").mkdir(parents=True, exist_ok=True)  # somebody asked
    result = class_accuracy(root, log=silent)
    assert (row(result.classes, "plain", 6).baseline, row(result.classes, "plain", 6).verdict) == ("base", "improved")
    assert row(result.classes, "tuned", 6).baseline == "plain"


def test_a_control_without_predictions_is_named_and_never_replaced_by_the_baseline(tmp_path: Path) -> None:
    root = make_root(tmp_path / "data")
    controlled(root)
    predict(root, "base", wrong={6: 5}, drivers=MOST)
    predict(root, "tuned")
    result = class_accuracy(root, log=silent)
    six = row(result.classes, "tuned", 6)
    assert (six.baseline, six.verdict, six.obstacle) == ("plain", "not testable", "nothing to compare with")
    assert np.isnan(six.delta_recall)
    said = "tuned: its control plain has no out-of-fold predictions, so it is compared with nothing there"
    assert said in result.missing
    assert result.variants.set_index(["scope", "variant"]).loc[("oof", "tuned"), "baseline"] == "plain"


def test_a_driver_whose_images_one_of_the_two_lacks_is_not_compared(root: Settings) -> None:
    predict(root, "base", wrong={6: 5}, drivers=MOST)
    predict(root, "other")
    images = held_out(root, "3")
    less = table(images, right(images)).slice(1)
    write_predictions(root, "other", "3", trainings([less] * 3))
    result = class_accuracy(root, log=silent)
    assert row(result.classes, "other", 6).drivers_compared == 11
    assert any(line.startswith("other, fold 3: 1 of 60 held-out images") for line in result.missing)
