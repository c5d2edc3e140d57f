"""Trains the demo's two models from a seed and writes them as they are shipped.

Belongs here: the command and the files around the weights. The training itself is `demo.backbone_training`
and `demo.segmenter_training`, the words of the model cards are `demo.cards`.

    python -m distracted_pipeline.demo.pretrain segmenter --out distracted_pipeline/demo/weights/segmenter
"""

import tempfile
import time
from pathlib import Path
from typing import Any, cast

import click

from distracted_pipeline.demo.cards import Run, backbone_card, segmenter_card
from distracted_pipeline.demo.shipped import CARD, CHECKSUMS, Model, write_checksums
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.files import write_text
from distracted_pipeline.progress import Log
from distracted_pipeline.settings import Settings

MEASURED_FRAMES = 2
"""Frames per class of each of the demo's drivers that a segmenter is measured on."""


def pretrain(model: Model, folder: Path, steps: int, seed: int, *, log: Log = print, **options: Any) -> None:
    """Train a model, then write it to `folder` as `finish` does.

    Args:
        model: Which of the two.
        folder: Without checksums until everything is there, so a run that was killed is never taken for a result.
        steps: Training steps.
        seed: Of weights, pictures and their order.
        log: Receives progress lines.
        options: Of `train_segmenter` or `train_backbone`.

    Raises:
        DistractedError: Fewer than twenty steps.
    """
    import torch

    if steps < 20:
        raise DistractedError(f"steps={steps}: a schedule needs at least 20. Leave --steps out for the usual number.")
    (folder / CHECKSUMS).unlink(missing_ok=True)
    started = time.monotonic()
    if model == "segmenter":
        from distracted_pipeline.demo.segmenter_training import train_segmenter

        trained = train_segmenter(folder, steps, seed, log=log, **options)
    else:
        from distracted_pipeline.demo.backbone_training import train_backbone

        trained = train_backbone(folder, steps, seed, log=log, **options)
    trained.half().save_pretrained(folder)
    finish(model, folder, Run(steps, seed, (time.monotonic() - started) / 60, torch.get_num_threads()), log=log)


def finish(model: Model, folder: Path, run: Run, *, log: Log = print) -> dict[str, Any]:
    """Measure the weights in `folder`, as anyone would load them, and write the card, then the checksums.

    Returns:
        The measurements that the card reports.
    """
    (folder / "model.safetensors").chmod(0o644)
    measured = measure_segmenter(folder, log) if model == "segmenter" else measure_backbone(folder, run.seed, log)
    card = segmenter_card if model == "segmenter" else backbone_card
    write_text(folder / CARD, card(folder, run, measured))
    write_checksums(folder)
    log(f"{folder}: {measured}")
    return measured


def measure_segmenter(folder: Path, log: Log = print, frames: int = MEASURED_FRAMES) -> dict[str, Any]:
    """Return `segmenter_training.measure` of a model folder on the demo's own drivers, through the real code path."""
    from distracted_pipeline.demo.segmenter_training import demo_scenes, measure
    from distracted_pipeline.masks.loading import load_segmenter

    with tempfile.TemporaryDirectory() as data:
        segmenter = load_segmenter(Settings(data=Path(data), segmenter=str(folder)), "cpu", "fp32")
        return measure(segmenter, demo_scenes(frames), log)


def measure_backbone(folder: Path, seed: int, log: Log = print, pictures: int = 2_000) -> dict[str, Any]:
    """Return the share of correct answers of a model folder on pictures that no training with `seed` saw."""
    import torch
    from transformers import EfficientNetForImageClassification

    from distracted_pipeline.demo.backbone_training import Pictures, accuracy, drawn

    reloaded = EfficientNetForImageClassification.from_pretrained(folder, dtype=torch.float32)
    return {"accuracy": accuracy(reloaded, *drawn(Pictures(pictures, seed, part=1), 0, log)), "pictures": pictures}


@click.command()
@click.argument("model", type=click.Choice(["segmenter", "backbone"]))
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="Folder to write; pretrained/MODEL if left out."
)
@click.option("--steps", type=int, help="Training steps; those of the shipped model if left out.")
@click.option("--seed", type=int, default=0, show_default=True)
def main(model: str, out: Path | None, steps: int | None, seed: int) -> None:
    """Train the demo's segmenter or backbone from a seed, measure it, and write its MODEL_CARD.md."""
    if model == "segmenter":
        from distracted_pipeline.demo.segmenter_training import STEPS
    else:
        from distracted_pipeline.demo.backbone_training import STEPS
    from distracted_pipeline.huggingface import quiet_transformers

    try:
        with quiet_transformers():
            pretrain(
                cast(Model, model),
                out or Path("pretrained") / model,
                STEPS if steps is None else steps,
                seed,
                log=click.echo,
            )
    except DistractedError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
