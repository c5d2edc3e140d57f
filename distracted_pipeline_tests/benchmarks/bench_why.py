"""How many altered frames a second: making them, and asking the networks of a fold about them.

    python -m distracted_pipeline_tests.benchmarks.bench_why

One process, one thread, CPU time. Masks of 640 x 480 with a person, a chair and a phone; pictures at the 96 pixels of
the demo's tiny EfficientNet; three trainings of `top_only`, which share one pass through the frozen body. The bar is
for making and asking together.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")

import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np
import torch
from transformers import EfficientNetForImageClassification

from distracted_pipeline.demo.models import build_tiny_efficientnet
from distracted_pipeline.explanation.what_if.corruptions import CORRUPTIONS, STRENGTHS
from distracted_pipeline.explanation.what_if.counterfactuals import versions
from distracted_pipeline.explanation.what_if.frames import Frame
from distracted_pipeline.variants.config import VariantConfig
from distracted_pipeline.variants.networks import VariantNet
from distracted_pipeline.variants.trunks import EfficientNetTrunk
from distracted_pipeline_tests.activations import refuse_denormals

BAR = 50
_BATCH, _TRAININGS = 64, 3
_CATEGORIES = {1: "person", 3: "cell phone", 6: "chair"}


def frame(number: int, side: int) -> Frame:
    """Return a frame of noise, and a mask with large and small things in it."""
    rng = np.random.default_rng(number)
    mask = np.zeros((480, 640), np.uint8)
    mask[100:, 20:180], mask[60:400, 200:420] = 6, 1
    y, x = rng.integers(200, 340), rng.integers(220, 380)
    mask[y : y + 36, x : x + 20] = 3
    return Frame(number, f"img_{number}.jpg", "p002", 1, rng.integers(0, 256, (side, side, 3), dtype=np.uint8), mask)


def asker() -> tuple[Callable[[np.ndarray], None], int]:
    """Return what asks three trainings about pictures, uint8 [B, h, w, 3], and the size they have."""
    with TemporaryDirectory() as folder:  # calibrated, or activations would die out on the way
        built = build_tiny_efficientnet(Path(folder) / "backbone")
        model = EfficientNetForImageClassification.from_pretrained(built).eval()
    noise = torch.rand(2, 3, model.config.image_size, model.config.image_size)
    refuse_denormals(model, lambda: model(noise))
    body = EfficientNetTrunk(model).requires_grad_(False).to(memory_format=torch.channels_last)
    config = VariantConfig(name="bench", kind="top_only")
    nets = [VariantNet(config, body, None, classes=10).eval() for _ in range(_TRAININGS)]
    size = model.config.image_size
    assert isinstance(size, int)

    def ask(pictures: np.ndarray) -> None:
        with torch.inference_mode():
            for part in np.array_split(pictures, max(1, len(pictures) // _BATCH)):
                x = torch.from_numpy(part.transpose(0, 3, 1, 2).astype(np.float32) / 255)
                taps = body.taps(x.contiguous(memory_format=torch.channels_last), config.taps)
                torch.stack([net(taps) for net in nets])

    return ask, size


@click.command()
@click.option("--frames", default=24, show_default=True)
def main(frames: int) -> None:
    """Print altered images a second; exit with 1 below the bar."""
    ask, side = asker()
    shown = [frame(number, side) for number in range(frames)]
    makers: dict[str, Callable[[Frame], list[np.ndarray]]] = {
        "counterfactuals": lambda f: [v.pixels for c, name in _CATEGORIES.items() for v in versions(f, c, name)],
        "corruptions": lambda f: [c.pixels(f.pixels, s, f.row) for c in CORRUPTIONS.values() for s in STRENGTHS],
    }
    slow = False
    for name, make in makers.items():
        ask(np.stack(make(shown[0])))  # warm
        start = time.process_time()
        pictures = [picture for each in shown for picture in make(each)]
        made = time.process_time()
        ask(np.stack(pictures))
        asked = time.process_time()
        both = len(pictures) / (asked - start)
        slow |= both < BAR
        click.echo(
            f"{name}: {len(pictures)} images, made {len(pictures) / (made - start):,.0f}/s, "
            f"asked {len(pictures) / (asked - made):,.0f}/s, together {both:,.0f}/s (bar {BAR})"
        )
    if slow:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
