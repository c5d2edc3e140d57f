"""The training loop: plain PyTorch over tensors, readable from top to bottom.

Belongs here: one epoch, one step, scoring, and which epoch is kept. Does not belong here: what learns at which rate
(`optimizers`), where rows come from (`inputs`), and what becomes of the result (`train`, `checkpoint`, `tracking`).

Order and noise of an epoch come from the variant's seed and the epoch's number alone, and the learning rate is a
function of the epoch: what an epoch does depends on the `Snapshot` before it and on nothing else, so a killed training
ends with the same weights. No row is dropped; the loss is cross-entropy on logits. The epoch with the highest macro
recall on the validation drivers is kept (ties: lowest loss). Those drivers are never held-out ones; only the original
fold reports them too, as the scope `dev`.

The backbone is in eval mode throughout (`VariantNet.train`): batch norms use their stored statistics even where
their scale and shift learn, `top_bn` included. Rows of a batch therefore never depend on each other, and a batch
may pass in pieces, with the gradient of the whole.
"""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from distracted_pipeline.devices import autocast_dtype, resolve_device
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.options import RunOptions
from distracted_pipeline.progress import INTERVAL_S, Log, Progress
from distracted_pipeline.training.inputs import PIXELS, Rows
from distracted_pipeline.training.optimizers import build_optimizer, load_optimizer_state, rate_factor
from distracted_pipeline.training.scores import score
from distracted_pipeline.variants.config import VariantConfig
from distracted_pipeline.variants.networks import VariantNet

State = dict[str, Tensor]

SCORING_BATCH = 64

PIECE_PIXELS = 16 * 300 * 300
"""Pixels that pass through a learning backbone at once on a CPU, also from a tap: sixteen images of EfficientNet-B3.
With more, each image takes more time and memory; with fewer, torch picks slower convolutions."""


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
    """The outcome of `fit`.

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
    """All that the next epoch depends on.

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


@dataclass
class Session:
    """What a step needs beside its batch.

    Attributes:
        weights: Of each class in the loss; None counts every row the same.
        dtype: Autocast type of the forward pass; None computes in fp32.
        piece: Rows that pass through the network at once.
    """

    net: VariantNet
    config: VariantConfig
    device: torch.device
    optimizer: torch.optim.Optimizer
    weights: Tensor | None
    dtype: torch.dtype | None
    scaler: torch.amp.GradScaler
    piece: int
    log: Log


def fit(
    net: VariantNet,
    train: Rows,
    validation: Rows,
    config: VariantConfig,
    options: RunOptions = RunOptions(),
    *,
    resume: Snapshot | None = None,
    save: Callable[[Snapshot], object] | None = None,
) -> Fit:
    """Train `net` in place and return its history and best weights; a loss that is not finite ends it early.

    Args:
        net: Moved to the device if it is not there.
        train: Rows to learn from.
        validation: Rows that choose the epoch.
        config: Rates, epochs, batch size, ...
        options: `batch_size` limits the rows that pass through the network at once, in a step or in scoring. A step
            still uses the variant's own batch: gradients of its pieces are added up. L-BFGS sees all rows at once.
        resume: Where an earlier call was interrupted.
        save: Receives a snapshot after every epoch.
    """
    device = resolve_device(options.device_name())
    options = replace(options, device=str(device))  # claimed once
    log, batch_size = options.log, options.batch_size
    net, train, validation = net.to(device), train.to(device), validation.to(device)
    session = open_session(net, train, config, options)
    initial = [group["lr"] for group in session.optimizer.param_groups]
    result = _go_on(session, resume) if resume else Fit()
    rest = range(len(result.history) + 1, config.epochs + 1)
    progress = Progress(len(rest) * len(train), "images", lambda line: log(f"epoch {epoch}/{config.epochs}: {line}"))
    spoke = time.monotonic()
    for epoch in rest:
        if config.early_stopping and epoch - 1 - result.best_epoch >= config.early_stopping:
            log(f"no better epoch since {result.best_epoch}: stopped after {epoch - 1} of {config.epochs}")
            break
        start = time.monotonic()
        for group, rate in zip(session.optimizer.param_groups, initial, strict=True):
            group["lr"] = rate * rate_factor(config, epoch)
        train_loss = train_epoch(session, train, epoch, progress)
        scores = score(predict_logits(net, validation, device, batch_size), validation.labels)
        if not (math.isfinite(train_loss) and math.isfinite(scores.loss)):
            result.diverged = epoch
            break
        rate = session.optimizer.param_groups[0]["lr"]
        result.history.append(
            Epoch(epoch, train_loss, scores.loss, scores.accuracy, scores.macro_recall, rate, time.monotonic() - start)
        )
        if result.best is None or _is_better(result.history[-1], result.history[result.best_epoch - 1]):
            result.best, result.best_epoch = learned_state(net), epoch
        if save is not None:
            state = session.optimizer.state_dict()["state"]
            save(Snapshot(result, learned_state(net), state, session.scaler.state_dict()))
        if time.monotonic() - spoke > INTERVAL_S:
            spoke = time.monotonic()
            log(f"epoch {epoch}/{config.epochs}: loss {train_loss:.3f}, validation recall {scores.macro_recall:.3f}")
    return result


def open_session(net: VariantNet, train: Rows, config: VariantConfig, options: RunOptions = RunOptions()) -> Session:
    """Return what training `net`, which is on the device, on the rows `train` starts with."""
    device = resolve_device(options.device_name())
    dtype = autocast_dtype(options.precision, device)
    weights = class_weights(train.labels, net.classifier.out_features) if config.class_weights else None
    return Session(
        net=net,
        config=config,
        device=device,
        optimizer=build_optimizer(net, config),
        weights=weights.to(device) if weights is not None else None,
        dtype=dtype,
        scaler=torch.amp.GradScaler(device.type, enabled=dtype is torch.float16),
        piece=options.batch_size or _first_piece(net, train, config, device),
        log=options.log,
    )


def train_epoch(session: Session, rows: Rows, epoch: int, progress: Progress | None = None) -> float:
    """Go once over the rows and return the mean loss; order and noise come from the seed and the epoch alone."""
    session.net.train()
    seed = session.config.seed * 100_003 + epoch
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros((), device=session.device)
    with torch.random.fork_rng(devices=[session.device] if session.device.type == "cuda" else []):
        torch.manual_seed(seed)  # dropout
        for index in _batches(len(rows), session.config, generator):
            batch = rows.batch(index, session.device)
            labels = rows.labels[index.to(rows.labels.device)].to(session.device)
            if session.config.augment:
                batch[PIXELS] = jitter(batch[PIXELS], generator)
            total += step(session, batch, labels) * len(index)
            if progress is not None:
                progress.advance(len(index))
    return float(total) / len(rows)


def step(session: Session, batch: dict[str, Tensor], labels: Tensor) -> Tensor:
    """Take one step on a batch and return the loss before it.

    Raises:
        DistractedError: Not even one row fits into the GPU's memory.
    """
    if session.config.optimizer == "lbfgs":
        return _lbfgs_step(session, batch, labels)
    loss = None
    while loss is None:
        try:
            loss = _accumulate(session, batch, labels)
        except torch.OutOfMemoryError as error:
            _halve(session, len(labels), error)
    session.scaler.step(session.optimizer)
    session.scaler.update()
    return loss


def predict_logits(net: VariantNet, rows: Rows, device: torch.device, batch_size: int = 0) -> Tensor:
    """Return logits `[N, classes]` in eval mode, in fp32; `batch_size` rows at once, 0 chooses."""
    net.eval()
    with torch.inference_mode():
        parts = [net(rows.batch(index, device)) for index in torch.arange(len(rows)).split(batch_size or SCORING_BATCH)]
    return torch.cat(parts) if parts else torch.empty(0, net.classifier.out_features)


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


def learned_state(net: VariantNet) -> State:
    """Return copies of the weights that learn, on the CPU."""
    return {name: parameter.detach().cpu().clone() for name, parameter in net.learning()}


def load_learned(net: VariantNet, state: State) -> None:
    """Put weights that learn back into `net`."""
    with torch.no_grad():
        for name, parameter in net.learning():
            parameter.copy_(state[name])


def _accumulate(session: Session, batch: dict[str, Tensor], labels: Tensor) -> Tensor:
    """Leave the gradient of the whole batch in the parameters, piece by piece, and return its loss."""
    session.optimizer.zero_grad()
    scale = float(len(labels)) if session.weights is None else session.weights[labels].sum()
    total = torch.zeros((), device=session.device)
    for first in range(0, len(labels), session.piece):
        part = slice(first, first + session.piece)
        with torch.autocast(session.device.type, session.dtype, enabled=session.dtype is not None):
            logits = session.net({name: values[part] for name, values in batch.items()})
        loss = _summed_loss(session, logits, labels[part]) / scale
        session.scaler.scale(loss).backward()
        total += loss.detach()
    return total


def _summed_loss(session: Session, logits: Tensor, labels: Tensor) -> Tensor:
    return functional.cross_entropy(
        logits.float(), labels, session.weights, reduction="sum", label_smoothing=session.config.label_smoothing
    )


def _lbfgs_step(session: Session, batch: dict[str, Tensor], labels: Tensor) -> Tensor:
    """Let L-BFGS evaluate the whole batch as often as its line search asks; it has no weight decay of its own."""
    losses: list[Tensor] = []
    scale = float(len(labels)) if session.weights is None else session.weights[labels].sum()

    def closure() -> Tensor:
        session.optimizer.zero_grad()
        loss = _summed_loss(session, session.net(batch), labels) / scale
        losses.append(loss.detach())
        penalty = session.net.classifier.weight.square().sum() * session.config.top_decay / (2 * len(labels))
        (loss + penalty).backward()
        return loss + penalty

    session.optimizer.step(closure)  # type: ignore[arg-type]
    return losses[0]


def _halve(session: Session, rows: int, error: torch.OutOfMemoryError) -> None:
    """Pass half as many rows at once from now on; the batch of a step stays as it is."""
    tried = min(session.piece, rows)
    session.optimizer.zero_grad()
    if tried == 1:
        raise DistractedError(
            f"variant {session.config.name}: not even one image at a time fits into the memory of {session.device}. "
            "Free it (other processes: nvidia-smi), choose a smaller backbone, or set device to cpu."
        ) from error
    session.piece = tried // 2
    if session.device.type == "cuda":
        torch.cuda.empty_cache()
    session.log(
        f"{session.device} is out of memory with {tried} images at once: going on with {session.piece}, "
        f"gradients added up to the same batches of {session.config.batch_size}"
    )


def _go_on(session: Session, snapshot: Snapshot) -> Fit:
    load_learned(session.net, snapshot.weights)
    load_optimizer_state(session.optimizer, snapshot.optimizer)
    if snapshot.scaler:
        session.scaler.load_state_dict(snapshot.scaler)
    return snapshot.fit


def _batches(count: int, config: VariantConfig, generator: torch.Generator) -> tuple[Tensor, ...]:
    if config.optimizer == "lbfgs":
        return (torch.arange(count),)
    return torch.randperm(count, generator=generator).split(config.batch_size)


def _first_piece(net: VariantNet, rows: Rows, config: VariantConfig, device: torch.device) -> int:
    if device.type != "cpu" or net.trunk is None or rows.raw[net.inputs[0]].ndim != 4:
        return config.batch_size
    height, width = net.trunk.image_size  # from a tap too: what follows it is as large as from pixels
    return max(1, min(config.batch_size, PIECE_PIXELS // (height * width)))


def class_weights(labels: Tensor, classes: int) -> Tensor:
    """Return a weight per class with which all classes that occur count alike and the mean row counts 1."""
    counts = torch.bincount(labels.cpu(), minlength=classes).float()
    return torch.where(counts > 0, len(labels) / (counts.clamp(min=1) * (counts > 0).sum()), 0.0)


def _is_better(one: Epoch, other: Epoch) -> bool:
    return (one.validation_macro_recall, -one.validation_loss) > (
        other.validation_macro_recall,
        -other.validation_loss,
    )
