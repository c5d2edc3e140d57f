"""What a graphics card makes of the pipeline, beside the plain way of doing the same, on one card in one run.

    python -m distracted_pipeline_tests.benchmarks.bench_gpu                    # on a GPU: at most six minutes
    python -m distracted_pipeline_tests.benchmarks.bench_gpu --device cpu --tiny    # the same script, small, anywhere

Real architectures with random weights over drawn frames; both sides see the same files. Plain is what one writes in an
afternoon: for masks transformers' model and its own post-processing in a loop; for training the whole network from
decoded pixels, optimiser and autocast, nothing frozen away, nothing cached. Every section has its seconds; what they do
not suffice for is named. Nothing is asserted but that masks are made: a card's figures belong to that card, which is
printed. The sections are `gpu_masks`, `gpu_trainings` and `gpu_memory`.
"""

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import torch

from distracted_pipeline.demo.models import CONFIGURATION, build_efficientnet, picture
from distracted_pipeline.images.ingest import ingest
from distracted_pipeline.options import RunOptions
from distracted_pipeline.scopes import FOLDS
from distracted_pipeline.settings import Settings
from distracted_pipeline.variants.config import VariantConfig, load_catalogue
from distracted_pipeline_tests.benchmarks.bench_mask_fill import keep_ten, swin_base, tiny_model
from distracted_pipeline_tests.benchmarks.bench_masks import jpeg
from distracted_pipeline_tests.benchmarks.bench_training import B3
from distracted_pipeline_tests.benchmarks.gpu_clock import Bench, Clock, Items
from distracted_pipeline_tests.benchmarks.gpu_masks import masks, taps
from distracted_pipeline_tests.benchmarks.gpu_memory import out_of_memory
from distracted_pipeline_tests.benchmarks.gpu_trainings import first_epochs, heads, trainings
from distracted_pipeline_tests.conftest import DRIVERS, write_kaggle_tree
from distracted_pipeline_tests.masks.tiny_models import save_tiny_semantic

STUDY_IMAGES, STUDY_SHARE = 22_424, 0.7
"""Kaggle's labelled frames, and the share of them that one training learns from."""

SECTIONS: dict[str, tuple[Callable[[Clock, Bench], Items], float]] = {
    "masks": (masks, 0.3),
    "taps": (taps, 0.08),
    "trainings": (trainings, 0.27),
    "heads": (heads, 0.05),
    "first epoch": (first_epochs, 0.2),
    "too little memory": (out_of_memory, 0.1),
}
"""What is measured, in this order, and each one's share of the seconds: what one leaves, the next ones have."""


def deeplab(folder: Path) -> Path:
    """Save the architecture of DeepLabV3 on MobileNetV2 for Pascal VOC, at 513 x 513, with random weights."""
    from transformers import MobileNetV2Config, MobileNetV2ForSemanticSegmentation
    from transformers.models.mobilenet_v2.image_processing_pil_mobilenet_v2 import MobileNetV2ImageProcessorPil

    torch.manual_seed(0)
    labels = {i: f"label {i}" for i in range(21)} | {5: "bottle", 7: "car", 9: "chair", 15: "person"}
    config = MobileNetV2Config(image_size=513, id2label=labels, label2id={name: i for i, name in labels.items()})
    MobileNetV2ForSemanticSegmentation(config).save_pretrained(folder)
    MobileNetV2ImageProcessorPil(size={"height": 513, "width": 513}, do_center_crop=False).save_pretrained(folder)
    return folder


def tiny_mask2former(folder: Path) -> Path:
    """Save the tests' Mask2Former, sure of ten of its queries."""
    from transformers import Mask2FormerForUniversalSegmentation

    tiny_model(folder)
    model = Mask2FormerForUniversalSegmentation.from_pretrained(folder).eval()
    keep_ten(model)
    model.save_pretrained(folder)
    return folder


def prepared(folder: Path, device: str, tiny: bool, images: int) -> Bench:
    """Return models and frames, ingested."""
    drivers = DRIVERS if tiny else DRIVERS[:3]  # hundreds of frames each, as real drivers have
    root = write_kaggle_tree(folder / "data", drivers, frames=1 if tiny else -(-images // (10 * len(drivers))))
    if not tiny:
        with ThreadPoolExecutor() as pool:
            paths = sorted((root / "imgs").rglob("*.jpg"))
            list(pool.map(lambda seed, path: path.write_bytes(jpeg(seed)), range(len(paths)), paths))
    configuration = CONFIGURATION | {"image_size": 64} if tiny else B3
    side = configuration["image_size"]
    backbone = build_efficientnet(
        folder / "backbone", configuration, pictures=[picture(side, [1, n]) for n in range(8)]
    )
    universal = tiny_mask2former(folder / "tiny-mask2former") if tiny else swin_base(folder / "swin-base")
    semantic = save_tiny_semantic(folder / "tiny-segformer") if tiny else deeplab(folder / "deeplab")
    settings = Settings(data=root, backbone=str(backbone), segmenter=str(universal))
    ingest(settings, log=lambda line: None)
    batch, epochs = (8, 2) if tiny else (32, 2)
    options = RunOptions(device, log=lambda line: None, compile="auto")
    return Bench(settings, str(semantic), options, batch, epochs, tiny)


def study_hours(settings: Settings, rates: dict[str, float]) -> tuple[dict[str, float], list[str]]:
    """Return the hours of every part of a whole study at the measured rates, and the parts without a rate."""
    passes: dict[str, tuple[str, float]] = {"masks": ("masks", STUDY_IMAGES)}
    passes |= {f"tap {name}": (f"taps {name}", STUDY_IMAGES) for name in ("pixels", "pooled", "last_block")}
    for name, config in load_catalogue(settings).items():
        learnt = STUDY_IMAGES * STUDY_SHARE * config.epochs * config.replicates * len(FOLDS)
        passes[name] = (_rate_of(config), learnt)
        if config.checkpoint:
            passes[f"{name}, body"] = ("taps pooled", STUDY_IMAGES * config.replicates * len(FOLDS))
    hours = {name: images / rates[rate] / 3600 for name, (rate, images) in passes.items() if rate in rates}
    return hours, [name for name in passes if name not in hours]


def _rate_of(config: VariantConfig) -> str:
    """Return which measured rate a variant's trainings are counted at."""
    if config.kind in ("masks_only", "masks_fused"):
        return "masks_fused"
    if config.kind != "linear_probe":
        return config.kind
    return "fine_tune" if "pixels" in config.inputs else "embedding_only"


@click.command()
@click.option("--device", default="cuda", show_default=True, help="cuda, or cpu to try the script.")
@click.option("--tiny", is_flag=True, help="Tiny models and few frames: tries the script, says nothing of speed.")
@click.option("--images", default=1_800, show_default=True, help="Frames.")
@click.option("--seconds", default=330, show_default=True, help="After these nothing new is begun.")
@click.option("--section", "sections", multiple=True, type=click.Choice(list(SECTIONS)), help="Only this; repeatable.")
def main(device: str, tiny: bool, images: int, seconds: float, sections: tuple[str, ...]) -> None:
    """Print the table: masks, taps, trainings, first epochs, too little memory, hours of the whole study."""
    if device.startswith("cuda") and not torch.cuda.is_available():
        click.echo("no GPU here: nothing was measured (to try the script: --device cpu --tiny)")
        return
    started, chosen = time.monotonic(), torch.device(device)
    card = torch.cuda.get_device_name(chosen) if chosen.type == "cuda" else "a CPU"
    click.echo(f"{card}, {os.cpu_count()} cores, torch {torch.__version__}; images per second")
    with TemporaryDirectory() as folder:
        bench = prepared(Path(folder), device, tiny, images)
        click.echo(f"models and frames made in {time.monotonic() - started:.0f} s")
        until, left = time.monotonic(), max(seconds - (time.monotonic() - started), 0)
        for name in sections or SECTIONS:
            section, share = SECTIONS[name]
            until += left / len(sections) if sections else share * left
            clock = Clock(chosen, until)
            click.echo(f"-- {name}")
            for line in clock.lines(section(clock, bench)):
                click.echo(line)
        hours, without = study_hours(bench.settings, bench.rates)
    click.echo(f"-- hours of a whole study: {STUDY_IMAGES:,} frames, {len(FOLDS)} folds, trainings of the catalogue")
    click.echo(", ".join(f"{name} {value:.2f}" for name, value in hours.items()))
    click.echo(f"together {sum(hours.values()):.2f}" + (f"; not measured: {', '.join(without)}" if without else ""))


if __name__ == "__main__":
    main()
