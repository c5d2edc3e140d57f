"""The checker that says whether the demo's finding is what was drawn: it must be able to say no."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from distracted_pipeline.dataset import STATE_FARM
from distracted_pipeline.demo import story
from distracted_pipeline.demo.poses import PLANTED
from distracted_pipeline.evaluation.tables import class_accuracy
from distracted_pipeline.scopes import CROSS_FOLDS
from distracted_pipeline.settings import Settings
from distracted_pipeline.variants.config import load_catalogue
from distracted_pipeline_tests.evaluation.fakes import DRIVERS, make_root, predict

PLANTED_NUMBERS = [STATE_FARM.class_ids.index(name) for name in PLANTED]
CONFUSED = dict(zip(PLANTED_NUMBERS, PLANTED_NUMBERS[1:] + PLANTED_NUMBERS[:1], strict=True))
"""What a classifier without masks says: every planted class is taken for another."""


def answer(settings: Settings, variant: str, wrong: dict[int, int] | None = None) -> None:
    """Write predictions that are wrong for all drivers but one, so that something varies."""
    predict(settings, variant, CROSS_FOLDS, wrong, drivers=DRIVERS[1:])


@pytest.fixture
def root(tmp_path: Path) -> Settings:
    """Twelve drivers, a baseline that fails on the planted classes, and no other predictions yet."""
    settings = make_root(tmp_path, frames=1)
    own = {"top_only": "{kind: top_only}", "placebo": "{kind: top_only, seed: 1}", "masks_fused": "{control: null}"}
    entries = dict.fromkeys(load_catalogue(Settings(data=tmp_path)), "null") | own
    (tmp_path / "variants.yaml").write_text("".join(f"{name}: {entry}\n" for name, entry in entries.items()))
    (tmp_path / "settings.env").write_text("DISTRACTED_VARIANTS=variants.yaml\n")
    settings = Settings(data=tmp_path, variants_file=settings.variants_file, baseline="top_only")
    answer(settings, "top_only", CONFUSED)
    return settings


@pytest.fixture(autouse=True)
def iou(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """What the cached masks are said to reach; measuring them is `test_mask_quality`."""
    reached = {"person": 0.95, "cell phone": 0.8, "chair": 0.97}
    monkeypatch.setattr(story, "cached_iou", lambda settings: reached)
    return reached


def told(settings: Settings) -> dict[str, bool | None]:
    class_accuracy(settings, log=lambda _: None)
    return {finding.text.split(":")[0]: finding.holds for finding in story.findings(settings)}


def test_the_planted_effect_and_a_placebo_that_does_nothing_are_found(root: Settings) -> None:
    answer(root, "masks_fused")
    answer(root, "placebo", CONFUSED)
    assert told(root) == {"masks_fused": True, "placebo": True}
    result = CliRunner().invoke(story.main, ["--data", str(root.data)])
    assert result.exit_code == 0, result.output
    assert f"masks_fused: improves {', '.join(PLANTED)}, worsens none" in result.output


def test_a_planted_class_that_is_not_improved_is_noticed(root: Settings) -> None:
    first = PLANTED_NUMBERS[0]
    answer(root, "masks_fused", {first: CONFUSED[first]})
    answer(root, "placebo", CONFUSED)
    assert told(root) == {"masks_fused": False, "placebo": True}
    assert CliRunner().invoke(story.main, ["--data", str(root.data)]).exit_code == 1


def test_an_effect_in_a_class_where_none_is_planted_is_noticed(root: Settings) -> None:
    answer(root, "top_only", {**CONFUSED, 5: 6})
    answer(root, "masks_fused")
    answer(root, "placebo", {**CONFUSED, 5: 6})
    assert told(root) == {"masks_fused": False, "placebo": True}


def test_a_class_made_worse_is_noticed(root: Settings) -> None:
    answer(root, "masks_fused", {5: 6})
    answer(root, "placebo", CONFUSED)
    assert told(root) == {"masks_fused": False, "placebo": True}


def test_a_placebo_that_differs_is_noticed(root: Settings) -> None:
    answer(root, "masks_fused")
    answer(root, "placebo")
    assert told(root) == {"masks_fused": True, "placebo": False}


def test_masks_that_miss_what_was_drawn_are_noticed(root: Settings, iou: dict[str, float]) -> None:
    answer(root, "masks_fused")
    answer(root, "placebo", CONFUSED)
    class_accuracy(root, log=lambda _: None)
    iou["cell phone"] = 0.4
    result = CliRunner().invoke(story.main, ["--data", str(root.data)])
    assert result.exit_code == 1
    assert "NOT as drawn" in result.output
    assert "cell phone 0.40" in result.output


def test_without_the_variants_there_is_no_finding(root: Settings) -> None:
    answer(root, "masks_fused")
    assert told(root) == {"masks_fused": True, "placebo": False}
    result = CliRunner().invoke(story.main, ["--data", str(root.data)])
    assert result.exit_code == 1
    assert "placebo: no out-of-fold results" in result.output


def test_without_tables_the_next_command_is_named(root: Settings) -> None:
    result = CliRunner().invoke(story.main, ["--data", str(root.data)])
    assert result.exit_code == 1
    assert "distracted run" in result.output
