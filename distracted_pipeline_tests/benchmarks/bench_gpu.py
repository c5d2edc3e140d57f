"""What a graphics card makes of the pipeline, beside the plain way of doing the same, on one card in one run.

    python -m distracted_pipeline_tests.benchmarks.bench_gpu                    # on a GPU: at most six minutes
    python -m distracted_pipeline_tests.benchmarks.bench_gpu --device cpu --tiny    # the same script, small, anywhere

Real architectures with random weights over drawn frames; both sides see the same files. Plain is what one writes in an
afternoon: for masks transformers' model and its own post-processing in a loop; for training the whole network from
decoded pixels, optimiser and autocast, nothing frozen away, nothing cached. The first epoch is told apart from the
others. Nothing is asserted but that masks are made: a card's figures belong to that card, which is printed.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import torch
from torch.nn import functional

from distracted_pipeline.demo.models import CONFIGURATION, build_efficientnet, picture
from distracted_pipeline.devices import autocast_dtype
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.features.taps import TapStore
from distracted_pipeline.images.decode import ImageReader
from distracted_pipeline.images.ingest import ingest
from distracted_pipeline.images.manifest import labelled, read_manifest
from distracted_pipeline.masks.fill import fill_missing
from distracted_pipeline.options import RunOptions
from distracted_pipeline.settings import Settings
from distracted_pipeline.training.inputs import PIXELS, Rows
from distracted_pipeline.training.loop import predict_logits, train_epoch
from distracted_pipeline.training.steps import open_session
from distracted_pipeline.variants.backbones import load_backbone
from distracted_pipeline.variants.config import VariantConfig
from distracted_pipeline.variants.networks import build_network
from distracted_pipeline_tests.benchmarks.bench_mask_fill import swin_base, tiny_model
from distracted_pipeline_tests.benchmarks.bench_masks import jpeg
from distracted_pipeline_tests.benchmarks.bench_training import B3
from distracted_pipeline_tests.conftest import write_kaggle_tree

STUDY_IMAGES, STUDY_FOLDS, STUDY_SHARE, STUDY_EPOCHS = 22_424, 6, 0.7, 10
"""Kaggle's labelled frames, trainings of each variant, the share of frames that one learns from, epochs of one."""

SHARES_OF_MEMORY_GIB = 3
KINDS: dict[str, dict[str, Any]] = {
    "fine_tune": {"optimizer": "adamw", "top_lr": 0.001, "body_lr": 0.0001},
    "lora": {"optimizer": "adamw", "top_lr": 0.001},
    "batch_norm": {"optimizer": "adamw", "top_lr": 0.001},
    "adapters": {"optimizer": "adamw", "top_lr": 0.001},
    "top_only": {"optimizer": "adamw", "top_lr": 0.001},
}


class Clock:
    """Runs work on a device and tells images per second; stops waiting for no work once `seconds` are over."""

    def __init__(self, device: torch.device, seconds: float) -> None:
        self.device = device
        self.until = time.monotonic() + seconds

    @property
    def over(self) -> bool:
        return time.monotonic() > self.until

    def rate(self, work: Callable[[], object], images: int) -> float:
        self._wait()
        started = time.perf_counter()
        work()
        self._wait()
        return images / (time.perf_counter() - started)

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def masks(clock: Clock, settings: Settings, options: RunOptions) -> Iterator[str]:
    """Yield lines on making masks: the plain loop, ours from one end to the other, and how many queries were kept."""
    from transformers import AutoImageProcessor, AutoModelForUniversalSegmentation

    paths = labelled(read_manifest(settings))["path"].to_pylist()
    processor = AutoImageProcessor.from_pretrained(settings.segmenter, backend="pil")
    model = AutoModelForUniversalSegmentation.from_pretrained(settings.segmenter).to(clock.device).eval()
    kept: list[int] = []

    @torch.inference_mode()
    def plain(some: list[str]) -> None:
        with ImageReader(settings.data) as reader:
            for path in some:
                image = reader.rgb(path)
                pixels = processor(images=image, return_tensors="pt")["pixel_values"].to(clock.device)
                output = model(pixel_values=pixels)
                processor.post_process_panoptic_segmentation(output, target_sizes=[image.shape[:2]])
                scores, labels = output.class_queries_logits[0].float().softmax(-1).max(-1)
                kept.append(int(((scores > 0.5) & (labels != output.class_queries_logits.shape[-1] - 1)).sum()))

    plain(paths[:1])
    few = paths[: max(1, len(paths) // 8)]
    plainly = clock.rate(lambda: plain(few), len(few))
    model.cpu()
    results: list[Any] = []
    ours = clock.rate(lambda: results.append(fill_missing(settings, options=options)), len(paths))
    (found,) = results
    done = sum(each.done for each in found.values())
    assert done >= len(paths), "masks are missing"
    waited = 1 - sum(each.model_seconds for each in found.values()) / sum(each.seconds for each in found.values())
    name = Path(settings.segmenter).name
    yield f"masks, {name}: plain {plainly:,.1f}, ours {ours:,.1f} images/s ({ours / plainly:.1f}x)"
    yield f"  queries kept of an image: {sum(kept) / len(kept):.1f}; device without a batch {waited:.0%} of the time"
    cpu = {stage: sum(each.cpu.get(stage, 0.0) for each in found.values()) for stage in next(iter(found.values())).cpu}
    yield "  CPU ms an image: " + ", ".join(f"{stage} {1e3 * seconds / done:.2f}" for stage, seconds in cpu.items())


def taps(clock: Clock, settings: Settings, options: RunOptions) -> Iterator[str]:
    """Yield lines on features: pixels from JPEGs, then other taps from the pixels."""
    store, images = TapStore(settings), labelled(read_manifest(settings)).num_rows
    _ = store._trunk
    for names in (("pixels",), ("pooled",), ("last_block", "block3_input")):

        def fill(names: tuple[str, ...] = names) -> None:
            for subject in settings.subjects():
                store.ensure(subject, names, options)

        yield f"taps, {' + '.join(names)}: {clock.rate(fill, images):,.0f} images/s"


def trainings(
    clock: Clock, settings: Settings, options: RunOptions, batch: int, epochs: int, hours: dict[str, float]
) -> Iterator[str]:
    """Yield lines on an epoch of every kind, first and later, beside a plain loop for fine-tuning."""
    imgs, store = labelled(read_manifest(settings))["img"].to_pylist(), TapStore(settings)
    labels = torch.arange(len(imgs)) % 10
    for kind, fields in KINDS.items():
        if clock.over:
            yield f"{kind}: left out, no time"
            continue
        config = VariantConfig.model_validate({"name": kind, "kind": kind, "batch_size": batch, **fields})
        backbone = load_backbone(settings)
        try:
            net = build_network(config, backbone, settings.dataset)
        except DistractedError as error:
            yield f"{kind}: {error}"
            continue
        raw = {tap: torch.from_numpy(values) for tap, values in store.load(config.taps, imgs).items()}
        rows = Rows(raw, labels, backbone.preprocessing).to(clock.device)
        net.streamline()
        session = open_session([net.to(clock.device)], rows, config, [0], options)
        rates = [clock.rate(partial(train_epoch, session, rows, n + 1), len(imgs)) for n in range(epochs)]
        hours[kind] = STUDY_IMAGES * STUDY_SHARE * STUDY_EPOCHS * STUDY_FOLDS / max(rates) / 3600
        beside = ""
        if kind == "fine_tune":
            plainly = plain_training(clock, settings, rows, labels, batch, epochs)
            beside = f"; plain {plainly:,.0f} ({max(rates) / plainly:.2f}x)"
        extra = len(imgs) / rates[0] - len(imgs) / max(rates)
        yield f"{kind}: {max(rates):,.0f} images/s after the first epoch, which takes {extra:.1f} s more{beside}"


def plain_training(
    clock: Clock, settings: Settings, rows: Rows, labels: torch.Tensor, batch: int, epochs: int
) -> float:
    """Return images/s of a loop by hand: transformers' network, AdamW, autocast, batches of decoded pixels."""
    from transformers import AutoModelForImageClassification

    model = AutoModelForImageClassification.from_pretrained(settings.backbone).to(clock.device).eval()
    optimizer, dtype = torch.optim.AdamW(model.parameters(), lr=1e-4), autocast_dtype("auto", clock.device)

    def epoch() -> None:
        for index in torch.randperm(len(labels)).split(batch):
            pixels = rows.batch(index, clock.device)[PIXELS].contiguous()
            with torch.autocast(clock.device.type, dtype, enabled=dtype is not None):
                loss = functional.cross_entropy(model(pixels).logits.float(), labels[index].to(clock.device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return max(clock.rate(epoch, len(labels)) for _ in range(epochs))


@contextmanager
def little_memory(device: torch.device, gib: float) -> Iterator[None]:
    """Let this process have `gib` of the card's memory."""
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(gib * 2**30 / torch.cuda.mem_get_info(device)[1], device)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)


def out_of_memory(clock: Clock, settings: Settings) -> Iterator[str]:
    """Yield lines on a training and a scoring with too little memory: what was halved, and that both came to an end."""
    if clock.device.type != "cuda":
        yield "out of memory: a CPU's memory is not limited here"
        return
    said: list[str] = []
    options = RunOptions(str(clock.device), batch_size=512, log=said.append)
    config = VariantConfig.model_validate(
        {"name": "small", "kind": "fine_tune", "batch_size": 512, **KINDS["fine_tune"]}
    )
    backbone = load_backbone(settings)
    net = build_network(config, backbone, settings.dataset).to(clock.device)
    side = backbone.preprocessing.size
    rows = Rows({PIXELS: torch.zeros(512, 3, *side, dtype=torch.uint8)}, torch.arange(512) % 10, backbone.preprocessing)
    with little_memory(clock.device, SHARES_OF_MEMORY_GIB):
        train_epoch(open_session([net], rows, config, [0], options), rows, 1)
        predict_logits(net, rows, clock.device, options)
    yield f"out of memory ({SHARES_OF_MEMORY_GIB} GiB allowed): training and scoring ended, after {len(said)} halvings"
    yield from (f"  {line}" for line in said)


@click.command()
@click.option("--device", default="cuda", show_default=True, help="cuda, or cpu to try the script.")
@click.option("--tiny", is_flag=True, help="Tiny models and few frames: tries the script, says nothing of speed.")
@click.option("--images", default=1_800, show_default=True, help="Frames.")
@click.option("--seconds", default=330, show_default=True, help="After these nothing new is begun.")
def main(device: str, tiny: bool, images: int, seconds: float) -> None:
    """Print the table: masks, taps, trainings, too little memory, hours of the whole study."""
    if device.startswith("cuda") and not torch.cuda.is_available():
        click.echo("no GPU here: nothing was measured (to try the script: --device cpu --tiny)")
        return
    chosen = torch.device(device)
    clock, options = Clock(chosen, seconds), RunOptions(device, log=lambda line: None)
    card = torch.cuda.get_device_name(chosen) if chosen.type == "cuda" else "a CPU"
    click.echo(f"{card}, {os.cpu_count()} cores, torch {torch.__version__}; images per second")
    with TemporaryDirectory() as folder:
        frames = 1 if tiny else max(1, images // 40)
        root = write_kaggle_tree(
            Path(folder) / "data",
            drivers=("p002", "p012", "p014", "p015")[: 1 if tiny else 4],
            frames=frames,
            test_frames=0,
        )
        if not tiny:
            for seed, path in enumerate(sorted((root / "imgs" / "train").rglob("*.jpg"))):
                path.write_bytes(jpeg(seed))
        configuration = CONFIGURATION | {"image_size": 64} if tiny else B3
        side = configuration["image_size"]
        seen = [picture(side, [1, number]) for number in range(8)]
        backbone = build_efficientnet(Path(folder) / "backbone", configuration, pictures=seen)
        model = Path(folder) / ("tiny-mask2former" if tiny else "swin-base")
        settings = Settings(
            data=root, backbone=str(backbone), segmenter=str(tiny_model(model) if tiny else swin_base(model))
        )
        ingest(settings, log=options.log)
        hours: dict[str, float] = {}
        batch, epochs = (4, 2) if tiny else (32, 3)
        for lines in (
            masks(clock, settings, options),
            taps(clock, settings, options),
            trainings(clock, settings, options, batch, epochs, hours),
            out_of_memory(clock, settings),
        ):
            for line in lines:
                click.echo(line)
    each = ", ".join(f"{kind} {value:.2f}" for kind, value in hours.items())
    click.echo(
        f"hours of a whole study, {STUDY_IMAGES:,} frames, {STUDY_FOLDS} folds, {STUDY_EPOCHS} epochs, one training: "
        f"{each}; together {sum(hours.values()):.2f}"
    )


if __name__ == "__main__":
    main()
