"""The stage `gradcam` over fake networks and masks: what is chosen, averaged, written, and what is missing."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

from distracted_pipeline.dataset import STATE_FARM, Category
from distracted_pipeline.errors import DistractedError, NoMap
from distracted_pipeline.evaluation.predictions import read_predictions, write_predictions
from distracted_pipeline.explanation import explain, gradcam
from distracted_pipeline.explanation import selection as choice
from distracted_pipeline.explanation.explain import gradcam_current, gradcam_folder, gradcam_variant
from distracted_pipeline.explanation.passes import Plan, explain_rows
from distracted_pipeline.explanation.selection import choose, few_each
from distracted_pipeline.options import RunOptions
from distracted_pipeline.settings import Settings
from distracted_pipeline_tests.evaluation.fakes import held_out, make_root, predict, right, table, trainings
from distracted_pipeline_tests.evaluation.tiny import TinyNet
from distracted_pipeline_tests.explanation.fakes import FakeTrained, replace_networks


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Predictions of `other`, networks and masks that stand in for the real ones; p003's images have no mask."""
    from distracted_pipeline.masks import cache

    root = make_root(tmp_path / "data")
    predict(root, "other", wrong={2: 0, 5: 8}, drivers=["p001", "p002", "p003", "p004"])

    class FakeCache:
        def imgs(self, subject: str) -> list[str]:
            return [] if subject == "p003" else [f"{subject}_c{c}_{f}.jpg" for c in range(10) for f in range(3)]

        def mask(self, img: str) -> np.ndarray:
            assert not img.startswith("p003")
            mask = np.ones((48, 64), np.uint8)
            mask[:8] = 3
            return mask

        def content(self, subjects: Sequence[str]) -> str:
            return "masks"

    monkeypatch.setattr(cache, "open_cache", lambda settings: FakeCache())
    replace_networks(monkeypatch, untrained=["4"])
    return root


@pytest.fixture
def none_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the images that a variant is surest about are chosen."""
    monkeypatch.setattr(choice, "SHARED", 0)


def silent(_line: str) -> None:
    pass


CLASS_IDS = STATE_FARM.class_ids
QUIET = RunOptions("cpu", log=silent)


@pytest.mark.usefixtures("none_shared")
def test_right_and_confused_images_are_explained_for_predicted_and_true_class(root: Settings) -> None:
    result = gradcam_variant(root, "other", QUIET, images_per_class=2)
    rows = result.table().to_pandas()
    assert (rows[rows["kind"] == "correct"]["target"] == "predicted").all()
    assert rows[rows["kind"] == "correct"].groupby("true").size().tolist() == [2] * 10
    confused = rows[rows["kind"] == "confused"]
    assert confused.groupby(["true", "predicted", "target"]).size().to_dict() == {
        (2, 0, "predicted"): 2,
        (2, 0, "true"): 2,
        (5, 8, "predicted"): 2,
        (5, 8, "true"): 2,
    }
    assert rows["true"].is_monotonic_increasing
    pairs = confused.groupby("img")["target"].agg(list).tolist()
    assert pairs == [["predicted", "true"]] * 4
    assert result.cams.shape == (28, 8, 10)
    assert (result.cams.reshape(28, -1).max(1) == np.where(rows["all_zero"], 0, 255)).all()
    assert "other: no current checkpoint for fold 4" in result.missing
    assert "4" not in set(rows["fold"])


def test_maps_and_contributions_are_means_over_the_trainings_of_a_fold(
    root: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Averaged as they are: each image's own maps, before anything is scaled."""
    from distracted_pipeline.training import checkpoint

    load, part = checkpoint.load_trained, read_predictions(root, ["other"]).parts["other", "0"]
    each = [load(root, "other", "0", "cpu", replicate) for replicate in range(3)]
    plan, rows = Plan(None, np.arange(2), True), [0, 1, 40]
    alone = [list(explain_rows(root, [one], plan, part, rows, set(), QUIET)) for one in each]
    together = list(explain_rows(root, each, plan, part, rows, set(), QUIET))
    for i, found in enumerate(together):
        single = np.stack([one[i].cams for one in alone])
        assert found.cams == pytest.approx(single.mean(0), abs=1e-6)
        assert np.abs(single - single[0]).max() > 1e-3
    loaded: list[tuple[str, int]] = []

    def spy(settings: Settings, variant: str, fold: str, device: str, replicate: int) -> FakeTrained:
        loaded.append((fold, replicate))
        return load(settings, variant, fold, device, replicate)

    monkeypatch.setattr(checkpoint, "load_trained", spy)
    gradcam_variant(root, "other", QUIET, images_per_class=1)
    assert loaded == [(fold, replicate) for fold in "0123" for replicate in range(3)]


def test_the_class_explained_is_the_one_that_the_trainings_say_together(root: Settings) -> None:
    images = held_out(root, "0")
    true = right(images)
    each = [table(images, true, sure=0.45), table(images, (true + 1) % 10, sure=0.99), table(images, true, sure=0.5)]
    write_predictions(root, "other", "0", trainings(each))
    part = read_predictions(root, ["other"]).parts["other", "0"]
    assert (part.predicted == (part.true + 1) % 10).all()
    result = gradcam_variant(root, "other", QUIET, images_per_class=1)
    assert all(row.kind == "confused" for row in result.rows if row.fold == "0")


def test_lifts_are_there_where_masks_are_and_the_others_are_named(root: Settings) -> None:
    result = gradcam_variant(root, "other", QUIET, images_per_class=5)
    rows = result.table().to_pandas()
    unmasked = rows["subject"] == "p003"
    assert unmasked.any()
    assert rows[unmasked]["lift_person"].isna().all()
    assert rows[~unmasked & ~rows["all_zero"]]["lift_cell_phone"].notna().all()
    assert rows["lift_cup"].isna().all()
    assert any("explained images have no mask, so no lift, p003" in line for line in result.missing)


def test_the_files_hold_what_was_returned_and_come_out_alike_again(
    root: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = gradcam_variant(root, "other", QUIET, images_per_class=1)
    folder = root.evaluation / "gradcam" / "other"
    assert pq.read_table(folder / "rows.parquet").equals(first.table())
    with np.load(folder / "cams.npz", allow_pickle=False) as arrays:
        assert (arrays["cams"] == first.cams).all()
    sizes: list[int] = []
    whole = gradcam.explained

    def spy(net: Any, batch: dict[str, torch.Tensor], targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        sizes.append(len(targets))
        return whole(net, batch, targets)

    monkeypatch.setattr(gradcam, "explained", spy)
    again = gradcam_variant(root, "other", RunOptions("cpu", batch_size=64, log=silent), images_per_class=1)
    assert max(sizes) == 64
    assert again.table().equals(first.table())
    assert (again.cams == first.cams).all()


def test_maps_that_are_zero_everywhere_are_flagged(root: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    from distracted_pipeline.training import checkpoint

    net = TinyNet().eval()
    nn.init.zeros_(net.classifier.weight)
    monkeypatch.setattr(checkpoint, "load_trained", lambda *_: FakeTrained(net, SimpleNamespace(model_name=None)))
    result = gradcam_variant(root, "other", QUIET, images_per_class=1)
    assert all(row.all_zero for row in result.rows)
    assert not result.cams.any()
    assert result.table()["lift_person"].null_count == len(result.rows)


def test_without_a_segmenter_there_are_cams_and_no_lifts(root: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    from distracted_pipeline.masks import cache

    def no_segmenter(settings: Settings) -> None:
        raise DistractedError("no weights")

    monkeypatch.setattr(cache, "open_cache", no_segmenter)
    result = gradcam_variant(root, "other", QUIET, images_per_class=1)
    assert result.table()["lift_person"].null_count == len(result.rows) > 0
    assert "no lifts, because there are no masks: no weights" in result.missing


def test_a_network_without_a_map_is_left_out_for_good_and_said_so(
    root: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    gradcam_variant(root, "other", RunOptions(log=silent))
    folder = gradcam_folder(root, "other")
    assert (folder / "rows.parquet").is_file()

    def none(*_args: object) -> None:
        raise NoMap("vit ends in tokens, not in a map")

    monkeypatch.setattr("distracted_pipeline.explanation.gradcam.explained", none)
    with pytest.raises(NoMap, match="vit ends in tokens"):
        gradcam_variant(root, "other", RunOptions(log=silent))
    assert [path.name for path in folder.iterdir()] == ["left_out.json"]
    assert gradcam_current(root, "other")
    predict(root, "other", wrong={3: 1}, drivers=["p001", "p002", "p003", "p004"])
    assert not gradcam_current(root, "other")
    monkeypatch.undo()


def test_without_predictions_the_next_command_is_named(root: Settings) -> None:
    with pytest.raises(DistractedError, match="base: no predictions yet. Run `distracted run --variant base`"):
        gradcam_variant(root, "base", QUIET)


def test_some_images_of_each_class_are_explained_whatever_the_variant(root: Settings) -> None:
    """The variants differ in what they get wrong, in one fold that is missing, and in the order of their parts."""
    predict(root, "base", ["0", "1", "2", "3"], wrong={4: 7})

    def of_class(variant: str, c: int) -> list[tuple[str, str]]:
        parts = read_predictions(root, [variant]).of(variant, "oof")[:: -1 if variant == "base" else 1]
        return [(parts[i].img[row], kind) for i, row, kind in choose(parts, 2, CLASS_IDS) if parts[i].true[row] == c]

    common = 0
    for c in range(10):
        other, base = of_class("other", c), of_class("base", c)
        assert len({img.split("_")[0] for img, _ in other[:3]}) == 3, "each of another driver"
        assert all(kind == ("confused" if c == 4 else "correct") for _, kind in base)
        there = [img for img, _ in other[:3] if int(img[1:4]) % 5 != 4]
        assert [img for img, _ in base[:3] if img in there] == there
        common += len(there)
        assert len({img for img, _ in other}) == len(other)
    assert 20 <= common < 30


@pytest.mark.usefixtures("none_shared")
def test_the_choice_spreads_over_drivers_and_ignores_the_order_of_parts(root: Settings) -> None:
    parts = read_predictions(root, ["other"]).of("other", "oof")
    chosen = choose(parts, 4, CLASS_IDS)
    subjects = [parts[i].subject[row] for i, row, kind in chosen if kind == "correct" and parts[i].true[row] == 1]
    assert subjects == ["p000", "p004", "p007", "p011"]
    confused = [parts[i].subject[row] for i, row, kind in chosen if kind == "confused" and parts[i].true[row] == 2]
    assert confused == ["p001", "p002", "p003", "p004"]
    backwards = parts[::-1]
    names = [(parts[i].img[row], kind) for i, row, kind in chosen]
    assert [(backwards[i].img[row], kind) for i, row, kind in choose(backwards, 4, CLASS_IDS)] == names


@pytest.mark.usefixtures("none_shared")
def test_a_driver_gives_more_than_one_image_where_drivers_are_few(tmp_path: Path) -> None:
    root = make_root(tmp_path / "few", drivers=("p0", "p1"))
    predict(root, "base", ["0", "1"])
    parts = read_predictions(root, ["base"]).of("base", "oof")
    chosen = [parts[i].img[row] for i, row, _ in choose(parts, 4, CLASS_IDS) if parts[i].true[row] == 0]
    assert chosen == ["p0_c0_0.jpg", "p1_c0_0.jpg", "p0_c0_1.jpg", "p1_c0_1.jpg"]


def test_few_images_of_each_driver_and_class_are_averaged_whatever_the_order(root: Settings) -> None:
    part = read_predictions(root, ["other"]).of("other", "oof")[0]
    rows = few_each(part, 2)
    cells = [(part.subject[row], part.true[row]) for row in rows]
    assert len(set(cells)) == 30
    assert len(cells) == 60
    assert sorted(part.img[rows].tolist())[:2] == ["p000_c0_0.jpg", "p000_c0_2.jpg"]
    assert len(few_each(part, 9)) == len(part.img)


def test_means_are_taken_by_driver_and_say_what_they_rest_on(root: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explain, "SAMPLE", 2)
    result = gradcam_variant(root, "other", QUIET, images_per_class=1)
    folder = root.evaluation / "gradcam" / "other"
    with np.load(folder / "driver_means.npz", allow_pickle=False) as arrays:
        assert arrays["drivers"].tolist() == [f"p{d:03d}" for d in range(12) if d % 5 != 4]
        assert arrays["means"].shape == (10, 10, 8, 10)
        assert arrays["class_means"].shape == (10, 8, 10)
        assert arrays["counts"].max() == 2
        peaks = arrays["means"].reshape(10, 10, -1).max(-1)
        assert (peaks == np.where(arrays["counts"] > 0, 255, 0)).all()
        empty = 10 * 10 * 2 - arrays["counts"].sum()
    words = "200 of 300 held-out images, up to 2 of each driver and class"
    assert result.averaged == words + (f", less {empty} with an empty CAM" if empty else "")
    lifts = pq.read_table(folder / "lift.parquet")
    assert lifts.schema.metadata[b"averaged"].decode() == result.averaged
    rows = {(row["class_id"], row["category"]): row for row in lifts.to_pylist()}
    assert len(rows) == 11 * 6
    person = rows["all", "person"]
    assert person["drivers"] == 9  # p003's images have no mask
    assert person["low"] < person["lift"] < person["high"]
    assert rows["0", "cup"] == {
        "class_id": "0",
        "category": "cup",
        "lift": None,
        "low": None,
        "high": None,
        "permuted": None,
        "ratio": None,
        "ratio_low": None,
        "ratio_high": None,
        "luck": None,
        "drivers": 0,
        "images": 0,
    }


def test_a_data_set_of_four_classes_and_three_categories_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from distracted_pipeline.masks import cache

    classes = ("drive", "phone_l", "phone_r", "drink")
    categories = tuple(Category(name, (0, 0, 0)) for name in ("driver", "phone", "water bottle"))
    toy = dataclasses.replace(STATE_FARM, class_ids=classes, class_names=classes, categories=categories)
    root = make_root(tmp_path / "data", dataset=toy)
    predict(root, "base", wrong={1: 2})

    class Masks:
        def imgs(self, subject: str) -> list[str]:
            return [f"{subject}_c{c}_{f}.jpg" for c in range(4) for f in range(3)]

        def mask(self, img: str) -> np.ndarray:
            return np.repeat(np.array([[0, 1, 2, 3]], np.uint8), 8, 0).repeat(16, 1)

        def content(self, subjects: Sequence[str]) -> str:
            return "masks"

    monkeypatch.setattr(cache, "open_cache", lambda settings: Masks())
    replace_networks(monkeypatch)
    result = gradcam_variant(root, "base", QUIET, images_per_class=1)
    assert {row.true for row in result.rows} == {0, 1, 2, 3}
    assert result.table().schema.names[-3:] == ["lift_driver", "lift_phone", "lift_water_bottle"]
    assert result.rows[0].lift("water bottle") == result.table()["lift_water_bottle"][0].as_py()
    with np.load(result.folder / "driver_means.npz", allow_pickle=False) as arrays:
        assert arrays["class_means"].shape == (4, 8, 10)
    assert len(pq.read_table(result.folder / "lift.parquet")) == 5 * 3
