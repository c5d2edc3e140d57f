"""`distracted why`: which evidence is missing, and that nothing is asked where nothing is evaluated."""

from pathlib import Path

import pytest

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.operations import why as room
from distracted_pipeline.settings import Settings

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
