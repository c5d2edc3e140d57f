"""Looks at altered frames: by networks that never saw the driver, kept fold by fold, then stale."""

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.evaluation.predictions import read_predictions
from distracted_pipeline.evaluation.tables_io import read_rows
from distracted_pipeline.explanation.what_if import counterfactuals as stage
from distracted_pipeline.explanation.what_if import looks, mask_ablation, robustness
from distracted_pipeline.explanation.what_if.counterfactuals import STAGE, cases_path, counterfactuals
from distracted_pipeline.explanation.what_if.tables import Case, Effect, Look
from distracted_pipeline.settings import Settings
from distracted_pipeline_tests.explanation.what_if.conftest import QUIET, VARIANT


def test_an_unaltered_frame_is_answered_as_the_predictions_say(asked: Settings) -> None:
    table, parts = looks.take_looks(asked, STAGE, VARIANT, QUIET)
    predicted = {
        (str(img), replicate): float(part.probabilities[replicate, i, part.true[i]])
        for part in parts
        for i, img in enumerate(part.img)
        for replicate in range(len(part.probabilities))
    }
    plain = [row for row in table.to_pylist() if row["version"] == "original"]
    assert {row["replicate"] for row in plain} == {0, 1}
    for row in plain:
        assert row["p_true"] == pytest.approx(predicted[row["img"], row["replicate"]], abs=2e-3)


def test_only_drivers_that_the_asked_networks_never_saw_are_asked_about(asked: Settings) -> None:
    looks.take_looks(asked, STAGE, VARIANT, QUIET)
    parts = read_predictions(asked, [VARIANT]).parts
    for fold in ("0", "1"):
        path = looks.folder_of(asked, STAGE.asset, VARIANT) / f"fold-{fold}.parquet"
        assert {row.subject for row in read_rows(path, Look)} == set(parts[VARIANT, fold].subject.tolist())


def test_a_killed_run_goes_on_with_the_fold_that_it_lacks(own: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[str] = []

    def alter(settings: Settings, trained: Any, part: Any, options: Any) -> Any:
        if len(taken) == 1:
            taken.append("killed")
            raise KeyboardInterrupt
        taken.append(part.fold)
        return stage._alter(settings, trained, part, options)

    counted = replace(STAGE, alter=alter)
    with pytest.raises(KeyboardInterrupt):
        looks.take_looks(own, counted, VARIANT, QUIET)
    assert taken == ["0", "killed"]
    looks.take_looks(own, counted, VARIANT, QUIET)
    assert taken == ["0", "killed", "1"]
    looks.take_looks(own, counted, VARIANT, QUIET)
    assert len(taken) == 3


def test_effects_are_current_until_networks_masks_or_the_number_of_frames_change(own: Settings) -> None:
    assert looks.effects_inputs(own, STAGE, VARIANT) == ""
    effects = counterfactuals(own, VARIANT, QUIET)
    assert {effect.version for effect in effects} == {"erased", "blurred"}
    assert looks.known_effects(own, STAGE)[VARIANT]
    assert read_rows(looks.folder_of(own, STAGE.asset, VARIANT) / looks.EFFECTS_FILE, Effect) == effects
    assert not looks.effects_inputs(replace(own, why_frames=2), STAGE, VARIANT)
    case = read_rows(cases_path(own, VARIANT), Case)[0]
    assert case.original.startswith(b"\xff\xd8")
    assert case.original != case.erased != case.control
    record = own.models / VARIANT / "1" / "0" / "config.json"
    record.write_text(record.read_text().replace('"fingerprint": "', '"fingerprint": "0'))
    assert looks.known_effects(own, STAGE) == {VARIANT: ""}


def test_every_ablation_and_corruption_is_asked_of_the_same_networks(asked: Settings) -> None:
    ablated = mask_ablation.mask_ablation(asked, VARIANT, QUIET)
    assert {effect.version for effect in ablated} >= {"dropped", "eroded", "shifted"}
    corrupted = robustness.robustness(asked, VARIANT, QUIET)
    assert {effect.about for effect in corrupted} == {*robustness.CORRUPTIONS, "mirror"}
    assert all(effect.before is not None and effect.after is not None for effect in (*ablated, *corrupted))


def test_a_variant_that_reads_no_masks_has_none_to_lose(asked: Settings) -> None:
    with pytest.raises(DistractedError, match="top_only reads no masks"):
        mask_ablation.mask_ablation(asked, "top_only", QUIET)


def test_a_variant_without_predictions_is_told_to_run_first(asked: Settings) -> None:
    with pytest.raises(DistractedError, match="distracted run --variant top_only"):
        counterfactuals(asked, "top_only", QUIET)


def test_looks_are_sealed_and_record_their_inputs(asked: Settings) -> None:
    looks.take_looks(asked, STAGE, VARIANT, QUIET)
    path = looks.folder_of(asked, STAGE.asset, VARIANT) / "fold-0.parquet"
    assert b"inputs" in pq.read_schema(path).metadata
    np.testing.assert_array_equal(np.unique(pq.read_table(path)["replicate"].to_numpy()), [0, 1])
