"""What a run still has to do, what it leaves out, and when the report grows meanwhile."""

import os
from pathlib import Path

import pytest

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.operations import run as pipeline
from distracted_pipeline.operations.missing import Step, chosen_folds, chosen_variants, is_stale, unsupported
from distracted_pipeline.settings import Settings
from distracted_pipeline.vocabulary import FOLDS


def test_all_variants_and_folds_are_chosen_where_none_is_named(settings: Settings) -> None:
    assert "masks_fused" in chosen_variants(settings, ())
    assert list(chosen_variants(settings, ["top_only"])) == ["top_only"]
    assert chosen_folds(()) == FOLDS
    assert chosen_folds(["3"]) == ("3",)


def test_an_unknown_variant_or_fold_is_refused_with_the_choices(settings: Settings) -> None:
    with pytest.raises(DistractedError, match=r"no variant top_onyl: choose from .*top_only"):
        chosen_variants(settings, ["top_onyl"])
    with pytest.raises(DistractedError, match="no fold 9: choose from seed, 0"):
        chosen_folds(["9"])


def test_a_variant_that_cannot_be_trained_here_is_named_with_the_reason(tmp_path: Path) -> None:
    backbone = tmp_path / "mobile"
    backbone.mkdir()
    (backbone / "config.json").write_text('{"model_type": "mobilenet_v2"}')
    settings = Settings(data=tmp_path, backbone=str(backbone))
    reasons = unsupported(settings, chosen_variants(settings, ()))
    assert {"top_only", "adapter_serial", "adapter_parallel"} <= set(reasons)
    assert "linear_probe" not in reasons
    assert "mobilenet_v2" in reasons["top_only"]


def test_an_output_is_stale_where_it_is_missing_or_older_than_an_input(tmp_path: Path) -> None:
    output, source = tmp_path / "table", tmp_path / "predictions"
    source.touch()
    assert is_stale(output, [source])
    output.touch()
    os.utime(source, (1, 1))
    assert not is_stale(output, [source, tmp_path / "never written"])
    os.utime(output, (0, 0))
    assert is_stale(output, [source])


@pytest.mark.parametrize(("variants", "reports"), [(1, 0), (2, 3)])
def test_the_report_grows_while_variants_train_once_two_can_be_compared(
    variants: int, reports: int, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(variants):
        (settings.predictions / f"variant_{number}").mkdir(parents=True)
    clock = iter(range(0, 100_000, 700))
    monkeypatch.setattr(pipeline.time, "monotonic", lambda: float(next(clock)))
    ran: list[str] = []
    runner = pipeline._Runner(None, None, settings, {}, pipeline.RunSummary(), lambda line: None)  # type: ignore[arg-type]
    monkeypatch.setattr(runner, "_run", lambda step: ran.append(step.label))
    trainings = [Step(("trained_model",), f"training {number}") for number in range(4)]
    runner.run(trainings, meanwhile=lambda: [Step(("report",), "report")])
    assert ran.count("report") == reports
    assert [label for label in ran if label != "report"] == [step.label for step in trainings]
    assert ran[-1] != "report"  # the last one comes with the rest of the stage
