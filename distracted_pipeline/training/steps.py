"""One step of a training, of one replicate or of several: forward, loss, gradients, optimiser.

Belongs here: what a step needs, and how it fits into memory. Epochs, scoring, and which epoch is kept are `loop`'s;
what learns at which rate is `optimizers`'.

The loss is cross-entropy on logits. Rows of a batch never depend on each other, so a batch may pass in pieces, with the
gradient of the whole.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from distracted_pipeline.compiling import TRAINING_PAYS_FROM, Compiled, filled_up, keep_kernels, pays
from distracted_pipeline.devices import autocast_dtype, resolve_device
from distracted_pipeline.memory import Pieces, is_out_of_memory
from distracted_pipeline.options import RunOptions
from distracted_pipeline.recording import PAYS_FROM, Given, Recorder, aside
from distracted_pipeline.training.inputs import Rows
from distracted_pipeline.training.optimizers import LBFGS_ITERATIONS, build_optimizer
from distracted_pipeline.training.team import Team
from distracted_pipeline.variants.config import VariantConfig
from distracted_pipeline.variants.networks import VariantNet

_LABELS, _KEEP = "labels of a step", "what dropout leaves in a step"

PIECE_PIXELS = 16 * 300 * 300
"""Pixels that pass through a learning backbone at once on a CPU, also from a tap: sixteen images of EfficientNet-B3.
With more, each image takes more time and memory; with fewer, torch picks slower convolutions."""


@dataclass
class Session:
    """What a step needs beside its batch.

    Attributes:
        team: The networks.
        config: Their variant.
        seeds: Of each one's training.
        device: Where they are.
        optimizer: Over what learns in all of them.
        weights: Of each class in the loss; None counts every row the same.
        dtype: Autocast type of the forward pass; None computes in fp32.
        scaler: Of gradients in fp16.
        pieces: How many rows pass through a network at once.
        steady: Whether every piece has that many rows, the last one of an epoch filled up: a GPU plans each
            convolution anew for every shape that it meets, and a compiler compiles for it.
        compiled: The networks through the compiler, if they are.
        recorder: Of steps, on a CUDA device.
        scorer: Of scoring, likewise.
    """

    team: Team
    config: VariantConfig
    seeds: Sequence[int]
    device: torch.device
    optimizer: torch.optim.Optimizer
    weights: Tensor | None
    dtype: torch.dtype | None
    scaler: torch.amp.GradScaler
    pieces: Pieces
    steady: bool
    compiled: Compiled
    recorder: Recorder[Tensor]
    scorer: Recorder[Tensor]


def open_session(
    nets: Sequence[VariantNet],
    train: Rows,
    config: VariantConfig,
    seeds: Sequence[int],
    options: RunOptions = RunOptions(),
) -> Session:
    """Return what training `nets`, which are on the device, on the rows `train` starts with."""
    device = resolve_device(options.device_name())
    if device.type == "cuda":
        keep_kernels(options.kernels)
    solver = config.optimizer == "lbfgs"
    dtype = None if solver else autocast_dtype(options.precision, device)
    weights = class_weights(train.labels, nets[0].classifier.out_features) if config.class_weights else None
    team = Team(nets)
    size = _first_piece(nets[0], train, config, device, options.batch_size)
    compiled = _compiled(nets, train, config, device, options)
    steps = config.epochs * len(train) // config.batch_size
    recorded = options.compile == "auto" and device.type == "cuda" and steps >= PAYS_FROM and not (solver or compiled)
    return Session(
        team=team,
        config=config,
        seeds=seeds,
        device=device,
        optimizer=build_optimizer(team.parameters, config, device),
        weights=weights.to(device, solver_dtype(config, device)) if weights is not None else None,
        dtype=dtype,
        scaler=torch.amp.GradScaler(device.type, enabled=dtype is torch.float16),
        pieces=Pieces(
            size,
            options.log,
            what=f"variant {config.name}",
            note="" if solver else f", gradients added up to the same batches of {config.batch_size}",
        ),
        steady=len(train) > size and _convolves(nets[0], train) and (bool(compiled) or device.type == "cuda"),
        compiled=compiled,
        # In fp16 the CPU looks at gradients before the step.
        recorder=Recorder(recorded and dtype is not torch.float16, options.log),
        scorer=Recorder(recorded, options.log),
    )


def step(session: Session, batch: dict[str, Tensor], labels: Tensor, keep: Tensor | None = None) -> Tensor:
    """Take one step of every replicate and return the loss of each before it, `[R]`.

    Args:
        session: The networks and their optimiser.
        batch: Inputs by name, `[R, B, ...]`.
        labels: Class positions, `[R, B]`.
        keep: What dropout multiplies the classifier's input by, `[R, B, width]`; None without dropout.

    Raises:
        DistractedError: Not even one row fits into the device's memory.
    """
    if session.config.optimizer == "lbfgs":
        return _lbfgs_step(session, batch, labels, keep)

    given = {**batch, _LABELS: labels} if keep is None else {**batch, _LABELS: labels, _KEEP: keep}
    if labels.shape[1] == session.config.batch_size:
        recorded = session.recorder.step(given, lambda inputs: _recordable_step(session, inputs))
        if recorded is not None:
            return recorded

    def losses_of_all() -> Tensor:
        try:
            return session.compiled.run(lambda: _accumulate(session, batch, labels, keep))
        except Exception as error:
            if not (is_out_of_memory(error) and session.recorder):
                raise
        session.scorer.forget()
        session.recorder.forget()  # what it holds may be all that is lacking
        return _accumulate(session, batch, labels, keep)

    at_once = session.pieces.size if session.steady else labels.shape[1]
    with aside(session.device) if session.recorder else nullcontext():
        losses = session.pieces.retried(at_once, losses_of_all)
        session.scaler.step(session.optimizer)
        session.scaler.update()
    return losses


def _recordable_step(session: Session, given: Given) -> Tensor:
    batch = {name: values for name, values in given.items() if name not in (_LABELS, _KEEP)}
    losses = _accumulate(session, batch, given[_LABELS], given.get(_KEEP))
    session.optimizer.step()
    return losses


def solver_dtype(config: VariantConfig, device: torch.device) -> torch.dtype:
    """Return what to compute in outside of autocast: fp64 for L-BFGS, which fp32 would stop short of the optimum."""
    return torch.float64 if config.optimizer == "lbfgs" and device.type != "mps" else torch.float32


def is_solved(session: Session) -> bool:
    """Tell whether L-BFGS found nothing to improve in its last epoch: it ended before its last iteration."""
    return any(state["n_iter"] % LBFGS_ITERATIONS for state in session.optimizer.state.values())


def class_weights(labels: Tensor, classes: int) -> Tensor:
    """Return a weight per class with which all classes that occur count alike and the mean row counts 1."""
    counts = torch.bincount(labels.cpu(), minlength=classes).float()
    return torch.where(counts > 0, len(labels) / (counts.clamp(min=1) * (counts > 0).sum()), 0.0)


def _accumulate(session: Session, batch: dict[str, Tensor], labels: Tensor, keep: Tensor | None) -> Tensor:
    """Leave the gradient of the whole batch in the parameters, piece by piece, and return its losses `[R]`."""
    session.optimizer.zero_grad()
    scale = _scale(session, labels)
    total = torch.zeros(len(labels), dtype=scale.dtype, device=session.device)
    for first in range(0, labels.shape[1], session.pieces.size):
        part = slice(first, first + session.pieces.size)
        with torch.autocast(session.device.type, session.dtype, enabled=session.dtype is not None):
            logits = _logits(session, {name: values[:, part] for name, values in batch.items()}, keep, part)
        losses = _summed_losses(session, logits, labels[:, part]) / scale
        session.scaler.scale(losses.sum()).backward()
        total += losses.detach()
    return total


def _logits(session: Session, batch: dict[str, Tensor], keep: Tensor | None, part: slice) -> Tensor:
    """Return the logits `[R, rows, classes]` of a piece; rows that fill it up leave no gradient."""
    kept = None if keep is None else keep[:, part]
    rows = next(iter(batch.values())).shape[1]
    if session.steady:
        batch = {name: filled_up(values, session.pieces.size, 1) for name, values in batch.items()}
        kept = None if kept is None else filled_up(kept, session.pieces.size, 1)
    return session.team.logits(batch, kept)[:, :rows]


def _scale(session: Session, labels: Tensor) -> Tensor:
    """Return what the summed losses of a batch are divided by, `[R]`: its rows, or their weights."""
    if session.weights is None:
        dtype = solver_dtype(session.config, session.device)
        return torch.full((len(labels),), float(labels.shape[1]), dtype=dtype, device=session.device)
    return session.weights[labels].sum(1)


def _summed_losses(session: Session, logits: Tensor, labels: Tensor) -> Tensor:
    """Return the summed loss of each replicate, `[R]`, of logits `[R, B, classes]`."""
    losses = functional.cross_entropy(
        (logits if logits.dtype is torch.float64 else logits.float()).flatten(0, 1),
        labels.flatten(),
        session.weights,
        reduction="none",
        label_smoothing=session.config.label_smoothing,
    )
    return losses.view(labels.shape).sum(1)


def _lbfgs_step(session: Session, batch: dict[str, Tensor], labels: Tensor, keep: Tensor | None) -> Tensor:
    """Let L-BFGS evaluate the whole batch as often as its line search asks; it has no weight decay of its own."""
    losses: list[Tensor] = []
    rows = labels.shape[1]

    def closure() -> Tensor:
        loss = session.pieces.retried(rows, lambda: _accumulate(session, batch, labels, keep)).sum()
        losses.append(loss)
        weight = session.team.parameters["classifier.weight"]
        penalty = weight.square().sum() * session.config.top_decay / (2 * rows)
        penalty.backward()
        return loss + penalty

    session.optimizer.step(closure)  # type: ignore[arg-type]
    return losses[0][None]


def _convolves(net: VariantNet, rows: Rows) -> bool:
    """Tell whether a step passes maps, or images, through the backbone."""
    return net.trunk is not None and rows.raw[net.inputs[0]].ndim == 4


def _compiled(
    nets: Sequence[VariantNet], rows: Rows, config: VariantConfig, device: torch.device, options: RunOptions
) -> Compiled:
    """Return the backbone of a network through the compiler, if it is one network and that pays."""
    wanted = pays(options.compile, device, len(rows) * config.epochs, TRAINING_PAYS_FROM)
    trunks = [net.trunk for net in nets if net.trunk is not None]
    if not (wanted and len(nets) == 1 and config.optimizer != "lbfgs" and _convolves(nets[0], rows)):
        trunks = []
    return Compiled(trunks, options.kernels, options.log)


def _first_piece(net: VariantNet, rows: Rows, config: VariantConfig, device: torch.device, asked: int) -> int:
    """Return how many rows pass at once to begin with; `asked` 0 chooses."""
    if config.optimizer == "lbfgs":
        return len(rows)
    if asked:
        return asked
    if device.type != "cpu" or net.trunk is None or not _convolves(net, rows):
        return config.batch_size
    height, width = net.trunk.image_size  # from a tap too: what follows it is as large as from pixels
    return max(1, min(config.batch_size, PIECE_PIXELS // (height * width)))
