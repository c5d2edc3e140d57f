"""The training loop that both of the demo's models share.

Belongs here: optimiser, schedule, averaging, checkpoints, drawing into memory. What is drawn, and the loss, belong
to `demo.backbone_training` and `demo.segmenter_training`. The pipeline's own training is another room.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Dataset

from distracted_pipeline.progress import Log, Progress

_CHECKPOINT_EVERY = 100
_WEIGHT_DECAY = 0.02
_LARGEST_GRADIENT = 5.0


def drawn(pictures: Dataset[tuple[Tensor, ...]], workers: int, log: Log) -> tuple[Tensor, ...]:
    """Draw a whole data set into memory; return its columns stacked.

    Args:
        pictures: A data set of known length.
        workers: Drawing processes; 0 draws in this one.
        log: Receives progress lines.
    """
    progress = Progress(len(pictures), "pictures drawn", log)  # type: ignore[arg-type]
    columns: list[list[Tensor]] = []
    # A generator of its own: whether and how pictures are drawn leaves the order of training as it is.
    for batch in DataLoader(pictures, batch_size=32, num_workers=workers, generator=torch.Generator()):
        columns.append(batch)
        progress.advance(len(batch[0]))
    return tuple(torch.cat(column) for column in zip(*columns, strict=True))


def optimise(
    model: Any,
    loss: Callable[[], Tensor],
    steps: int,
    *,
    folder: Path,
    peak_rate: float,
    warm_up: float,
    averaging: float,
    average_statistics: bool,
    log: Log,
) -> Any:
    """Train with AdamW and one cycle of the learning rate; return the moving average of the weights, in eval mode.

    Args:
        model: A Hugging Face model; changed.
        loss: Draws a batch and returns the model's loss on it.
        steps: Calls of `loss`.
        folder: Gets the averaged weights so far every 100 steps.
        peak_rate: Highest learning rate.
        warm_up: Share of the steps until then.
        averaging: Decay of the moving average per step.
        average_statistics: Average the buffers too: batch norms need it, index tables must not be touched.
        log: Receives progress lines.
    """
    averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(averaging), use_buffers=average_statistics)
    optimizer = torch.optim.AdamW(model.parameters(), lr=peak_rate, weight_decay=_WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, peak_rate, total_steps=steps, pct_start=warm_up)
    progress = Progress(steps, "steps", log)
    result: Any = averaged.module
    model.train()
    for step in range(1, steps + 1):
        value = loss()
        optimizer.zero_grad()
        torch.autograd.backward(value)
        nn.utils.clip_grad_norm_(model.parameters(), _LARGEST_GRADIENT)
        optimizer.step()
        schedule.step()
        averaged.update_parameters(model)
        progress.advance()
        if step % _CHECKPOINT_EVERY == 0 or step == steps:
            log(f"step {step:,}: loss {value.item():.3f}; weights so far in {folder}")
            result.save_pretrained(folder)
    return result.eval()
