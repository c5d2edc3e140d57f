"""Trains the demo's tiny EfficientNet on the pretext, from random weights.

Belongs here: data, loss, measurement. What is drawn and asked is `demo.pretext`; the
architecture is `demo.models`; files around the weights are `demo.pretrain`.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset
from transformers import EfficientNetForImageClassification

from distracted_pipeline.demo.models import build_tiny_efficientnet
from distracted_pipeline.demo.optimise import drawn, optimise
from distracted_pipeline.demo.pretext import LABELS, QUESTIONS, draw
from distracted_pipeline.progress import Log

STEPS = 1600
PICTURES = 16_000
BATCH = 64
_PEAK_RATE = 4e-3
_SIDE_QUESTION = 0.3
"""Weight of where, how large and on what, against 1 for what it is."""
_MOMENTUM = 0.02
"""Of batch norm while training: Hugging Face's 0.99 makes the statistics those of the last batch."""
_AVERAGING = 0.995


class Pictures(Dataset[tuple[Tensor, Tensor]]):
    """Drawn pictures, uint8 `[3, 96, 96]`, with their answers, int64 `[5]`; number k of a part is always the same.

    Args:
        count: How many.
        seed: Of the pictures.
        part: 0 to train on, 1 to measure on.
    """

    def __init__(self, count: int, seed: int, part: int) -> None:
        self._count, self._key = count, (seed, part)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        picture, answers = draw((*self._key, number))
        return torch.from_numpy(picture).permute(2, 0, 1), torch.from_numpy(answers)


def train_backbone(
    folder: Path,
    steps: int,
    seed: int,
    *,
    pictures: int = PICTURES,
    workers: int = 2,
    log: Log = print,
) -> Any:
    """Return a trained EfficientNet in eval mode.

    Args:
        folder: Gets configuration, processor and, every 100 steps, the weights so far.
        steps: Of 64 pictures.
        seed: Of weights, pictures and their order.
        pictures: Drawn once and used again and again, in other colours and light.
        workers: Drawing processes; 0 draws in this one.
        log: Receives progress lines.
    """
    torch.manual_seed(seed)
    numbering = dict(enumerate(LABELS))
    build_tiny_efficientnet(
        folder, seed, num_labels=len(LABELS), id2label=numbering, label2id={name: k for k, name in numbering.items()}
    )
    model = EfficientNetForImageClassification.from_pretrained(folder)
    usual = _set_momentum(model, _MOMENTUM)
    seen, answers = drawn(Pictures(pictures, seed, part=0), workers, log)

    def loss() -> Tensor:
        rows = torch.randint(pictures, (BATCH,))
        return _loss(model(_recoloured(seen[rows])).logits, answers[rows])

    trained = optimise(
        model,
        loss,
        steps,
        folder=folder,
        peak_rate=_PEAK_RATE,
        warm_up=0.15,
        averaging=_AVERAGING,
        average_statistics=True,
        log=log,
    )
    _set_momentum(trained, usual)
    return trained


@torch.inference_mode()
def accuracy(model: nn.Module, seen: Tensor, answers: Tensor) -> dict[str, float]:
    """Return the share of correct answers to each question."""
    model.eval()
    logits = torch.cat([model(pixels(batch)).logits for batch in seen.split(BATCH)])
    right = [part.argmax(1).eq(answers[:, k]).float().mean().item() for k, part in enumerate(_by_question(logits))]
    return dict(zip(QUESTIONS, np.round(right, 4).tolist(), strict=True))


def pixels(pictures: Tensor) -> Tensor:
    """Return uint8 pictures as the processor normalises them: -1..1."""
    return pictures.float() / 127.5 - 1


def _recoloured(pictures: Tensor) -> Tensor:
    """Shuffle the colour channels and change contrast and brightness, picture by picture."""
    count = len(pictures)
    order = torch.rand(count, 3).argsort(1)[:, :, None, None].expand_as(pictures)
    contrast, brightness = torch.rand(2, count, 1, 1, 1)
    return (pixels(pictures.gather(1, order)) * (0.7 + 0.5 * contrast) + 0.4 * (brightness - 0.5)).clamp(-1, 1)


def _by_question(logits: Tensor) -> tuple[Tensor, ...]:
    return logits.split([len(answers) for answers in QUESTIONS.values()], dim=1)


def _loss(logits: Tensor, answers: Tensor) -> Tensor:
    losses = [functional.cross_entropy(part, answers[:, k]) for k, part in enumerate(_by_question(logits))]
    return losses[0] + _SIDE_QUESTION * torch.stack(losses[1:]).sum()


def _set_momentum(model: nn.Module, momentum: float) -> float:
    """Set the momentum of every batch norm; return what it was."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    before = norms[0].momentum
    for norm in norms:
        norm.momentum = momentum
    assert before is not None  # configurations of EfficientNet always name one
    return before
