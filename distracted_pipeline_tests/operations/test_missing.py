"""What a run still has to do: asked of the rooms, in the order of the graph."""

from pathlib import Path

import pytest

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.evaluation import tables
from distracted_pipeline.explanation import explain
from distracted_pipeline.operations.missing import chosen_folds, chosen_variants, report_steps, unsupported
from distracted_pipeline.reports import build
from distracted_pipeline.scopes import FOLDS
from distracted_pipeline.serving import champion
from distracted_pipeline.settings import Settings


def test_all_variants_and_folds_are_chosen_where_none_is_named(settings: Settings) -> None:
    assert "masks_fused" in chosen_variants(settings, ())
    assert list(chosen_variants(settings, ["top_only"])) == ["top_only"]
    assert chosen_folds(()) == FOLDS
    assert chosen_folds(["3"]) == ("3",)


def test_an_unknown_variant_or_fold_is_refused_with_the_choices(settings: Settings) -> None:
    with pytest.raises(DistractedError, match=r"no variant top_onyl\. Did you mean top_only\? Choose from .*top_only"):
        chosen_variants(settings, ["top_onyl"])
    with pytest.raises(DistractedError, match=r"no fold 9\. Choose from original, 0"):
        chosen_folds(["9"])


def test_the_original_fold_is_known_by_the_name_that_it_had_before() -> None:
    assert chosen_folds(["seed", "1"]) == ("original", "1")


def test_an_unknown_baseline_is_refused_with_the_variants_before_anything_runs(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, baseline="top_onyl")
    with pytest.raises(DistractedError, match=r"DISTRACTED_BASELINE is 'top_onyl'.*linear_probe, top_only"):
        chosen_variants(settings, ())
    (settings.predictions / "top_onyl").mkdir(parents=True)
    (settings.predictions / "top_onyl" / "0.parquet").touch()  # trained by `distracted train --name top_onyl`
    assert chosen_variants(settings, ())


def test_a_variant_that_was_dropped_is_no_baseline_though_its_files_are_there(tmp_path: Path) -> None:
    (tmp_path / "variants.yaml").write_text("fine_tune: null\n")
    settings = Settings(data=tmp_path, baseline="fine_tune", variants_file=tmp_path / "variants.yaml")
    (settings.predictions / "fine_tune").mkdir(parents=True)
    (settings.predictions / "fine_tune" / "0.parquet").touch()
    with pytest.raises(DistractedError, match=r"DISTRACTED_BASELINE is 'fine_tune', which is no variant"):
        chosen_variants(settings, ())


def test_a_variant_that_cannot_be_trained_here_is_named_with_the_reason(tmp_path: Path) -> None:
    backbone = tmp_path / "mobile"
    backbone.mkdir()
    (backbone / "config.json").write_text('{"model_type": "mobilenet_v2"}')
    settings = Settings(data=tmp_path, backbone=str(backbone))
    reasons = unsupported(settings, chosen_variants(settings, ()))
    assert {"top_only", "adapter_serial", "adapter_parallel"} <= set(reasons)
    assert "linear_probe" not in reasons
    assert "mobilenet_v2" in reasons["top_only"]


@pytest.mark.parametrize(
    ("stale", "steps"),
    [
        ((), []),
        (("tables",), ["class_accuracy", "report", "champion"]),
        (("masks_fused",), ["gradcam masks_fused", "report"]),
        (("report",), ["report"]),
        (("champion",), ["champion"]),
        (("lora",), []),
        (
            ("tables", "top_only", "masks_fused"),
            ["class_accuracy", "gradcam top_only", "gradcam masks_fused", "report", "champion"],
        ),
    ],
)
def test_what_the_rooms_call_stale_is_made_again_with_all_that_shows_it(
    stale: tuple[str, ...], steps: list[str], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variant in ("top_only", "masks_fused"):  # lora has predicted nothing
        (settings.predictions / variant).mkdir(parents=True)
        (settings.predictions / variant / "0.parquet").touch()
    monkeypatch.setattr(tables, "tables_current", lambda _: "tables" not in stale)
    monkeypatch.setattr(explain, "gradcam_current", lambda _, variant: variant not in stale)
    monkeypatch.setattr(build, "report_current", lambda _: "report" not in stale)
    monkeypatch.setattr(champion, "champion_current", lambda _: "champion" not in stale)
    assert [step.label for step in report_steps(settings, chosen_variants(settings, ()))] == steps
