"""The loop: it learns, it repeats itself exactly, it keeps the best epoch, it stops at NaN, it fits into memory."""

from pathlib import Path

import numpy as np
import pytest
import torch

from distracted_pipeline.dataset import STATE_FARM
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.options import RunOptions
from distracted_pipeline.training.inputs import Rows
from distracted_pipeline.training.loop import Epoch, Fit, _is_better, jitter, predict_logits, train_epoch
from distracted_pipeline.training.loop import fit as fit_team
from distracted_pipeline.training.optimizers import rate_factor
from distracted_pipeline.training.scores import score
from distracted_pipeline.training.steps import Session, step
from distracted_pipeline.training.steps import open_session as open_team
from distracted_pipeline.training.team import load_learned
from distracted_pipeline.variants.backbones import load_backbone
from distracted_pipeline.variants.config import VariantConfig
from distracted_pipeline.variants.networks import VariantNet, build_network
from distracted_pipeline_tests.variants.tiny import SIDE, settings_for, variant

CPU = torch.device("cpu")
QUIET = RunOptions("cpu", log=lambda line: None)


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


def fit(net: VariantNet, train: Rows, validation: Rows, config: VariantConfig, options: RunOptions) -> Fit:
    """Train one network."""
    return fit_team([net], train, validation, config, [config.seed], options)[0]


def open_session(net: VariantNet, train: Rows, config: VariantConfig, options: RunOptions) -> Session:
    """Return a session of one network."""
    return open_team([net], train, config, [config.seed], options)


def one_step(session: Session, batch: dict[str, torch.Tensor], labels: torch.Tensor) -> torch.Tensor:
    """Take a step of a team of one on `[B, ...]`."""
    return step(session, {name: values[None] for name, values in batch.items()}, labels[None])[0]


def fresh(efficientnet: Path, kind: str, **fields: object) -> VariantNet:
    config = variant(kind, **fields)
    backbone = load_backbone(settings_for(efficientnet)) if config.taps else None
    return build_network(config, backbone, STATE_FARM)


def test_the_convex_probe_reaches_its_optimum(efficientnet: Path, rows: dict[str, Rows]) -> None:
    config = variant("linear_probe", optimizer="lbfgs", top_lr=1.0, top_decay=1.0, epochs=30)
    net = fresh(efficientnet, "linear_probe", optimizer="lbfgs", top_lr=1.0, top_decay=1.0, epochs=30)
    net.standardise.fit(rows["pooled"].raw["pooled"])
    result = fit(net, rows["pooled"], rows["pooled"], config, QUIET)
    from sklearn.linear_model import LogisticRegression

    scaled = net.standardise(rows["pooled"].raw["pooled"]).numpy()
    reference = LogisticRegression(C=1.0, max_iter=5000, tol=1e-10).fit(scaled, rows["pooled"].labels)
    ours = predict_logits(net, rows["pooled"], CPU).softmax(1).numpy()
    assert np.abs(ours - reference.predict_proba(scaled)).max() < 2e-3
    assert result.history[-1].train_loss < result.history[0].train_loss


@pytest.mark.parametrize("optimizer", ["adadelta", "adamw"])
def test_masks_alone_are_learnt(rows: dict[str, Rows], optimizer: str) -> None:
    config = variant("masks_only", optimizer=optimizer, top_lr={"adadelta": 1.0, "adamw": 0.01}[optimizer], epochs=8)
    net = build_network(config, None, STATE_FARM)
    result = fit(net, rows["fractions"], rows["fractions"], config, QUIET)
    assert result.best is not None
    assert max(line.validation_macro_recall for line in result.history) > 0.8


@pytest.mark.parametrize(("kind", "tap"), [("top_only", "last_block"), ("adapters", "block3_input")])
def test_every_step_from_the_cached_tap_through_the_faster_trunk_is_the_step_from_pixels_through_the_plain_one(
    efficientnet: Path, rows: dict[str, Rows], kind: str, tap: str
) -> None:
    losses: dict[str, list[float]] = {}
    for start in (tap, "pixels"):
        net = fresh(efficientnet, kind)
        net.inputs = (start,)
        if start == tap:
            net.streamline()
        session = open_session(net, rows[start], variant(kind, top_lr=1.0), QUIET)
        losses[start] = []
        for number in range(20):
            index = torch.randperm(60, generator=torch.Generator().manual_seed(number))[:15]
            loss = one_step(session, rows[start].batch(index, CPU), rows[start].labels[index])
            losses[start].append(float(loss))
    assert max(abs(a - b) for a, b in zip(losses[tap], losses["pixels"], strict=True)) < 1e-5
    assert losses[tap][-1] < 0.8 * losses[tap][0]


@pytest.mark.parametrize(("kind", "tap"), [("top_only", "last_block"), ("adapters", "block3_input")])
def test_trained_on_fp16_taps_other_images_are_recognised_as_after_training_from_pixels(
    efficientnet: Path, rows: dict[str, Rows], kind: str, tap: str
) -> None:
    config = variant(kind, epochs=4, batch_size=10, top_lr=1.0)
    predicted = {}
    half = Rows({tap: rows[tap].raw[tap].half()}, rows[tap].labels, None)
    for start, given in ((tap, half), ("pixels", rows["pixels"])):
        train, test = (
            Rows({start: given.raw[start][side]}, given.labels[side], given.preprocessing)
            for side in (slice(40), slice(40, 60))
        )
        net = fresh(efficientnet, kind)
        net.inputs = (start,)
        fit(net, train, train, config, QUIET)
        predicted[start] = predict_logits(net, test, CPU).argmax(1)
    assert torch.equal(predicted[tap], predicted["pixels"])
    assert len(predicted[tap].unique()) > 2


def gradients(session: Session, batch: dict[str, torch.Tensor], labels: torch.Tensor) -> list[torch.Tensor]:
    """What a step leaves in the parameters, without the step."""
    session.optimizer.step = lambda *args: None  # type: ignore[method-assign]
    one_step(session, batch, labels)
    return [p.grad.clone() for p in session.team.parameters.values() if p.grad is not None]


@pytest.mark.parametrize(
    "fields", [{}, {"class_weights": "balanced", "label_smoothing": 0.1}], ids=["plain", "weighted"]
)
@pytest.mark.parametrize("kind", ["fine_tune", "batch_norm"])
def test_out_of_memory_the_same_batch_passes_in_pieces_with_the_same_gradient(
    efficientnet: Path, rows: dict[str, Rows], monkeypatch: pytest.MonkeyPatch, kind: str, fields: dict
) -> None:
    config = variant(kind, batch_size=24, **fields)
    index = torch.arange(24)
    batch, labels = rows["pixels"].batch(index, CPU), rows["pixels"].labels[index]
    whole = gradients(open_session(fresh(efficientnet, kind), rows["pixels"], config, QUIET), batch, labels)

    real = VariantNet.forward
    sizes: list[int] = []

    def small_memory(self: VariantNet, given: dict[str, torch.Tensor], keep: object = None) -> torch.Tensor:
        sizes.append(len(given["pixels"]))
        if len(given["pixels"]) > 6:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(self, given)

    monkeypatch.setattr(VariantNet, "forward", small_memory)
    said: list[str] = []
    session = open_session(fresh(efficientnet, kind), rows["pixels"], config, RunOptions("cpu", log=said.append))
    pieces = gradients(session, batch, labels)
    assert sizes == [24, 12, 6, 6, 6, 6]
    assert "out of memory with 24 images at once: going on with 12" in said[0]
    assert "same batches of 24" in said[1]
    assert len(pieces) == len(whole)
    for one, other in zip(pieces, whole, strict=True):
        assert torch.allclose(one, other, rtol=1e-3, atol=1e-5 * float(other.abs().max() + 1))
    one_step(session, batch, labels)
    assert sizes[6:] == [6, 6, 6, 6]  # it remembers


def test_a_batch_size_limits_the_rows_that_pass_at_once_and_changes_no_step(
    rows: dict[str, Rows], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = VariantNet.forward
    sizes: list[int] = []

    def spy(self: VariantNet, given: dict[str, torch.Tensor], keep: object = None) -> torch.Tensor:
        sizes.append(len(given["fractions"]))
        return real(self, given)

    monkeypatch.setattr(VariantNet, "forward", spy)
    config = variant("masks_only", epochs=1, batch_size=30)
    losses = {}
    for size in (0, 12):
        sizes.clear()
        options = RunOptions("cpu", batch_size=size, log=QUIET.log)
        fitted = fit(build_network(config, None, STATE_FARM), *[rows["fractions"]] * 2, config, options)
        losses[size] = fitted.history[0].train_loss
        assert sizes == ([30, 30, 60] if size == 0 else [12, 12, 6, 12, 12, 6, 12, 12, 12, 12, 12])
    assert losses[12] == pytest.approx(losses[0], abs=1e-5)


@pytest.mark.parametrize("start", ["pixels", "block3_input"])
def test_on_a_cpu_few_large_images_pass_at_once_from_a_tap_as_from_pixels(
    efficientnet: Path, rows: dict[str, Rows], monkeypatch: pytest.MonkeyPatch, start: str
) -> None:
    monkeypatch.setattr("distracted_pipeline.training.steps.PIECE_PIXELS", 4 * SIDE * SIDE)
    net = fresh(efficientnet, "adapters")
    net.inputs = (start,)
    config = variant("adapters", batch_size=16)
    assert open_session(net, rows[start], config, QUIET).pieces.size == 4
    assert open_session(net, rows[start], config, RunOptions("cpu", batch_size=5)).pieces.size == 5


def test_not_even_one_image_in_memory_is_an_error_that_says_so(
    rows: dict[str, Rows], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(self: VariantNet, given: dict[str, torch.Tensor], keep: object) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(VariantNet, "forward", no_memory)
    config = variant("masks_only", batch_size=4)
    session = open_session(build_network(config, None, STATE_FARM), rows["fractions"], config, QUIET)
    with pytest.raises(DistractedError, match="not even one image at a time fits"):
        one_step(session, rows["fractions"].batch(torch.arange(4), CPU), rows["fractions"].labels[:4])


def test_reduced_precision_learns_and_keeps_weights_and_loss_in_fp32(efficientnet: Path, rows: dict[str, Rows]) -> None:
    config = variant("fine_tune", epochs=1, batch_size=30)
    losses = {}
    for precision in ("fp32", "bf16"):
        net = fresh(efficientnet, "fine_tune")
        session = open_session(net, rows["pixels"], config, RunOptions("cpu", precision))
        (losses[precision],) = train_epoch(session, rows["pixels"], 1)
        assert {parameter.dtype for parameter in net.parameters()} == {torch.float32}
    assert losses["bf16"] != losses["fp32"]
    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=0.05)


def test_balanced_classes_count_alike_whatever_their_rows(rows: dict[str, Rows]) -> None:
    config = variant("masks_only", class_weights="balanced")
    labels = torch.tensor([0] * 30 + [1] * 10)
    given = Rows({"fractions": rows["fractions"].raw["fractions"][:40]}, labels, None)
    weights = open_session(build_network(config, None, STATE_FARM), given, config, QUIET).weights
    assert weights is not None
    assert weights[0] * 30 == pytest.approx(float(weights[1] * 10))
    assert float(weights[labels].mean()) == pytest.approx(1)
    assert weights[2:].sum() == 0


def test_training_stops_early_where_nothing_gets_better(rows: dict[str, Rows], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distracted_pipeline.training.loop._is_better", lambda one, other: one.epoch == 2)
    config = variant("masks_only", epochs=9, early_stopping=2, optimizer="adamw", top_lr=0.001)
    said: list[str] = []
    options = RunOptions("cpu", log=said.append)
    result = fit(build_network(config, None, STATE_FARM), rows["fractions"], rows["fractions"], config, options)
    assert (len(result.history), result.best_epoch) == (4, 2)
    assert "stopped after 4 of 9" in said[-1]


def test_the_same_seed_trains_the_same_weights_and_another_does_not(efficientnet: Path, rows: dict[str, Rows]) -> None:
    def train(**fields: object) -> dict[str, torch.Tensor]:
        config = variant("fine_tune", augment=True, dropout=0.3, **fields)
        net = build_network(config, load_backbone(settings_for(efficientnet)), STATE_FARM, config.seed)
        torch.manual_seed(np.random.randint(1000))  # the caller's random state must not matter
        best = fit(net, rows["pixels"], rows["pixels"], config, QUIET).best
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
    net = build_network(config, None, STATE_FARM)
    train_epoch(open_session(net, rows["fractions"], config, QUIET), rows["fractions"], 1)
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
    net = build_network(config, None, STATE_FARM)
    real = rate_factor
    monkeypatch.setattr(
        "distracted_pipeline.training.loop.rate_factor", lambda c, epoch: real(c, epoch) if epoch < 3 else float("nan")
    )
    result = fit(net, rows["fractions"], rows["fractions"], config, QUIET)
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
