"""Replicates that train side by side: each as it would alone, with luck of its own, stopped and resumed alone."""

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import pytest
import torch

from distracted_pipeline.dataset import STATE_FARM
from distracted_pipeline.memory import Pieces
from distracted_pipeline.options import RunOptions
from distracted_pipeline.training.inputs import Rows
from distracted_pipeline.training.loop import Fit, Snapshot, fit, predict_logits, predict_team
from distracted_pipeline.training.team import Team, load_learned
from distracted_pipeline.variants.backbones import load_backbone
from distracted_pipeline.variants.config import VariantConfig
from distracted_pipeline.variants.networks import STANDARDISED, VariantNet, build_network
from distracted_pipeline_tests.training.test_loop import rows
from distracted_pipeline_tests.variants.tiny import settings_for, variant

__all__ = ["rows"]

QUIET = RunOptions("cpu", log=lambda line: None)
CPU = torch.device("cpu")
NOISY = {"dropout": 0.3, "class_weights": "balanced", "label_smoothing": 0.1, "batch_size": 14, "epochs": 2}
HEADS = {
    "masks_only": variant("masks_only", optimizer="adamw", top_lr=0.01, scheduler="cosine", **NOISY),
    "masks_fused": variant("masks_fused", optimizer="adadelta", top_lr=1.0, gamma=0.7, **NOISY),
    "top_only": variant("top_only", optimizer="adadelta", top_lr=1.0, **NOISY),
    "linear_probe": variant("linear_probe", optimizer="adamw", top_lr=0.01, **NOISY),
}


def network(config: VariantConfig, efficientnet: Path, replicate: int) -> VariantNet:
    backbone = load_backbone(settings_for(efficientnet)) if config.taps else None
    net = build_network(config, backbone, STATE_FARM, config.training_seed("0", replicate))
    net.streamline()
    return net


def read_by(config: VariantConfig, rows: dict[str, Rows]) -> Rows:
    raw = {name: rows[name].raw[name] for name in config.inputs}
    return Rows(raw, rows["pooled"].labels, None)


def train(config: VariantConfig, efficientnet: Path, given: Rows, replicates: Sequence[int]) -> list[Fit]:
    nets = [network(config, efficientnet, replicate) for replicate in replicates]
    seeds = [config.training_seed("0", replicate) for replicate in replicates]
    return fit(nets, given, given, config, seeds, QUIET)


@pytest.fixture(scope="module", params=list(HEADS))
def alone(request: pytest.FixtureRequest, efficientnet: Path, rows: dict[str, Rows]) -> tuple[str, list[Fit]]:
    """The name of a kind, and three replicates of it, each trained by itself."""
    config, given = HEADS[request.param], read_by(HEADS[request.param], rows)
    return request.param, [train(config, efficientnet, given, [replicate])[0] for replicate in range(3)]


@pytest.mark.parametrize("batched", [False, True], ids=["one after another", "batched"])
def test_side_by_side_each_replicate_ends_as_it_would_alone(
    alone: tuple[str, list[Fit]],
    efficientnet: Path,
    rows: dict[str, Rows],
    monkeypatch: pytest.MonkeyPatch,
    batched: bool,
) -> None:
    kind, apart = alone
    monkeypatch.setattr(Team, "_batches", lambda self: batched)  # as on a GPU
    together = train(HEADS[kind], efficientnet, read_by(HEADS[kind], rows), [0, 1, 2])
    for one, other in zip(apart, together, strict=True):
        assert one.best is not None
        assert other.best is not None
        assert [a.train_loss for a in one.history] == pytest.approx([b.train_loss for b in other.history], abs=2e-4)
        assert max(float((one.best[name] - other.best[name]).abs().max()) for name in one.best) < 2e-3
    for one, other in combinations(together, 2):
        assert one.history[0].train_loss != other.history[0].train_loss


def test_a_team_scores_as_its_networks_do(efficientnet: Path, rows: dict[str, Rows]) -> None:
    config = HEADS["masks_fused"]
    given = read_by(config, rows)
    nets = [network(config, efficientnet, replicate) for replicate in range(3)]
    logits = predict_team(Team(nets), given, Pieces(64, print))
    assert logits.shape == (3, 60, 10)
    for net, own in zip(nets, logits, strict=True):
        assert torch.allclose(predict_logits(net, given, CPU), own, atol=1e-5)


@pytest.mark.parametrize("kind", ["linear_probe", "masks_fused"])
def test_embeddings_standardised_beforehand_give_the_same_logits(
    efficientnet: Path, rows: dict[str, Rows], kind: str
) -> None:
    given, net = read_by(HEADS[kind], rows), network(HEADS[kind], efficientnet, 0)
    net.standardise.fit(given.raw["pooled"])
    before = given.standardised(net)
    assert "pooled" not in before.raw
    assert before.raw[STANDARDISED].std() == pytest.approx(1, abs=0.05)
    assert torch.equal(predict_logits(net, before, CPU), predict_logits(net, given, CPU))


def test_a_replicate_that_stops_early_is_left_behind_by_the_others(
    rows: dict[str, Rows], efficientnet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = HEADS["linear_probe"].model_copy(update={"epochs": 8, "early_stopping": 2})
    given = read_by(config, rows)
    alone = [train(config, efficientnet, given, [replicate])[0] for replicate in range(4)]
    together = train(config, efficientnet, given, range(4))
    assert len({len(one.history) for one in alone}) > 1  # else this shows nothing: choose other seeds
    assert [len(one.history) for one in together] == [len(one.history) for one in alone]
    assert [one.best_epoch for one in together] == [one.best_epoch for one in alone]


@pytest.mark.parametrize("kind", ["masks_only", "top_only"])
def test_a_team_goes_on_from_its_snapshots_as_if_nothing_had_been(
    efficientnet: Path, rows: dict[str, Rows], kind: str
) -> None:
    config, given = HEADS[kind], read_by(HEADS[kind], rows)
    kept: list[list[Snapshot]] = []
    seeds = [config.training_seed("0", replicate) for replicate in range(2)]

    class Stop(Exception):
        pass

    def save(snapshots: list[Snapshot]) -> None:
        kept.append(snapshots)
        raise Stop

    nets = [network(config, efficientnet, replicate) for replicate in range(2)]
    with pytest.raises(Stop):
        fit(nets, given, given, config, seeds, QUIET, save=save)
    nets = [network(config, efficientnet, replicate) for replicate in range(2)]
    resumed = fit(nets, given, given, config, seeds, QUIET, resume=kept[0])
    whole = train(config, efficientnet, given, [0, 1])
    for one, other in zip(resumed, whole, strict=True):
        assert one.best is not None
        assert other.best is not None
        assert all(torch.equal(one.best[name], other.best[name]) for name in one.best)


def test_a_convex_problem_ends_at_its_optimum_and_is_not_gone_on_with(
    efficientnet: Path, rows: dict[str, Rows]
) -> None:
    config = variant("linear_probe", optimizer="lbfgs", top_lr=1.0, top_decay=10.0, epochs=40)
    kept: list[list[Snapshot]] = []
    ends = []
    for replicate in range(2):
        net, seed = network(config, efficientnet, replicate), config.training_seed("0", replicate)
        net.standardise.fit(rows["pooled"].raw["pooled"])
        (one,) = fit([net], rows["pooled"], rows["pooled"], config, [seed], QUIET, save=kept.append)
        assert len(one.history) < 40
        assert one.best_epoch == len(one.history)
        ends.append(one.best)
    assert ends[0] is not None
    assert ends[1] is not None
    logits = []
    for best in ends:
        net = network(config, efficientnet, 0)
        net.standardise.fit(rows["pooled"].raw["pooled"])
        load_learned(net, best)
        logits.append(predict_logits(net, rows["pooled"], CPU).softmax(1))
    assert torch.allclose(*logits, atol=1e-5)  # luck plays no part
    last, net = kept[-1], network(config, efficientnet, 1)
    net.standardise.fit(rows["pooled"].raw["pooled"])
    epochs = len(last[0].fit.history)
    (again,) = fit([net], rows["pooled"], rows["pooled"], config, [0], QUIET, resume=last)
    assert len(again.history) == epochs


def test_trainings_of_another_fold_replicate_or_recipe_share_no_luck() -> None:
    one, other = HEADS["masks_only"], HEADS["masks_fused"]
    placebo = one.model_copy(update={"seed": 1})
    seeds = {
        config.training_seed(fold, replicate)
        for config in (one, other, placebo)
        for fold in ("original", "0", "1")
        for replicate in range(3)
    }
    assert len(seeds) == 27


def test_words_controls_and_further_replicates_leave_the_luck_as_it_is() -> None:
    one = HEADS["masks_only"]
    same = one.model_copy(update={"label": "Other words", "name": "other", "replicates": 20, "control": "top_only"})
    assert same.training_seed("0", 2) == one.training_seed("0", 2)
    assert same.fingerprint() == one.fingerprint()
