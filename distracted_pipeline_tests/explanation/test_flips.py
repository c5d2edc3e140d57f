"""Which flips are explained: those of every comparison that a variant takes part in, by both of its sides."""

import numpy as np
import pytest

from distracted_pipeline.evaluation.predictions import read_predictions
from distracted_pipeline.explanation.explain import gradcam_current, gradcam_variant
from distracted_pipeline.explanation.flips import FLIPS, choose_flips, flipped, flips_of, partners
from distracted_pipeline.explanation.selection import choose
from distracted_pipeline.options import RunOptions
from distracted_pipeline.settings import Settings
from distracted_pipeline_tests.evaluation.fakes import predict
from distracted_pipeline_tests.explanation.fakes import replace_networks


def test_a_flip_is_right_in_one_and_wrong_in_the_other_and_needs_both() -> None:
    true, before, after = np.array([0, 0, 0, 0, 0]), np.array([1, 0, 1, -1, 0]), np.array([0, 2, 2, 0, 0])
    gained, lost = flipped(true, before, after)
    assert gained.tolist() == [True, False, False, False, False]
    assert lost.tolist() == [False, True, False, False, False]


def test_flips_are_chosen_by_class_over_many_drivers_whatever_their_order() -> None:
    imgs = [f"{driver}_{i}.jpg" for driver in "abcdefgh" for i in range(5)]
    subjects, true = [img[0] for img in imgs], np.arange(40) % 2
    flips = np.ones(40, bool)
    chosen = choose_flips(imgs, subjects, true, flips, 10)
    assert len(chosen) == 2 * 10
    assert {subjects[place] for place in chosen[:10]} == set("abcdefgh"), "every driver, before any has a second"
    backwards = choose_flips(imgs[::-1], subjects[::-1], true[::-1], flips, 10)
    assert {imgs[::-1][place] for place in backwards} == {imgs[place] for place in chosen}
    assert choose_flips(imgs, subjects, true, ~flips) == []


@pytest.fixture
def compared(own_root: Settings) -> Settings:
    """A data root where two variants are wrong about other classes."""
    predict(own_root, own_root.baseline, wrong={1: 2})
    predict(own_root, "linear_probe", wrong={3: 1})
    return own_root


def test_both_sides_of_a_comparison_explain_the_same_flips(compared: Settings) -> None:
    names = (compared.baseline, "linear_probe")
    assert [partners(compared, name) for name in names] == [["linear_probe"], [compared.baseline]]
    found = read_predictions(compared, names)
    flips = [flips_of(compared, found, name) for name in names]
    assert flips[0] == flips[1]
    assert 0 < len(flips[0]) <= 2 * FLIPS
    parts = found.of("linear_probe", "oof")
    explained = {str(parts[i].img[row]) for i, row, _ in choose(parts, 1, compared.dataset.class_ids, flips[0])}
    assert flips[0] <= explained


def test_cams_are_made_again_where_what_a_variant_is_compared_with_predicts_otherwise(
    compared: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_networks(monkeypatch)
    gradcam_variant(compared, "linear_probe", RunOptions("cpu", log=lambda _: None))
    assert gradcam_current(compared, "linear_probe")
    predict(compared, "masks_only", wrong={5: 1})
    assert gradcam_current(compared, "linear_probe"), "another comparison, and not its reference's"
    predict(compared, compared.baseline, wrong={4: 2})
    assert not gradcam_current(compared, "linear_probe")
