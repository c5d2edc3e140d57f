"""What the mask stage costs outside the model, against the plain way of doing it.

    python -m distracted_pipeline_tests.benchmarks.bench_masks

One process, one thread, CPU time. Both sides do the same job on the same 640x480 JPEGs and the same raw
model outputs (100 queries, 133 labels, a few of them confident), and give the same class maps.
The reference path (PIL, transformers' processor and post-processing, a Python call per pixel for the
remap, `np.savez_compressed`) lives here only. The two take turns, a few images each, and ratios are medians over the
images, so that other work on the machine slows both sides alike.
"""

import io
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")

import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import click
import numpy as np
import torch
from PIL import Image
from transformers.models.mask2former.image_processing_pil_mask2former import Mask2FormerImageProcessorPil

from distracted_pipeline.images.decode import decode_image
from distracted_pipeline.masks.cache import MaskCache
from distracted_pipeline.masks.families import FAMILIES
from distracted_pipeline.masks.postprocess import confident_queries, panoptic_map
from distracted_pipeline.masks.preprocess import Preprocessor
from distracted_pipeline.masks.rle import encode
from distracted_pipeline.masks.segmenter import Thresholds
from distracted_pipeline.masks.shards import Mask
from distracted_pipeline_tests.masks.reference import scene

SIZE = (480, 640)
QUERIES, LABELS = 100, 133
CATEGORIES = 6
TABLE = np.zeros(LABELS, np.uint8)
TABLE[[0, 39, 67, 41, 2, 56]] = range(1, CATEGORIES + 1)  # COCO's person, bottle, cell phone, cup, car, chair
WHOLE_BAR, POST_BAR = 12, 12
TURN = 6
"""Images before the other side has its turn: the hundred masks that the reference frees leave our caches cold."""


def jpeg(seed: int) -> bytes:
    """Return a 640x480 JPEG with edges, texture and about the size of a State Farm frame (45 kB)."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (24, 32, 3), dtype=np.uint8)).resize(SIZE[::-1], 2)
    pixels = np.asarray(coarse).astype(int) + random.normal(0, 6, (*SIZE, 1))
    buffer = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=88)
    return buffer.getvalue()


def outputs(seed: int, confident: int) -> Any:
    """Return raw model outputs whose confident queries are of the six categories or of others, half and half."""
    classes, masks = scene(seed, QUERIES, 0, LABELS, (96, 96))
    blobs = scene(seed, confident, confident, LABELS, (96, 96))[1]
    random = np.random.default_rng(seed)
    chosen = random.permutation(QUERIES)[:confident]
    for i, query in enumerate(chosen):
        masks[query] = blobs[i]
        classes[query, -1] = 0
        classes[query, random.choice(np.flatnonzero(TABLE) if i % 2 else np.flatnonzero(TABLE == 0))] = 9
    return SimpleNamespace(class_queries_logits=classes[None], masks_queries_logits=masks[None])


class Reference:
    """One image at a time, with the library's own functions."""

    def __init__(self, processor: Any, folder: Path) -> None:
        self.processor = processor
        self.folder = folder

    def load(self, data: bytes) -> Image.Image:
        return Image.open(io.BytesIO(data)).convert("RGB")

    def prepare(self, image: Image.Image) -> torch.Tensor:
        pixels: torch.Tensor = self.processor(images=image, return_tensors="pt")["pixel_values"]
        return pixels

    def finish(self, output: Any) -> np.ndarray:
        # No fused labels: with them, ids can collide and the maps would be wrong (transformers issue 23461).
        (result,) = self.processor.post_process_panoptic_segmentation(
            output, label_ids_to_fuse=set(), target_sizes=[SIZE]
        )
        category = {segment["id"]: int(TABLE[segment["label_id"]]) for segment in result["segments_info"]}
        remap = np.vectorize(lambda segment: category.get(segment, 0), otypes=[np.uint8])
        mask: np.ndarray = remap(result["segmentation"].numpy())
        return mask

    def store(self, mask: np.ndarray, name: str) -> None:
        np.savez_compressed(self.folder / f"{name}.npz", mask)


class Ours:
    """The stages of `masks.batching`, called one after the other."""

    def __init__(self, processor: Any, folder: Path) -> None:
        self.preprocess = Preprocessor(processor)
        self.cache = MaskCache(folder, "bench", CATEGORIES)
        self.waiting: list[Mask] = []

    def load(self, data: bytes) -> Image.Image:
        return decode_image(data, "frame")

    def prepare(self, image: Image.Image) -> torch.Tensor:
        return self.preprocess(image)

    def finish(self, output: Any) -> np.ndarray:
        (queries,) = confident_queries(output.class_queries_logits, output.masks_queries_logits, Thresholds())
        return panoptic_map(queries, TABLE, SIZE, FAMILIES["mask2former"].reading)

    def store(self, mask: np.ndarray, name: str) -> None:
        runs, values, areas = encode(mask, CATEGORIES)
        self.waiting.append(Mask(name, "0" * 16, SIZE, runs, values, areas))

    def close(self) -> None:
        self.cache.write_shard("p002", self.waiting, {})


STAGES = ("decode", "preprocess", "post-process + remap", "encode")


def measure(side: Reference | Ours, number: int, data: bytes, output: Any) -> tuple[list[float], np.ndarray]:
    """Return CPU milliseconds of each stage for one image, and its mask."""
    milliseconds = []

    def timed(work: Callable[..., Any], *arguments: Any) -> Any:
        started = time.process_time()
        result = work(*arguments)
        milliseconds.append(1e3 * (time.process_time() - started))
        return result

    with torch.inference_mode() if isinstance(side, Ours) else torch.no_grad():
        image = timed(side.load, data)
        timed(side.prepare, image)
        mask = timed(side.finish, output)
        timed(side.store, mask, f"img_{number}.jpg")
    return milliseconds, mask


@click.command()
@click.option("--images", default=24, show_default=True, help="Different frames and outputs.")
@click.option("--confident", default=8, show_default=True, help="Confident queries per image.")
def main(images: int, confident: int) -> None:
    """Print both sides, the ratios and the bars they are held to."""
    torch.set_num_threads(1)
    processor = Mask2FormerImageProcessorPil(size={"height": 384, "width": 384})
    frames = [jpeg(seed) for seed in range(images)]
    raw = [outputs(seed, confident) for seed in range(images)]
    with TemporaryDirectory() as folder:
        for name in ("warm", "measured"):
            (Path(folder) / name).mkdir()
            reference, ours = Reference(processor, Path(folder) / name), Ours(processor, Path(folder) / name / "cache")
            spent, same = [], 0
            for turn in np.array_split(range(images), max(images // TURN, 1))[: 1 if name == "warm" else None]:
                plain = [measure(reference, i, frames[i], raw[i]) for i in turn]
                short = [measure(ours, i, frames[i], raw[i]) for i in turn]
                for (slow, expected), (fast, mask) in zip(plain, short, strict=True):
                    spent.append((slow, fast))
                    same += bool((expected == mask).all())
            started = time.process_time()
            ours.close()
            shard = 1e3 * (time.process_time() - started) / len(spent)
        npz = sum(path.stat().st_size for path in Path(folder).glob("measured/*.npz")) / images
        parquet = sum(path.stat().st_size for path in Path(folder).glob("measured/cache/*/*.parquet")) / images
    table = np.array(spent)  # [images, side, stage]
    table[:, 1, STAGES.index("encode")] += shard
    rows = {stage: table[:, :, i] for i, stage in enumerate(STAGES)} | {"all": table.sum(2)}
    ratios = {name: float(np.median(row[:, 0] / row[:, 1])) for name, row in rows.items()}
    click.echo(
        f"CPU ms per image, {images} frames 640x480, {QUERIES} queries of which {confident} are confident, 1 thread"
    )
    click.echo(f"{'':24}{'reference':>12}{'ours':>10}{'ratio':>9}   (medians)")
    for name, row in rows.items():
        click.echo(f"{name:24}{np.median(row[:, 0]):12.2f}{np.median(row[:, 1]):10.2f}{ratios[name]:8.1f}x")
    whole, post = ratios["all"], ratios["post-process + remap"]
    click.echo(f"bytes per mask: npz {npz:,.0f}, Parquet {parquet:,.0f}")
    click.echo(f"identical masks: {same} of {images}")
    click.echo(
        f"bars: all {whole:.1f}x (at least {WHOLE_BAR}x), post-process + remap {post:.1f}x (at least {POST_BAR}x)"
    )
    if same != images or whole < WHOLE_BAR or post < POST_BAR:
        raise SystemExit("below the bar")


if __name__ == "__main__":
    main()
