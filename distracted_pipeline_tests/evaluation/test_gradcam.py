"""Grad-CAM against captum and against itself, its lift by hand, and the stage over fake networks and masks."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor, nn

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.evaluation.gradcam import by_gradient, cams, choose, closed_form, gradcam_variant, lift
from distracted_pipeline.evaluation.predictions import read_predictions
from distracted_pipeline.settings import Settings
from distracted_pipeline_tests.evaluation.fakes import make_root, predict


class TinyNet(nn.Module):
    """The contract of a variant's network, in two layers; `linear` decides whether the closed form applies."""

    inputs = map_inputs = ("pixels",)

    def __init__(self, linear: bool = True, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.SiLU())
        self.pool: nn.Module = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Sequential() if linear else nn.Sequential(nn.Linear(8, 8), nn.Tanh())
        self.classifier = nn.Linear(8, 10)
        self.linear = linear

    def forward(self, pixels: Tensor) -> Tensor:
        return self.classifier(self.head(self.pool(self.body(pixels))))

    def forward_with_map(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        activation = self.body(batch["pixels"])
        return self.classifier(self.head(self.pool(activation))), activation

    def pooled_weights(self) -> Tensor | None:
        return self.classifier.weight.detach() if self.linear else None


@pytest.fixture
def batch() -> dict[str, Tensor]:
    return {"pixels": torch.randn(6, 3, 16, 20, generator=torch.Generator().manual_seed(1))}


TARGET = torch.tensor([0, 3, 9, 3, 1, 7])


def test_the_closed_form_equals_the_gradient(batch: dict[str, Tensor]) -> None:
    net = TinyNet().eval()
    _, activation = net.forward_with_map(batch)
    every_class = closed_form(net.pooled_weights(), activation)
    assert every_class.shape == (6, 10, 8, 10)
    torch.testing.assert_close(every_class[range(6), TARGET], by_gradient(net, batch, TARGET), atol=1e-5, rtol=0)


@pytest.mark.parametrize("linear", [True, False])
def test_both_ways_equal_captum(batch: dict[str, Tensor], linear: bool) -> None:
    from captum.attr import LayerGradCam

    net = TinyNet(linear).eval()
    theirs = LayerGradCam(net, net.body).attribute(batch["pixels"], target=TARGET, relu_attributions=True)[:, 0]
    assert theirs.max() > 1e-3
    torch.testing.assert_close(by_gradient(net, batch, TARGET), theirs, atol=1e-5, rtol=0)
    torch.testing.assert_close(cams(net, batch, TARGET[:, None])[:, 0], theirs, atol=1e-5, rtol=0)


def test_a_head_that_tells_positions_apart_is_explained_position_by_position(batch: dict[str, Tensor]) -> None:
    from captum.attr import LayerGradientXActivation

    net = TinyNet()
    net.pool, net.classifier, net.linear = nn.Flatten(), nn.Linear(8 * 8 * 10, 10), False
    theirs = LayerGradientXActivation(net.eval(), net.body).attribute(batch["pixels"], target=TARGET).sum(1).relu()
    torch.testing.assert_close(by_gradient(net, batch, TARGET), theirs, atol=1e-5, rtol=0)
    assert (theirs.flatten(1).amax(1) > 0).all()


@pytest.mark.parametrize("linear", [True, False])
def test_several_targets_per_image_are_those_one_by_one(batch: dict[str, Tensor], linear: bool) -> None:
    net = TinyNet(linear).eval()
    other = TARGET.flip(0)
    both = cams(net, batch, torch.stack([TARGET, other], 1))
    torch.testing.assert_close(both[:, 0], by_gradient(net, batch, TARGET))
    torch.testing.assert_close(both[:, 1], by_gradient(net, batch, other))


@pytest.mark.parametrize("linear", [True, False])
def test_a_frozen_network_is_explained_alike_and_keeps_no_gradients(batch: dict[str, Tensor], linear: bool) -> None:
    net = TinyNet(linear).eval()
    free = cams(net, batch, TARGET[:, None])
    with torch.no_grad():
        frozen = cams(net.requires_grad_(False), batch, TARGET[:, None])
    torch.testing.assert_close(frozen, free)
    assert not frozen.requires_grad
    assert batch["pixels"].grad is None
    assert not batch["pixels"].requires_grad


def test_random_weights_explain_otherwise(batch: dict[str, Tensor]) -> None:
    """Adebayo et al. 2018: a map that survives other weights shows the image, not the network."""
    one, other = (cams(TinyNet(seed=seed).eval(), batch, TARGET[:, None]).flatten(1) for seed in (0, 1))
    alike = [np.corrcoef(a, b)[0, 1] for a, b in zip(one, other, strict=True) if a.any() and b.any()]
    assert len(alike) > 2
    assert np.mean(alike) < 0.5


def test_lift_is_energy_over_area() -> None:
    mask = np.zeros((4, 4), np.uint8)
    mask[:, :2] = 1  # person: half of the image
    mask[0, 2] = 3  # cell phone: one of sixteen pixels
    cam = np.zeros((4, 4))
    cam[0] = 1  # the top row: two pixels of the person, the phone, one of neither
    found = lift(cam, mask)
    assert found["person"] == pytest.approx(0.5 / 0.5)
    assert found["cell phone"] == pytest.approx(0.25 / (1 / 16))
    assert found["cup"] is None


def test_a_uniform_cam_lifts_nothing_at_any_resolution() -> None:
    mask = np.random.default_rng(0).integers(0, 7, (48, 64), dtype=np.uint8)
    assert list(lift(np.full((7, 10), 0.3), mask).values()) == pytest.approx([1.0] * 6, rel=1e-5)


def test_a_cam_of_zeros_has_no_lift() -> None:
    assert set(lift(np.zeros((3, 4)), np.ones((6, 8), np.uint8)).values()) == {None}


@dataclass
class FakeTrained:
    net: nn.Module
    config: SimpleNamespace


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Predictions of `other`, networks and masks that stand in for the real ones; p003's images have no mask."""
    from distracted_pipeline.masks import cache
    from distracted_pipeline.training import checkpoint, inputs

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

    def pixels(settings: Settings, names: Sequence[str], imgs: Sequence[str], *, model_name: str | None) -> dict:
        assert tuple(names) == ("pixels",)
        seeds = [torch.Generator().manual_seed(int.from_bytes(img.encode()[:6])) for img in imgs]
        return {"pixels": torch.stack([torch.randn(3, 16, 20, generator=seed) for seed in seeds])}

    def network(settings: Settings, variant: str, fold: str, device: str) -> FakeTrained:
        return FakeTrained(TinyNet(seed=int(fold)).eval().requires_grad_(False), SimpleNamespace(model_name=None))

    monkeypatch.setattr(cache, "open_cache", lambda settings: FakeCache())
    monkeypatch.setattr(inputs, "load_inputs", pixels)
    monkeypatch.setattr(checkpoint, "is_trained", lambda settings, variant, fold: fold != "4")
    monkeypatch.setattr(checkpoint, "load_trained", network)
    return root


def silent(_line: str) -> None:
    pass


def test_right_and_confused_images_are_explained_for_predicted_and_true_class(root: Settings) -> None:
    result = gradcam_variant(root, "other", images_per_class=2, device="cpu", log=silent)
    rows = result.rows.to_pandas()
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


def test_lifts_are_there_where_masks_are_and_the_others_are_named(root: Settings) -> None:
    result = gradcam_variant(root, "other", images_per_class=5, device="cpu", log=silent)
    rows = result.rows.to_pandas()
    unmasked = rows["subject"] == "p003"
    assert unmasked.any()
    assert rows[unmasked]["lift_person"].isna().all()
    assert rows[~unmasked & ~rows["all_zero"]]["lift_cell_phone"].notna().all()
    assert rows["lift_cup"].isna().all()
    assert any("explained images have no mask, so no lift, p003" in line for line in result.missing)


def test_the_files_hold_what_was_returned_and_come_out_alike_again(root: Settings) -> None:
    first = gradcam_variant(root, "other", images_per_class=1, device="cpu", log=silent)
    folder = root.evaluation / "gradcam" / "other"
    assert pq.read_table(folder / "rows.parquet").equals(first.rows)
    with np.load(folder / "cams.npz", allow_pickle=False) as arrays:
        assert (arrays["cams"] == first.cams).all()
    again = gradcam_variant(root, "other", images_per_class=1, device="cpu", log=silent)
    assert again.rows.equals(first.rows)
    assert (again.cams == first.cams).all()


def test_maps_that_are_zero_everywhere_are_flagged(root: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    from distracted_pipeline.training import checkpoint

    net = TinyNet().eval()
    nn.init.zeros_(net.classifier.weight)
    monkeypatch.setattr(checkpoint, "load_trained", lambda *_: FakeTrained(net, SimpleNamespace(model_name=None)))
    result = gradcam_variant(root, "other", images_per_class=1, device="cpu", log=silent)
    assert all(result.rows["all_zero"].to_pylist())
    assert not result.cams.any()
    assert result.rows["lift_person"].null_count == result.rows.num_rows


def test_without_a_segmenter_there_are_cams_and_no_lifts(root: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    from distracted_pipeline.masks import cache

    def no_segmenter(settings: Settings) -> None:
        raise DistractedError("no weights")

    monkeypatch.setattr(cache, "open_cache", no_segmenter)
    result = gradcam_variant(root, "other", images_per_class=1, device="cpu", log=silent)
    assert result.rows["lift_person"].null_count == result.rows.num_rows > 0
    assert "no lifts, because there are no masks: no weights" in result.missing


def test_without_predictions_the_next_command_is_named(root: Settings) -> None:
    with pytest.raises(DistractedError, match="base: no predictions yet. Run `distracted run --variant base`"):
        gradcam_variant(root, "base", log=silent)


def test_the_choice_spreads_over_drivers_and_ignores_the_order_of_parts(root: Settings) -> None:
    parts = read_predictions(root, ["other"]).of("other", "oof")
    chosen = choose(parts, 4)
    subjects = [parts[i].subject[row] for i, row, kind in chosen if kind == "correct" and parts[i].true[row] == 1]
    assert subjects == ["p000", "p004", "p007", "p011"]
    confused = [parts[i].subject[row] for i, row, kind in chosen if kind == "confused" and parts[i].true[row] == 2]
    assert confused == ["p001", "p002", "p003", "p004"]
    backwards = parts[::-1]
    names = [(parts[i].img[row], kind) for i, row, kind in chosen]
    assert [(backwards[i].img[row], kind) for i, row, kind in choose(backwards, 4)] == names


def test_a_driver_gives_more_than_one_image_where_drivers_are_few(tmp_path: Path) -> None:
    root = make_root(tmp_path / "few", drivers=("p0", "p1"))
    predict(root, "base", ["0", "1"])
    parts = read_predictions(root, ["base"]).of("base", "oof")
    chosen = [parts[i].img[row] for i, row, _ in choose(parts, 4) if parts[i].true[row] == 0]
    assert chosen == ["p0_c0_0.jpg", "p1_c0_0.jpg", "p0_c0_1.jpg", "p1_c0_1.jpg"]
