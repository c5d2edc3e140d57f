"""Filling the mask cache: memory over many images, a whole archive, throughput of the real architecture.

    python -m distracted_pipeline_tests.benchmarks.bench_mask_fill memory
    python -m distracted_pipeline_tests.benchmarks.bench_mask_fill archive state-farm-80x60.zip
    python -m distracted_pipeline_tests.benchmarks.bench_mask_fill throughput --device cuda --images 22424

Models have random weights: what is measured is time and memory, not masks. Each figure comes from a process of its own.
"""

import multiprocessing
import os
import resource
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from distracted_pipeline.dataset import STATE_FARM
from distracted_pipeline.options import RunOptions
from distracted_pipeline.settings import Settings

MEMORY_BAR = 1.10
INGEST_BAR = 10
COUNTS = (200, 2_000)


def quiet(line: str) -> None:
    """Say nothing."""


def write_frames(root: Path, count: int, drivers: int = 26) -> None:
    """Write a Kaggle tree of 640x480 frames; a few pictures, each file with bytes of its own behind its end."""
    from distracted_pipeline_tests.benchmarks.bench_masks import jpeg

    pictures = [jpeg(seed) for seed in range(16)]
    for name in STATE_FARM.class_ids:
        (root / "imgs" / "train" / name).mkdir(parents=True)
    lines = ["subject,classname,img"]
    for i in range(count):
        subject, name = STATE_FARM.drivers[i * drivers // count], STATE_FARM.class_ids[i % 10]
        (root / "imgs" / "train" / name / f"img_{i}.jpg").write_bytes(pictures[i % 16] + b"%d" % i)
        lines.append(f"{subject},{name},img_{i}.jpg")
    (root / "driver_imgs_list.csv").write_text("\n".join(lines) + "\n")


def fill(settings: Settings, device: str = "auto", precision: str = "auto", batch_size: int = 0) -> dict[str, Any]:
    """Fill the cache in this process; return what it came to."""
    from distracted_pipeline.masks.agreement import recorded
    from distracted_pipeline.masks.cache import open_cache
    from distracted_pipeline.masks.fill import fill_missing

    started = time.monotonic()
    results = fill_missing(settings, options=RunOptions(device, precision, batch_size, quiet)).values()
    seconds = time.monotonic() - started
    cpu: Counter[str] = Counter()
    for result in results:
        cpu.update(result.cpu)
    root = open_cache(settings).root
    files = [path.stat().st_size for path in root.rglob("*.*") if path.is_file()]
    agreement = recorded(root)
    return {
        "done": sum(result.done for result in results),
        "errors": [result.error for result in results if result.error],
        "seconds": seconds,
        "cpu": dict(cpu),
        "model_wall": sum(result.model_seconds for result in results),
        "peak": peak(),
        "files": len(files),
        "bytes": sum(files),
        "agreement": agreement.text() if agreement else "",
    }


def timed_ingest(settings: Settings) -> dict[str, float]:
    """Ingest in this process; return wall and CPU seconds, rows, and peak memory."""
    import pyarrow.dataset  # noqa: F401  # Parquet's first use loads it, and pandas: once a process, not once an ingest

    from distracted_pipeline.images.ingest import ingest

    started = time.process_time()
    result = ingest(settings, log=quiet)
    cpu = time.process_time() - started
    return {"seconds": result.seconds, "cpu": cpu, "rows": result.table.num_rows, "peak": peak()}


def timed_ingests(settings: Settings, times: int) -> list[dict[str, float]]:
    """Ingest several times in this process."""
    return [timed_ingest(settings) for _ in range(times)]


def peak() -> int:
    """Return the most memory this process ever had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def alone(work: Any, *arguments: Any) -> Any:
    """Return what `work` returns in a new process, so that peaks and imports are its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        result = pool.apply(work, arguments)
        pool.close()
        pool.join()
    return result


def tiny_model(folder: Path) -> Path:
    """Save the tests' Mask2Former: the real architecture, small, random weights."""
    from distracted_pipeline_tests.masks.conftest import save_tiny_mask2former

    return save_tiny_mask2former(folder)


def keep_ten(model: Any) -> None:
    """Let a Mask2Former be sure of ten queries of every image, and of no other, whatever its random weights are.

    Ten queries start along directions of their own, attention and images turn them a little, and each direction is a
    label.
    """
    import torch

    features, head = model.model.transformer_module.queries_features.weight, model.class_predictor
    width = features.shape[1]
    with torch.no_grad():
        directions = torch.randn(width, 10)
        directions = torch.linalg.qr(directions - directions.mean(0)).Q.T  # layer norms take means away
        features[:10] = 1e3 * directions
        for name, parameter in model.model.transformer_module.decoder.named_parameters():
            if ".out_proj." in name or ".fc2." in name:
                parameter.mul_(0.01)  # else what all queries add to each other drowns where they started
        head.weight.zero_()
        for i, direction in enumerate(directions):
            head.weight[i % (len(head.weight) - 1)] += 3 * direction  # the last label is "no object"
        head.bias.zero_()
        head.bias[-1] = 2.4 * width**0.5  # a layer norm makes the length of a query the root of its width


def swin_base(folder: Path) -> Path:
    """Save the architecture of mask2former-swin-base-coco-panoptic with random weights, sure of ten queries."""

    import torch
    from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, SwinConfig
    from transformers.models.mask2former.image_processing_pil_mask2former import Mask2FormerImageProcessorPil

    torch.manual_seed(0)
    processor = Mask2FormerImageProcessorPil(size={"height": 384, "width": 384})
    labels = {i: f"label {i}" for i in range(133)} | {
        0: "person", 39: "bottle", 67: "cell phone", 41: "cup", 2: "car", 56: "chair"
    }  # fmt: skip
    swin = SwinConfig(
        image_size=384,
        embed_dim=128,
        depths=[2, 2, 18, 2],
        num_heads=[4, 8, 16, 32],
        window_size=12,
        drop_path_rate=0.3,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    config = Mask2FormerConfig(backbone_config=swin, id2label=labels, label2id={n: i for i, n in labels.items()})
    model = Mask2FormerForUniversalSegmentation(config).eval()
    keep_ten(model)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def say(found: dict[str, Any]) -> None:
    """Print what a fill came to."""
    done = max(found["done"], 1)
    click.echo(f"{found['done']:,} masks in {found['seconds']:.1f} s: {found['done'] / found['seconds']:.1f} images/s")
    click.echo(f"in the model {found['model_wall'] / found['seconds']:.0%} of the wall time")
    click.echo("CPU ms an image: " + ", ".join(f"{name} {1e3 * s / done:.2f}" for name, s in found["cpu"].items()))
    click.echo(f"peak memory {found['peak'] / 2**20:,.0f} MiB; {found['files']} files, {found['bytes']:,} bytes")
    if found["agreement"]:
        click.echo(found["agreement"])
    if found["errors"]:
        raise SystemExit(found["errors"][0])


@click.group()
def main() -> None:
    """Measure filling the mask cache."""


@main.command()
def memory() -> None:
    """Peak memory at 200 and at 2,000 images, and their ratio."""
    peaks = []
    for count in COUNTS:
        with TemporaryDirectory() as folder:
            settings = Settings(data=Path(folder) / "data", segmenter=str(alone(tiny_model, Path(folder) / "model")))
            alone(write_frames, settings.data, count, 2)
            alone(timed_ingest, settings)
            found = alone(fill, settings)
        click.echo(f"{count:,} images 640x480:")
        say(found)
        peaks.append(found["peak"])
    ratio = peaks[1] / peaks[0]
    click.echo(f"peak memory at {COUNTS[1]:,} images is {ratio:.3f} of that at {COUNTS[0]} (at most {MEMORY_BAR})")
    if ratio > MEMORY_BAR:
        raise SystemExit("memory grows")


@main.command()
@click.argument("archive", type=click.Path(path_type=Path, exists=True, dir_okay=False))
def archive(archive: Path) -> None:
    """Ingest an archive twice, then fill the cache with a tiny Mask2Former."""
    with TemporaryDirectory() as folder:
        root = Path(folder) / "data"
        root.mkdir()
        (root / archive.name).symlink_to(archive.resolve())
        settings = Settings(data=root, segmenter=str(alone(tiny_model, Path(folder) / "model")))
        first = alone(timed_ingest, settings)
        click.echo(
            f"first ingest: {first['rows']:,} images in {first['seconds']:.2f} s ({first['cpu']:.2f} CPU seconds), "
            f"{first['rows'] / first['seconds']:,.0f}/s, peak memory {first['peak'] / 2**20:,.0f} MiB"
        )
        second = sorted(alone(timed_ingests, settings, 3), key=lambda run: run["seconds"])[1]
        faster = first["seconds"] / second["seconds"]
        click.echo(
            f"second ingest, median of 3: {second['seconds']:.3f} s ({second['cpu']:.3f} CPU seconds), {faster:.1f}x "
            f"faster (at least {INGEST_BAR}x), in CPU time {first['cpu'] / second['cpu']:.1f}x"
        )
        kept = sum(path.stat().st_size for path in root.iterdir() if path.is_file() and not path.is_symlink())
        click.echo(f"written by ingest: {kept:,} bytes beside an archive of {archive.stat().st_size:,}")
        say(alone(fill, settings))
    if faster < INGEST_BAR:
        raise SystemExit("the second ingest is too slow")


@main.command()
@click.option("--images", default=8, show_default=True, help="Frames 640x480.")
@click.option("--device", default="auto", show_default=True)
@click.option("--precision", default="auto", show_default=True)
@click.option("--batch-size", default=0, show_default=True)
def throughput(images: int, device: str, precision: str, batch_size: int) -> None:
    """Images a second with the architecture of swin-base, and where the time goes."""
    with TemporaryDirectory() as folder:
        settings = Settings(data=Path(folder) / "data", segmenter=str(alone(swin_base, Path(folder) / "model")))
        alone(write_frames, settings.data, images, 1)
        alone(timed_ingest, settings)
        say(alone(fill, settings, device, precision, batch_size))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count() or 1))
    os.environ["HF_HUB_OFFLINE"] = "1"
    main()
