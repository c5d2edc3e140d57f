"""The training loop: plain PyTorch over tensors, readable from top to bottom.

Belongs here: optimisers, one epoch, scoring, and which epoch is kept. Does not belong here: where rows come
from (`inputs`), and what becomes of the result (`train`, `checkpoint`, `tracking`).

Every epoch draws its order and its noise from `seed + epoch` alone, and the learning rate is a function of the
epoch: what an epoch does depends on the state before it and on nothing else. No batch is dropped; the loss is
cross-entropy on logits. Kept is the epoch with the highest macro recall on the validation drivers (ties: lowest
loss), which are part of the training side and never the ones that are reported.
"""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from torch import Tensor
from torch.nn import functional

from distracted_pipeline.progress import INTERVAL_S
from distracted_pipeline.training.inputs import Rows
from distracted_pipeline.variants.config import VariantConfig
from distracted_pipeline.variants.networks import TOP, VariantNet
from distracted_pipeline.vocabulary import CLASS_IDS

State = dict[str, Tensor]

SCORING_BATCH = 256


@dataclass(frozen=True)
class Scores:
    """How a network does on some rows.

    Attributes:
        loss: Mean cross-entropy.
        accuracy: Share of correct rows.
        macro_recall: Mean recall over the classes that occur.
        recall: By class position; NaN where the class does not occur.
    """

    loss: float
    accuracy: float
    macro_recall: float
    recall: tuple[float, ...]


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
        best: Weights that learn, after the best epoch, on the CPU; None before the first good epoch.
        best_epoch: Counted from 1; 0 before the first good epoch.
        diverged: The epoch whose loss was not finite, where training stopped; None if all went well.
    """

    history: list[Epoch]
    best: State | None = None
    best_epoch: int = 0
    diverged: int | None = None


def fit(
    net: VariantNet,
    train: Rows,
    validation: Rows,
    config: VariantConfig,
    device: torch.device,
    log: Callable[[str], object] = print,
) -> Fit:
    """Train `net` in place and return its history and best weights; a loss that is not finite ends it early."""
    train, validation = train.to(device), validation.to(device)
    optimizer = build_optimizer(net, config)
    initial = [group["lr"] for group in optimizer.param_groups]
    result = Fit([])
    spoke = time.monotonic()
    for epoch in range(1, config.epochs + 1):
        start = time.monotonic()
        for group, rate in zip(optimizer.param_groups, initial, strict=True):
            group["lr"] = rate * rate_factor(config, epoch)
        train_loss = train_epoch(net, optimizer, train, config, epoch, device)
        scores = score(predict_logits(net, validation, device), validation.labels)
        if not (math.isfinite(train_loss) and math.isfinite(scores.loss)):
            result.diverged = epoch
            break
        rate = optimizer.param_groups[0]["lr"]
        result.history.append(
            Epoch(epoch, train_loss, scores.loss, scores.accuracy, scores.macro_recall, rate, time.monotonic() - start)
        )
        if result.best is None or _is_better(result.history[-1], result.history[result.best_epoch - 1]):
            result.best, result.best_epoch = learned_state(net), epoch
        if time.monotonic() - spoke > INTERVAL_S:
            spoke = time.monotonic()
            log(f"epoch {epoch}/{config.epochs}: loss {train_loss:.3f}, validation recall {scores.macro_recall:.3f}")
    return result


def train_epoch(
    net: VariantNet,
    optimizer: torch.optim.Optimizer,
    rows: Rows,
    config: VariantConfig,
    epoch: int,
    device: torch.device,
) -> float:
    """Go once over the rows and return the mean loss; the order and all noise come from the seed and the epoch."""
    net.train()
    generator = torch.Generator().manual_seed(config.seed * 100_003 + epoch)
    total = torch.zeros((), device=device)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(config.seed * 100_003 + epoch)  # dropout
        for index in _batches(len(rows), config, generator):
            batch = rows.batch(index, device)
            labels = rows.labels[index.to(rows.labels.device)].to(device)
            if config.augment:
                batch["pixels"] = jitter(batch["pixels"], generator)
            total += _step(net, optimizer, batch, labels, config) * len(index)
    return float(total) / len(rows)


def predict_logits(net: VariantNet, rows: Rows, device: torch.device) -> Tensor:
    """Return logits `[N, 10]` in eval mode."""
    net.eval()
    with torch.inference_mode():
        parts = [net(rows.batch(index, device)) for index in torch.arange(len(rows)).split(SCORING_BATCH)]
    return torch.cat(parts) if parts else torch.empty(0, len(CLASS_IDS))


def score(logits: Tensor, labels: Tensor) -> Scores:
    """Return loss, accuracy and recalls of logits `[N, 10]` against class positions `[N]`."""
    labels = labels.to(logits.device)
    right = (logits.argmax(1) == labels).double()
    counts = torch.bincount(labels, minlength=len(CLASS_IDS)).double()
    recall = torch.bincount(labels, weights=right, minlength=len(CLASS_IDS)) / counts
    return Scores(
        loss=float(functional.cross_entropy(logits.double(), labels)),
        accuracy=float(right.mean()),
        macro_recall=float(recall[counts > 0].mean()),
        recall=tuple(recall.tolist()),
    )


def build_optimizer(net: VariantNet, config: VariantConfig) -> torch.optim.Optimizer:
    """Return the variant's optimiser over what learns: the top at `top_lr`, the body at `body_lr`."""
    top = [parameter for name, parameter in net.learning() if TOP.search(name)]
    body = [parameter for name, parameter in net.learning() if not TOP.search(name)]
    if config.optimizer == "lbfgs":
        return torch.optim.LBFGS(
            top, lr=config.top_lr, max_iter=8, history_size=10, tolerance_grad=1e-9, line_search_fn="strong_wolfe"
        )
    groups = [{"params": top, "lr": config.top_lr, "weight_decay": config.top_decay}]
    if body:
        groups.append({"params": body, "lr": config.body_lr, "weight_decay": config.body_decay})
    return torch.optim.AdamW(groups) if config.optimizer == "adamw" else torch.optim.Adadelta(groups)


def rate_factor(config: VariantConfig, epoch: int) -> float:
    """Return what learning rates are multiplied by in an epoch, counted from 1."""
    if config.scheduler == "cosine":
        return 0.5 * (1 + math.cos(math.pi * (epoch - 1) / config.epochs))
    return config.gamma ** (epoch - 1)


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


def _batches(count: int, config: VariantConfig, generator: torch.Generator) -> tuple[Tensor, ...]:
    if config.optimizer == "lbfgs":
        return (torch.arange(count),)
    return torch.randperm(count, generator=generator).split(config.batch_size)


def _step(
    net: VariantNet, optimizer: torch.optim.Optimizer, batch: dict[str, Tensor], labels: Tensor, config: VariantConfig
) -> Tensor:
    """Take one step and return the loss before it."""
    losses: list[Tensor] = []

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = functional.cross_entropy(net(batch), labels)
        losses.append(loss.detach())
        if config.optimizer == "lbfgs":  # it has no weight decay of its own
            loss = loss + config.top_decay / (2 * len(labels)) * net.classifier.weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)  # type: ignore[arg-type]
    return losses[0]


def _is_better(one: Epoch, other: Epoch) -> bool:
    return (one.validation_macro_recall, -one.validation_loss) > (
        other.validation_macro_recall,
        -other.validation_loss,
    )
