"""Two variants side by side: the numbers, the text of them, and `distracted compare`."""

import csv
import dataclasses
import io
import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from distracted_pipeline.cli import main
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.evaluation.comparison_tables import (
    _cut,
    _signed,
    as_markdown,
    as_text,
    by_driver,
    class_text,
    compare,
    confusions,
    read_compared,
    recipe_line,
)
from distracted_pipeline.evaluation.tables import class_accuracy
from distracted_pipeline.settings import Settings
from distracted_pipeline.variants.config import validated
from distracted_pipeline_tests.evaluation.fakes import DRIVERS, make_root, predict, write_model


@pytest.fixture
def root(tmp_path: Path) -> Settings:
    return make_root(tmp_path / "data")


def silent(_line: str) -> None:
    pass


def test_comparing_two_variants_takes_the_first_as_reference(root: Settings) -> None:
    predict(root, "base", wrong={2: 0}, drivers=DRIVERS[1:])
    predict(root, "other", wrong={5: 6})
    class_accuracy(root, log=silent)
    forth, back = compare(root, "base", "other"), compare(root, "other", "base")
    columns = ["recall_a", "recall_b", "delta", "verdict"]
    assert forth.loc[2, columns].tolist() == pytest.approx([1 / 12, 1, 11 / 12, "improved"])
    assert back.loc[2, columns].tolist() == pytest.approx([1, 1 / 12, -11 / 12, "worsened"])
    assert forth.loc[5, [*columns, "p"]].tolist() == [1, 0, -1, "undetermined", 1], "nothing varied, nothing is decided"
    assert forth["p"].tolist() == back["p"].tolist()
    assert forth.loc[3, "name"] == "texting - left"
    with pytest.raises(DistractedError, match="variant 'nope' has no predictions.*base, other"):
        compare(root, "base", "nope")


def test_what_is_compared_is_what_both_predicted(root: Settings) -> None:
    predict(root, "base", ["0", "1", "2", "3"], wrong={4: 2})
    predict(root, "other", ["1", "2", "3", "4"], wrong={4: 2, 6: 3}, drivers=["p001"])
    class_accuracy(root, log=silent)
    compared = read_compared(root, "base", "other")
    assert compare(root, "base", "other").loc[4, ["n", "drivers", "recall_b"]].tolist() == [21, 7, pytest.approx(6 / 7)]
    pairs = confusions(compared).set_index(["true", "predicted"])
    assert pairs.index.tolist() == [(4, 2), (6, 3)]
    assert pairs.loc[(4, 2), ["n", "share", "baseline_share", "delta_share"]].tolist() == pytest.approx(
        [3, 1 / 7, 1, -6 / 7]
    )
    drivers = by_driver(compared).set_index(["driver", "class_id"])
    assert len(drivers) == 70
    assert drivers.loc[("p001", 4), "delta"] == 0
    assert drivers.loc[("p002", 4), "delta"] == 1
    lacking = "no predictions for folds original"
    assert compared.missing == [f"base: {lacking}, 4", f"other: {lacking}, 0"]


def test_without_out_of_fold_predictions_the_original_split_is_compared(root: Settings) -> None:
    predict(root, "base", ["original"])
    predict(root, "other", ["original"])
    class_accuracy(root, log=silent)
    assert read_compared(root, "base", "other").scope == "test"


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """`base` and `other`, which mends c2, breaks c7 and lacks fold 4. Not to be changed."""
    root = make_root(tmp_path_factory.mktemp("scored") / "data")
    predict(root, "base", wrong={2: 0}, drivers=DRIVERS[1:])
    predict(root, "other", ["original", "0", "1", "2", "3"], wrong={7: 8}, drivers=DRIVERS[1:])
    class_accuracy(root, log=silent)
    return root


@pytest.fixture
def compared(scored: Settings, tmp_path: Path) -> Settings:
    """A copy of `scored` that a test may change."""
    data = shutil.copytree(scored.data, tmp_path / "data")
    return dataclasses.replace(scored, data=data, variants_file=data / "variants.yaml")


@pytest.fixture
def asked(compared: Settings, monkeypatch: pytest.MonkeyPatch):
    """Return what runs `distracted compare base other`."""
    monkeypatch.setenv("DISTRACTED_DATA", str(compared.data))
    monkeypatch.setenv("DISTRACTED_VARIANTS", str(compared.variants_file))
    monkeypatch.setenv("DISTRACTED_BASELINE", "base")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.chdir(compared.data)

    def ask(*options: str) -> Result:
        result = CliRunner().invoke(main, ["compare", "base", "other", *options])
        assert result.exit_code == 0, result.output
        return result

    return ask


def test_the_table_says_what_changed_what_it_rests_on_and_what_is_missing(asked) -> None:
    lines = asked().stdout.splitlines()
    assert lines[0] == "other against base: 1 of 10 classes improved, 1 worsened, 8 undetermined"
    assert lines[1].endswith("on 10 drivers, 300 images")
    assert lines[2] == "counted on out-of-fold predictions over all drivers; trainings of each fold: 3 and 3"
    (two,) = (line for line in lines if line.startswith("c2 talking on the phone - right"))
    assert two.split()[-9:-5] == ["30", ".10", "1.00", "+.90"]
    assert two.split()[-5:-2] == ["+.66", "to", "+1.00"]
    assert "nothing else differs" in lines
    assert two.endswith("improved")
    assert any(line.startswith("c7 reaching behind") and line.endswith("worsened") for line in lines)
    assert "A = base, B = other" in asked().stdout
    assert lines[-1] == "missing: other: no predictions for fold 4"
    assert max(map(len, lines)) <= 100


def test_what_else_differs_between_the_two_recipes_stands_under_the_table(asked, compared: Settings) -> None:
    assert compared.variants_file is not None
    text = compared.variants_file.read_text()
    changed = "other: {kind: masks_only, optimizer: adamw, batch_size: 32, top_lr: 0.5}"
    compared.variants_file.write_text(text.replace("other: {kind: masks_only}", changed))
    line = "also differs: batch size 128 / 32, optimizer adadelta / adamw, top lr 2 / 0.5"
    assert line in asked().stdout.splitlines()
    assert line in asked("--format", "markdown").stdout.splitlines()
    assert recipe_line(read_compared(compared, "base", "other")) == line


def test_a_variant_that_left_the_catalogue_has_the_recipe_of_its_checkpoint(root: Settings) -> None:
    predict(root, "base")
    predict(root, "former")
    class_accuracy(root, log=silent)
    assert "is not known" in recipe_line(read_compared(root, "base", "former"))
    write_model(root, "former", "2", replicates=1)
    path = root.models / "former" / "2" / "0" / "config.json"
    config = validated("former", {"kind": "top_only", "gamma": 0.5}, "here").model_dump(mode="json")
    path.write_text(json.dumps({"config": config}))
    assert recipe_line(read_compared(root, "base", "former")) == "also differs: gamma 1 / 0.5"


@pytest.mark.parametrize("show", ["confusions", "drivers"])
def test_the_other_tables_fit_a_terminal(asked, show: str) -> None:
    lines = asked("--show", show).stdout.splitlines()
    assert max(map(len, lines)) <= 100
    named = {"confusions": "c7 reaching behind", "drivers": "p000"}[show]
    assert any(line.startswith(named) for line in lines)


def test_data_formats_hold_every_digit_and_nothing_else(asked) -> None:
    result = asked("--format", "csv")
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert [row["verdict"] for row in rows].count("improved") == 1
    assert float(rows[2]["delta_f1"]) == pytest.approx(1 - 6 / 33)
    assert "missing: other: no predictions for fold 4" in result.stderr
    records = json.loads(asked("--format", "json", "--show", "classes").stdout)
    assert records[2]["delta"] == pytest.approx(0.9)
    assert records[3]["delta_low"] is None  # nothing varied: there is nothing to take an interval from
    assert len(json.loads(asked("--format", "json", "--show", "drivers").stdout)) == 100


def test_markdown_is_a_table_whatever_the_names(asked) -> None:
    lines = asked("--format", "markdown").stdout.splitlines()
    assert sum(line.startswith("| ") for line in lines) == 12
    assert as_markdown([["a|b", "c"], ["1", "2"]]).splitlines() == ["| a\\|b | c |", "| --- | --- |", "| 1 | 2 |"]


def test_an_unknown_variant_is_refused_in_one_line(asked) -> None:
    result = CliRunner().invoke(main, ["compare", "base", "nope"])
    assert result.exit_code == 1
    assert "variant 'nope' has no predictions" in result.output


def test_a_table_fits_the_terminal_and_no_difference_is_minus_nothing(root: Settings) -> None:
    predict(root, "base", wrong={2: 0})
    predict(root, "other", wrong={5: 6})
    class_accuracy(root, log=silent)
    cells, _ = class_text(read_compared(root, "base", "other"))
    assert max(map(len, as_text(cells).splitlines())) > 80
    shown = as_text(cells, 80).splitlines()
    assert max(map(len, shown)) <= 80
    assert shown[3].startswith("c2 talking on t… right")
    assert _cut("talking on the phone - right", 14) == "talking o…ight", "the end tells it from the left one"
    assert shown[3].split()[-1] == cells[3][-1]
    assert [_signed(x) for x in (-0.004, 0.004, -0.006, 1.0, float("nan"))] == [".00", ".00", "-.01", "+1.00", "-"]
