"""What it takes to see a change, from the tables of a data root: the numbers, the words, and `distracted plan`."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from distracted_pipeline.cli import main
from distracted_pipeline.evaluation import plan_tables as pt
from distracted_pipeline.evaluation.comparison_tables import as_text
from distracted_pipeline.evaluation.planning import Plan, Sources, needed, power
from distracted_pipeline.evaluation.predictions import write_predictions
from distracted_pipeline.evaluation.tables import class_accuracy
from distracted_pipeline.scopes import FOLDS
from distracted_pipeline.settings import Settings
from distracted_pipeline_tests.evaluation.fakes import held_out, make_root, right, table, trainings

DRIVERS = tuple(f"p{i:03d}" for i in range(20))


def noisy(settings: Settings, variant: str, replicates: int = 3) -> None:
    """Write predictions whose skill depends on driver and class, on the fold's training and class, and on both."""
    seed = [*variant.encode()]
    for fold in FOLDS:
        images = held_out(settings, fold)
        true, subjects = right(images), images["subject"].to_pylist()
        each = []
        for replicate in range(replicates):
            skill = np.random.default_rng([*seed, *fold.encode(), replicate]).normal(0.6, 0.08, 10)
            rng = np.random.default_rng([*seed, *fold.encode(), replicate, 1])
            own = {name: np.random.default_rng([*seed, *name.encode()]).normal(0, 0.15, 10) for name in set(subjects)}
            chance = np.array([skill[c] + own[name][c] for name, c in zip(subjects, true, strict=True)])
            each.append(table(images, np.where(rng.random(len(true)) < chance, true, (true + 1) % 10).tolist()))
        write_predictions(settings, variant, fold, trainings(each))


def silent(_line: str) -> None:
    pass


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    settings = make_root(tmp_path_factory.mktemp("plan") / "data", DRIVERS, frames=8)
    for variant in ("base", "other"):
        noisy(settings, variant)
    class_accuracy(settings, log=silent)
    return settings


def typed(settings: Settings, monkeypatch: pytest.MonkeyPatch, *options: str) -> Result:
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("DISTRACTED_DATA", str(settings.data))
    monkeypatch.setenv("DISTRACTED_VARIANTS", str(settings.variants_file))
    monkeypatch.setenv("DISTRACTED_BASELINE", "base")
    monkeypatch.chdir(settings.data)
    return CliRunner().invoke(main, ["plan", *options])


def test_the_headlines_variant_is_planned_against_its_reference_with_the_reports_questions(root: Settings) -> None:
    found, scope = pt.read_study(root)
    assert (found.variant, found.reference, scope, found.questions) == ("other", "base", "oof", 10)
    for k, one in enumerate(found.plans):
        sources = found.sources.of(k)
        assert one.power == pytest.approx(power(sources, 0.05, 10)[0])
        assert [one.drivers] == needed(sources, "drivers", 0.05, 10)
    luck = np.sqrt((found.sources.training**2).mean())
    assert luck == pytest.approx(0.08, rel=0.4), "as it was drawn"


def test_the_table_has_a_row_for_each_class_and_sentences_in_plain_words(
    root: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = typed(root, monkeypatch)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == "what it takes to see other differ by .05 from base, 4 times in 5"
    assert lines[1] == "measured on out-of-fold predictions over all drivers; 10 questions asked together"
    rows = [line for line in lines if line.startswith("c") and not line.startswith("class")]
    assert len(rows) == 10
    assert max(map(len, lines)) <= 100
    assert "With 20 drivers and 3 trainings of each fold, c" in result.stdout
    assert "to be seen 4 times in 5" in " ".join(lines)


def test_delta_power_and_questions_are_what_is_asked(root: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    result = typed(root, monkeypatch, "other", "--delta", "0.6", "--power", "0.9", "--questions", "1")
    assert result.stdout.startswith("what it takes to see other differ by .60 from base, 9 times in 10\n")
    assert "1 questions" not in result.stdout
    assert "one question asked" in result.stdout
    assert ".60 is seen already." in " ".join(result.stdout.split())


def test_data_formats_hold_every_digit(root: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = list(csv.DictReader(io.StringIO(typed(root, monkeypatch, "--format", "csv").stdout)))
    found, _ = pt.read_study(root)
    assert [float(row["power"]) for row in rows] == pytest.approx([one.power for one in found.plans])
    assert {row["drivers_now"] for row in rows} == {"20"}
    records = json.loads(typed(root, monkeypatch, "--format", "json").stdout)
    assert [row["drivers"] for row in records] == [one.drivers for one in found.plans]
    marked = typed(root, monkeypatch, "--format", "markdown").stdout
    assert sum(line.startswith("| ") for line in marked.splitlines()) == 12


def test_an_unknown_variant_is_refused_with_the_choices(root: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    result = typed(root, monkeypatch, "nope")
    assert result.exit_code == 1
    assert "variant 'nope' has no predictions" in result.output
    assert "base, other" in result.output


def test_the_baseline_needs_something_to_be_set_beside(root: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    result = typed(root, monkeypatch, "base")
    assert result.exit_code == 1
    assert "`distracted plan base --against VARIANT`" in result.output
    assert typed(root, monkeypatch, "base", "--against", "other").exit_code == 0


def test_without_tables_the_next_command_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = typed(make_root(tmp_path / "data"), monkeypatch)
    assert result.exit_code == 1
    assert "dagster asset materialize --select class_accuracy" in result.output


def test_one_training_is_nothing_to_plan_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = make_root(tmp_path / "data")
    for variant in ("base", "other"):
        noisy(settings, variant, replicates=1)
    class_accuracy(settings, log=silent)
    result = typed(settings, monkeypatch)
    assert result.exit_code == 1
    assert "other against base: one training only of some fold" in result.output
    assert result.output.rstrip().endswith("then type `distracted run`.")


def test_where_nothing_is_compared_two_variants_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = make_root(tmp_path / "data")
    noisy(settings, "base")
    class_accuracy(settings, log=silent)
    result = typed(settings, monkeypatch)
    assert result.exit_code == 1
    assert "no variant is compared with another one" in result.output
    assert "`distracted plan VARIANT --against VARIANT`" in result.output


def drawn(**of: object) -> pt.Study:
    """A study of one class, 26 drivers, 3 trainings of each fold."""
    ones = {name: np.ones(1) for name in Sources.__dataclass_fields__}
    sources = Sources(**{**ones, "drivers": np.array([26]), "replicates": np.array([3])})
    values = {"driver": 0.1, "training": 0.1, "residual": 0.1, "power": 0.1, "drivers": 61, "frames": None}
    one = Plan(**{**values, "replicates": None, "smallest": 0.14, **of})  # type: ignore[arg-type]
    return pt.Study("b", "a", 10, 0.05, 0.8, sources, [one], "")


@pytest.mark.parametrize(
    ("of", "said"),
    [
        (
            {},
            "c3 must change by .14 to be seen 4 times in 5; more trainings alone never show .05; it takes 61 drivers.",
        ),
        ({"drivers": None, "replicates": 9}, "more drivers alone never show .05; it takes 9 trainings of each fold."),
        ({"replicates": 9}, "to show .05 it takes 61 drivers, or 9 trainings of each fold."),
        ({"drivers": None}, "neither more drivers alone nor more trainings alone ever show .05."),
        ({"power": 0.9, "smallest": 0.04}, "c3 must change by .04 to be seen 4 times in 5: .05 is seen already."),
        ({"smallest": None}, "no change of c3 is seen 4 times in 5; more trainings alone never show .05"),
    ],
)
def test_a_sentence_says_what_it_takes(of: dict[str, object], said: str) -> None:
    found = pt.sentence(drawn(**of), 0, "c3")
    assert found.startswith("With 26 drivers and 3 trainings of each fold, ")
    assert said in found


def test_a_class_that_tells_nothing_has_dashes_and_no_sentence() -> None:
    nothing = drawn(power=float("nan"), drivers=None, smallest=None)
    assert set(pt.cells(nothing, 0)) == {"–"}
    assert pt.sentences(nothing, ["c3"]) == []
    assert pt.cells(drawn(), 0) == [".10", ".10", ".10", ".10", "61", "never", "never", ".14"]


def test_never_stands_among_the_numbers() -> None:
    assert as_text([["x"], ["1,000"], ["never"], ["5"]]) == "    x\n1,000\nnever\n    5"
    assert as_text([["x"], ["yes"], ["maybe"]]) == "x\nyes\nmaybe"
