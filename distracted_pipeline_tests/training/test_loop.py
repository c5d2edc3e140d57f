"""The loop: it learns, it repeats itself exactly, it keeps the best epoch, and it stops at NaN."""

from pathlib import Path

import numpy as np
import pytest
import torch

from distracted_pipeline.training.inputs import Rows
from distracted_pipeline.training.loop import (
    Epoch,
    _is_better,
    fit,
    jitter,
    load_learned,
    predict_logits,
    rate_factor,
    score,
)
from distracted_pipeline.variants.backbones import load_backbone
from distracted_pipeline.variants.networks import VariantNet, build_network
from distracted_pipeline_tests.variants.tiny import SIDE, settings_for, variant

CPU = torch.device("cpu")


def quiet(line: str) -> None:
    """Drop a log line."""


@pytest.fixture(scope="module")
def rows(efficientnet: Path) -> dict[str, Rows]:
    """The same 60 images as pixels, taps (fp32) and fractions, with labels that the images tell."""
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 10
    pixels = rng.integers(0, 60, (60, 3, SIDE, SIDE), dtype=np.uint8)
    for i, label in enumerate(labels):
        pixels[i, label % 3, :, 3 * label : 3 * label + 3] = 250
    fractions = torch.zeros(60, 7, 60, 80, dtype=torch.float16)
    fractions[:, 0] = 1
    for i, label in enumerate(labels):
        fractions[i, 1 + label % 6, :, 8 * label : 8 * label + 8] = 1
    backbone = load_backbone(settings_for(efficientnet))
    images = torch.from_numpy(pixels)
    with torch.no_grad():
        taps = backbone.trunk.taps(backbone.preprocessing.normalise(images), ["pooled", "last_block", "block3_input"])
    raw = {"pixels": images, "fractions": fractions, **taps}
    target = torch.from_numpy(labels)
    return {name: Rows({name: values}, target, backbone.preprocessing) for name, values in raw.items()}


def fresh(efficientnet: Path, kind: str, **fields: object) -> VariantNet:
    config = variant(kind, **fields)
    return build_network(config, load_backbone(settings_for(efficientnet)) if config.taps else None)


def test_the_convex_probe_reaches_its_optimum(efficientnet: Path, rows: dict[str, Rows]) -> None:
    config = variant("linear_probe", optimizer="lbfgs", top_lr=1.0, top_decay=1.0, epochs=30)
    net = fresh(efficientnet, "linear_probe", optimizer="lbfgs", top_lr=1.0, top_decay=1.0, epochs=30)
    net.standardise.fit(rows["pooled"].raw["pooled"])
    result = fit(net, rows["pooled"], rows["pooled"], config, CPU, quiet)
    from sklearn.linear_model import LogisticRegression

    scaled = net.standardise(rows["pooled"].raw["pooled"]).numpy()
    reference = LogisticRegression(C=1.0, max_iter=5000, tol=1e-10).fit(scaled, rows["pooled"].labels)
    ours = predict_logits(net, rows["pooled"], CPU).softmax(1).numpy()
    assert np.abs(ours - reference.predict_proba(scaled)).max() < 2e-3
    assert result.history[-1].train_loss < result.history[0].train_loss


@pytest.mark.parametrize("optimizer", ["adadelta", "adamw"])
def test_masks_alone_are_learnt(rows: dict[str, Rows], optimizer: str) -> None:
    config = variant("masks_only", optimizer=optimizer, top_lr={"adadelta": 1.0, "adamw": 0.01}[optimizer], epochs=8)
    net = build_network(config, None)
    result = fit(net, rows["fractions"], rows["fractions"], config, CPU, quiet)
    assert result.best is not None
    assert max(line.validation_macro_recall for line in result.history) > 0.8


def test_training_from_the_cached_tap_is_training_from_pixels(efficientnet: Path, rows: dict[str, Rows]) -> None:
    losses = {}
    for start in ("last_block", "pixels"):
        net = fresh(efficientnet, "top_only")
        net.inputs = (start,)
        config = variant("top_only", epochs=5, batch_size=15)  # 20 steps
        losses[start] = [line.train_loss for line in fit(net, rows[start], rows[start], config, CPU, quiet).history]
    assert np.allclose(losses["last_block"], losses["pixels"], atol=1e-5)


def test_adapters_from_the_cached_tap_learn_as_from_pixels(efficientnet: Path, rows: dict[str, Rows]) -> None:
    losses = {}
    for start in ("block3_input", "pixels"):
        net = fresh(efficientnet, "adapters")
        net.inputs = (start,)
        config = variant("adapters", epochs=3, batch_size=15)
        losses[start] = [line.train_loss for line in fit(net, rows[start], rows[start], config, CPU, quiet).history]
    assert np.allclose(losses["block3_input"], losses["pixels"], atol=1e-5)


def test_fp16_taps_change_no_prediction(efficientnet: Path, rows: dict[str, Rows]) -> None:
    net = fresh(efficientnet, "top_only")
    full = rows["last_block"]
    half = Rows({"last_block": full.raw["last_block"].half()}, full.labels, None)
    assert torch.equal(predict_logits(net, full, CPU).argmax(1), predict_logits(net, half, CPU).argmax(1))


def test_the_same_seed_trains_the_same_weights_and_another_does_not(efficientnet: Path, rows: dict[str, Rows]) -> None:
    def train(**fields: object) -> dict[str, torch.Tensor]:
        config = variant("fine_tune", augment=True, dropout=0.3, **fields)
        net = build_network(config, load_backbone(settings_for(efficientnet)))
        torch.manual_seed(np.random.randint(1000))  # the caller's random state must not matter
        best = fit(net, rows["pixels"], rows["pixels"], config, CPU, quiet).best
        assert best is not None
        return best

    one, two, other = train(), train(), train(seed=1)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_no_row_is_dropped_from_the_last_batch(rows: dict[str, Rows], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    real = Rows.batch

    def spy(self: Rows, index: torch.Tensor, device: torch.device) -> dict[str, torch.Tensor]:
        seen.extend(index.tolist())
        return real(self, index, device)

    monkeypatch.setattr(Rows, "batch", spy)
    config = variant("masks_only", epochs=1, batch_size=16, optimizer="adamw", top_lr=0.01)
    from distracted_pipeline.training.loop import build_optimizer, train_epoch

    net = build_network(config, None)
    train_epoch(net, build_optimizer(net, config), rows["fractions"], config, 1, CPU)
    assert sorted(seen) == list(range(60))
    assert seen != sorted(seen)


def test_the_best_epoch_is_the_one_with_the_highest_macro_recall_then_the_lowest_loss() -> None:
    def line(recall: float, loss: float) -> Epoch:
        return Epoch(1, 1.0, loss, recall, recall, 1.0, 1.0)

    assert _is_better(line(0.6, 3.0), line(0.5, 1.0))
    assert _is_better(line(0.5, 0.9), line(0.5, 1.0))
    assert not _is_better(line(0.5, 1.0), line(0.5, 1.0))


def test_a_loss_that_is_not_finite_stops_with_the_best_epoch_before(
    rows: dict[str, Rows], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = variant("masks_only", epochs=6, optimizer="adamw", top_lr=0.01)
    net = build_network(config, None)
    real = rate_factor
    monkeypatch.setattr(
        "distracted_pipeline.training.loop.rate_factor", lambda c, epoch: real(c, epoch) if epoch < 3 else float("nan")
    )
    result = fit(net, rows["fractions"], rows["fractions"], config, CPU, quiet)
    assert result.diverged == 3
    assert len(result.history) == 2
    assert result.best is not None
    assert all(bool(tensor.isfinite().all()) for tensor in result.best.values())
    load_learned(net, result.best)
    scores = score(predict_logits(net, rows["fractions"], CPU), rows["fractions"].labels)
    assert scores.macro_recall == result.history[result.best_epoch - 1].validation_macro_recall


def test_scores_leave_absent_classes_out_of_the_mean() -> None:
    logits = torch.eye(10)[[0, 0, 1, 2]] * 5
    scores = score(logits, torch.tensor([0, 0, 1, 1]))
    assert scores.accuracy == 0.75
    assert scores.macro_recall == pytest.approx((1.0 + 0.5) / 2)
    assert np.isnan(scores.recall[5])
    assert scores.recall[:2] == (1.0, 0.5)


def test_rates_follow_the_epoch_alone() -> None:
    step = variant("masks_only", gamma=0.5)
    assert [rate_factor(step, epoch) for epoch in (1, 2, 3)] == [1.0, 0.5, 0.25]
    cosine = variant("masks_only", scheduler="cosine", epochs=4)
    factors = [rate_factor(cosine, epoch) for epoch in (1, 2, 3, 4)]
    assert factors[0] == 1
    assert factors == sorted(factors, reverse=True)
    assert factors[-1] > 0


def test_augmentation_shifts_but_never_mirrors() -> None:
    generator = torch.Generator().manual_seed(0)
    left = torch.zeros(64, 3, 48, 48)
    left[:, :, :, :12] = 1
    moved = jitter(left, generator)
    halves = moved[:, :, :, :24].sum((1, 2, 3)), moved[:, :, :, 24:].sum((1, 2, 3))
    assert bool((halves[0] > halves[1]).all())
    assert not torch.equal(moved[0], moved[1])
