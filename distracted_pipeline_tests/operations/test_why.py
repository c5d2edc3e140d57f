"""`distracted why`: which evidence is missing, and that nothing is asked where nothing is evaluated."""

from dataclasses import replace
from pathlib import Path

import pytest

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.operations import why as room
from distracted_pipeline.operations.missing import chosen_variants
from distracted_pipeline.settings import Settings
from distracted_pipeline_tests.variants.tiny import efficientnet

__all__ = ["efficientnet"]

VARIANTS = ("top_only", "masks_fused", "lora")


def predicted(settings: Settings, *variants: str) -> None:
    for variant in variants:
        (settings.predictions / variant).mkdir(parents=True)
        (settings.predictions / variant / "0.parquet").touch()


def test_evidence_that_is_missing_or_stale_is_made_for_the_variants_that_have_predicted(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    predicted(settings, "top_only", "masks_fused")
    by_variant = room.Evidence("erased", room.of_variants, lambda _, variant: variant == "top_only")
    alone = room.Evidence("premium", room.whole, lambda _, partition: False)
    monkeypatch.setattr(room, "EVIDENCE", (by_variant, alone))
    assert [(step.label, step.partition) for step in room.why_steps(settings, VARIANTS)] == [
        ("erased masks_fused", "masks_fused"),
        ("premium", None),
    ]


def test_where_nothing_is_evaluated_the_run_comes_first(tmp_path: Path) -> None:
    with pytest.raises(DistractedError, match=r"nothing is evaluated.*Type: distracted run"):
        room.run_why(Settings(data=tmp_path), log=lambda line: None)


def test_a_variant_that_waits_for_a_request_is_trained_here_and_by_its_name_alone(
    settings: Settings, efficientnet: Path
) -> None:
    rooted = replace(settings, backbone=str(efficientnet))
    assert list(room.requested(rooted)) == ["linear_probe_without_driver"]
    assert room.requested(rooted, ["top_only"]) == {}
    assert "linear_probe_without_driver" not in chosen_variants(rooted, ())
    assert list(chosen_variants(rooted, ["linear_probe_without_driver"])) == ["linear_probe_without_driver"]
