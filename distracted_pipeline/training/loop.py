"""The training loop: plain PyTorch over tensors, readable from top to bottom.

Belongs here: epochs, scoring, and which epoch is kept. Does not belong here: a single step (`steps`), what learns at
which rate (`optimizers`), where rows come from (`inputs`), and what becomes of the result (`train`, `checkpoint`,
`tracking`).

Every training has a seed of its own (`VariantConfig.training_seed`). Order and noise of an epoch come from it and the
epoch's number alone, and the learning rate is a function of the epoch: what an epoch does depends on the `Snapshot`
before it and on nothing else, so a killed training ends with the same weights (on a GPU, where
`RunOptions.deterministic` asks for kernels that add up in one order). No row is dropped. The epoch with the
highest macro recall on the validation drivers is kept (ties: lowest loss).
Those drivers are never held-out ones; only the original fold reports them too, as the scope `dev`. L-BFGS is another
matter: it solves a convex problem in double precision, stops where no step makes the loss smaller, and its last iterate
is kept.

Replicates of one variant may train as a `Team`: each sees its own batches, and ends as it would alone, up to rounding.

The backbone is in eval mode throughout (`VariantNet.train`): batch norms use their stored statistics even where
their scale and shift learn, `top_bn` included.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from distracted_pipeline.compiling import filled_up
from distracted_pipeline.devices import resolve_device
from distracted_pipeline.memory import Pieces
from distracted_pipeline.options import RunOptions
from distracted_pipeline.progress import INTERVAL_S, Progress
from distracted_pipeline.recording import Given, Recorder
from distracted_pipeline.training.inputs import PIXELS, Rows
from distracted_pipeline.training.optimizers import load_optimizer_state, optimizer_state, rate_factor, set_rate
from distracted_pipeline.training.scores import score
from distracted_pipeline.training.steps import Session, is_solved, open_session, solver_dtype, step
from distracted_pipeline.training.team import State, Team
from distracted_pipeline.variants.config import VariantConfig, seed_of
from distracted_pipeline.variants.networks import VariantNet

SCORING_BATCH = 64


@dataclass(frozen=True)
class Epoch:
    """One line of the history; losses are means over rows."""

    epoch: int
    train_loss: float
    validation_loss: float
    validation_accuracy: float
    validation_macro_recall: float
    rate: float
    seconds: float

    def as_dict(self) -> dict[str, float]:
        """Return the line for JSON."""
        return asdict(self)


@dataclass
class Fit:
    """The outcome of one training.

    Attributes:
        history: One entry per finished epoch.
        best: The weights that learn as the best epoch left them, on the CPU; None before the first good epoch.
        best_epoch: Counted from 1; 0 before the first good epoch.
        diverged: The epoch whose loss was not finite, where training stopped; None if all went well.
    """

    history: list[Epoch] = field(default_factory=list)
    best: State | None = None
    best_epoch: int = 0
    diverged: int | None = None


@dataclass(frozen=True)
class Snapshot:
    """All that the next epoch of one training depends on.

    Attributes:
        fit: The outcome so far.
        weights: Weights that learn, as the last finished epoch left them, on the CPU.
        optimizer: The optimiser's state, by the parameter's position.
        scaler: The gradient scaler's, empty unless training in fp16.
    """

    fit: Fit
    weights: State
    optimizer: dict[Any, Any]
    scaler: dict[str, Any]


def fit(
    nets: Sequence[VariantNet],
    train: Rows,
    validation: Rows,
    config: VariantConfig,
    seeds: Sequence[int],
    options: RunOptions = RunOptions(),
    *,
    resume: Sequence[Snapshot] = (),
    save: Callable[[list[Snapshot]], object] | None = None,
) -> list[Fit]:
    """Train replicates side by side and return the history and the best weights of each.

    A loss that is not finite ends the training of all.

    Args:
        nets: Moved to the device if they are not there. Those of a team of one learn in place, by L-BFGS in double
            precision.
        train: Rows to learn from.
        validation: Rows that choose the epoch.
        config: Rates, epochs, batch size, ...
        seeds: Of each network's training, see `VariantConfig.training_seed`.
        options: `batch_size` limits the rows that pass through a network at once, in a step or in scoring. A step
            still uses the variant's own batch: gradients of its pieces are added up. L-BFGS sees all rows at once.
        resume: Where an earlier call was interrupted, for each network; empty: it was not.
        save: Receives a snapshot of each network after every epoch.
    """
    device = resolve_device(options.device_name())
    options = replace(options, device=str(device))  # claimed once
    dtype = solver_dtype(config, device)
    train, validation = (replace(rows.to(device), dtype=dtype) for rows in (train, validation))
    session = open_session([net.to(device, dtype) for net in nets], train, config, seeds, options)
    train, validation = train.standardised(nets[0]), validation.standardised(nets[0])
    try:
        return _epochs(session, train, validation, options, resume, save)
    finally:
        session.compiled.undo()
        session.recorder.forget()
        session.scorer.forget()


def _epochs(
    session: Session,
    train: Rows,
    validation: Rows,
    options: RunOptions,
    resume: Sequence[Snapshot],
    save: Callable[[list[Snapshot]], object] | None,
) -> list[Fit]:
    """Train from where `resume` says to the last epoch, or until nothing gets better, or it is solved."""
    config, replicates, log = session.config, len(session.team), options.log
    scoring = Pieces(session.pieces.size, log) if session.steady else _scoring(options)
    initial = [float(group["lr"]) for group in session.optimizer.param_groups]
    fits = _go_on(session, resume) if resume else [Fit() for _ in range(replicates)]
    solved = config.optimizer == "lbfgs" and is_solved(session)
    rest = range(max(len(one.history) for one in fits) + 1, config.epochs + 1)
    images = len(rest) * len(train) * replicates
    progress = Progress(images, "images", lambda line: log(f"epoch {epoch}/{config.epochs}: {line}"))
    spoke = time.monotonic()
    for epoch in () if solved else rest:
        learning = [r for r, one in enumerate(fits) if not _has_stopped(one, config)]
        if not learning:
            log(f"no better epoch since {fits[0].best_epoch}: stopped after {epoch - 1} of {config.epochs}")
            break
        start = time.monotonic()
        for group, rate in zip(session.optimizer.param_groups, initial, strict=True):
            set_rate(group, rate * rate_factor(config, epoch))
        losses = train_epoch(session, train, epoch, progress)
        logits = session.compiled.run(
            lambda: predict_team(session.team, validation, scoring, session.dtype, session.steady, session.scorer)
        )
        solved = config.optimizer == "lbfgs" and is_solved(session)
        rate, seconds = float(session.optimizer.param_groups[0]["lr"]), (time.monotonic() - start) / replicates
        for r in learning:
            scores, one = score(logits[r], validation.labels), fits[r]
            if not (math.isfinite(losses[r]) and math.isfinite(scores.loss)):
                one.diverged = epoch
                return fits
            one.history.append(
                Epoch(epoch, losses[r], scores.loss, scores.accuracy, scores.macro_recall, rate, seconds)
            )
            better = one.best is None or _is_better(one.history[-1], one.history[one.best_epoch - 1])
            if better or config.optimizer == "lbfgs":
                one.best, one.best_epoch = session.team.state(r), epoch
        if save is not None:
            save([_snapshot(session, r, one) for r, one in enumerate(fits)])
        if solved:
            break
        if time.monotonic() - spoke > INTERVAL_S:
            spoke = time.monotonic()
            recalls = ", ".join(f"{one.history[-1].validation_macro_recall:.3f}" for one in fits)
            log(f"epoch {epoch}/{config.epochs}: loss {losses[learning[0]]:.3f}, validation recall {recalls}")
    return fits


def train_epoch(session: Session, rows: Rows, epoch: int, progress: Progress | None = None) -> list[float]:
    """Let each replicate go once over the rows, in an order of its own, and return the mean loss of each."""
    generators = [torch.Generator().manual_seed(seed_of(f"{seed} {epoch}")) for seed in session.seeds]
    orders = [_batches(len(rows), session.config, generator) for generator in generators]
    total = torch.zeros(len(session.team), device=session.device)
    for each in zip(*orders, strict=True):
        index = torch.stack(each)
        count = index.shape[1]
        flat = rows.batch(index.flatten(), session.device)
        if session.config.augment:
            parts = flat[PIXELS].split(count)
            flat[PIXELS] = torch.cat([jitter(part, g) for part, g in zip(parts, generators, strict=True)])
        batch = {name: values.unflatten(0, index.shape) for name, values in flat.items()}
        labels = rows.labels[index.to(rows.labels.device)].to(session.device)
        total += step(session, batch, labels, _keep(session, count, generators)) * count
        if progress is not None:
            progress.advance(index.numel())
    return [float(one) / len(rows) for one in total]


def predict_logits(net: VariantNet, rows: Rows, device: torch.device, options: RunOptions = RunOptions()) -> Tensor:
    """Return logits `[N, classes]`, computed in fp32; of the options batch size and log are used."""
    return predict_team(Team([net.to(device)]), rows, _scoring(options))[0]


def predict_team(
    team: Team,
    rows: Rows,
    pieces: Pieces,
    dtype: torch.dtype | None = None,
    steady: bool = False,
    scorer: Recorder[Tensor] | None = None,
) -> Tensor:
    """Return the logits `[R, N, classes]` of every replicate.

    Args:
        team: The networks.
        rows: What they read.
        pieces: How many rows pass at once.
        dtype: Autocast's; None computes in fp32.
        steady: As in `Session`.
        scorer: Likewise; None: every pass is launched.
    """

    def through(batch: Given) -> Tensor:
        with torch.autocast(team.device.type, dtype, enabled=dtype is not None):
            return team.scores(dict(batch))

    def scores(part: slice) -> Tensor:
        batch, count = rows.batch(index[part], team.device), part.stop - part.start
        if steady and len(rows) > pieces.size:
            batch = {name: filled_up(values, pieces.size) for name, values in batch.items()}
        whole = len(next(iter(batch.values()))) == pieces.size
        logits = scorer.run(batch, through).clone() if scorer and whole else through(batch)
        return logits[:, :count]

    index = torch.arange(len(rows))
    with torch.no_grad():
        parts = list(pieces.over(len(rows), scores))
    return torch.cat(parts, 1) if parts else torch.empty(len(team), 0, team.nets[0].classifier.out_features)


def _scoring(options: RunOptions) -> Pieces:
    return Pieces(options.batch_size or SCORING_BATCH, options.log)


def jitter(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Return normalised pixels shifted by up to 1/12 of their size and with changed brightness and contrast.

    Never flipped: left and right are different classes here.
    """
    count, _, height, width = pixels.shape
    shifts = torch.rand(count, 2, generator=generator) * 2 - 1
    tone = torch.rand(count, 2, generator=generator).to(pixels.device) * 0.4 - 0.2
    theta = torch.eye(2, 3).repeat(count, 1, 1)
    theta[:, :, 2] = shifts / 6  # a coordinate runs over 2, so a sixth is a twelfth of the size
    grid = functional.affine_grid(theta, [count, 1, height, width], align_corners=False).to(pixels.device)
    moved = functional.grid_sample(pixels, grid, padding_mode="border", align_corners=False)
    return moved * (1 + tone[:, :1, None, None]) + tone[:, 1:, None, None]


def _keep(session: Session, rows: int, generators: Sequence[torch.Generator]) -> Tensor | None:
    """Return what dropout leaves of the classifier's input, `[R, rows, width]`, or None without dropout."""
    share = 1 - session.config.dropout
    if share == 1:
        return None
    width = session.team.nets[0].classifier.in_features
    kept = [torch.empty(rows, width).bernoulli_(share, generator=generator) for generator in generators]
    return torch.stack(kept).to(session.device) / share


def _snapshot(session: Session, r: int, one: Fit) -> Snapshot:
    state = optimizer_state(session.optimizer, r, len(session.team))
    return Snapshot(one, session.team.state(r), state, session.scaler.state_dict())


def _go_on(session: Session, snapshots: Sequence[Snapshot]) -> list[Fit]:
    for r, snapshot in enumerate(snapshots):
        session.team.load(r, snapshot.weights)
    load_optimizer_state(session.optimizer, [snapshot.optimizer for snapshot in snapshots])
    if snapshots[0].scaler:
        session.scaler.load_state_dict(snapshots[0].scaler)
    return [snapshot.fit for snapshot in snapshots]


def _has_stopped(one: Fit, config: VariantConfig) -> bool:
    """Tell whether a training has ended because nothing got better."""
    return bool(config.early_stopping) and len(one.history) - one.best_epoch >= config.early_stopping


def _batches(count: int, config: VariantConfig, generator: torch.Generator) -> tuple[Tensor, ...]:
    if config.optimizer == "lbfgs":
        return (torch.arange(count),)
    return torch.randperm(count, generator=generator).split(config.batch_size)


def _is_better(one: Epoch, other: Epoch) -> bool:
    return (one.validation_macro_recall, -one.validation_loss) > (
        other.validation_macro_recall,
        -other.validation_loss,
    )
