"""What a report costs at full cardinality: State Farm's labelled images and drivers, ten variants.

    python -m distracted_pipeline_tests.benchmarks.bench_report

Predictions, Grad-CAMs, masks and pictures are drawn; their number, sizes and files are those of a real run. Only the
build of the site is timed: reading, choosing, drawing, writing, publishing.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import io
import resource
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from PIL import Image

from distracted_pipeline.dataset import STATE_FARM
from distracted_pipeline.evaluation.prediction_table import REPLICATE, predictions_schema, probability_columns
from distracted_pipeline.evaluation.predictions import Part, read_predictions, write_predictions
from distracted_pipeline.evaluation.tables import class_accuracy
from distracted_pipeline.evaluation.tables_io import to_table
from distracted_pipeline.explanation.explain import CAMS_FILE, ROWS_FILE, gradcam_folder
from distracted_pipeline.explanation.flips import flips_of, partners
from distracted_pipeline.explanation.means import CamMeans
from distracted_pipeline.explanation.selection import choose
from distracted_pipeline.explanation.tables import CamRow, lift_column
from distracted_pipeline.images.manifest import SCHEMA as MANIFEST
from distracted_pipeline.images.manifest import read_manifest, write_manifest
from distracted_pipeline.masks.cache import open_cache
from distracted_pipeline.masks.rle import encode
from distracted_pipeline.masks.shards import Mask
from distracted_pipeline.reports.build import PAGE_BUDGET, SITE_BUDGET, build_report
from distracted_pipeline.scopes import FOLDS, ORIGINAL_FOLD
from distracted_pipeline.settings import Settings
from distracted_pipeline.variants.config import load_catalogue

VARIANTS = 10
TRAININGS = 3
SIZE = (480, 640)
SECONDS_BAR = 60


def full_root(root: Path, images: int, variants: int = VARIANTS, scenes: int = 64) -> Settings:
    """Write everything that a report reads, but weights, and return settings over it.

    Args:
        root: An empty folder.
        images: Labelled images, spread over State Farm's drivers and classes.
        variants: Entries of the catalogue.
        scenes: Different frames and masks; every image refers to one of them.
    """
    root.mkdir(parents=True, exist_ok=True)
    label_maps = root / "label_maps"
    label_maps.mkdir()
    settings = _with_variants(Settings(data=root, segmenter=f"folder:{label_maps}", synthetic=True), variants)
    masks = [_scene(root, number) for number in range(scenes)]
    write_manifest(settings, _manifest(images, scenes), "benchmark")
    _write_masks(settings, masks)
    for place, variant in enumerate(load_catalogue(settings)):
        for fold in FOLDS:
            _predict(settings, variant, fold, skill=2 + 0.1 * place)
    class_accuracy(settings, log=_quiet)
    for variant in load_catalogue(settings):
        _explain(settings, variant)
    return settings


def _quiet(_: str) -> None:
    """Log nowhere."""


def _with_variants(settings: Settings, count: int) -> Settings:
    """Add copies of the baseline until the catalogue has as many entries as asked for, all compared with it."""
    shipped = list(load_catalogue(settings))
    entries: dict[str, Any] = {name: {"control": None} if i < count else None for i, name in enumerate(shipped)}
    for number in range(len(shipped), count):
        entries[f"again_{number}"] = {"kind": "top_only", "label": f"Top only, seed {number}", "seed": number}
    path = settings.data / "variants.yaml"
    path.write_text(yaml.safe_dump(entries), encoding="utf-8")
    return replace(settings, variants_file=path)


def _scene(root: Path, number: int) -> np.ndarray:
    """Write a 640x480 JPEG with edges, texture and about the size of a State Farm frame; return its class map."""
    random = np.random.default_rng(number)
    coarse = Image.fromarray(random.integers(0, 256, (24, 32, 3), dtype=np.uint8)).resize(SIZE[::-1], 2)
    pixels = np.asarray(coarse).astype(int) + random.normal(0, 6, (*SIZE, 1))
    buffer = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=88)
    (root / f"scene_{number}.jpg").write_bytes(buffer.getvalue())
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    mask = np.full(SIZE, 5, np.uint8)
    for category in (6, 1, 3, 4, 2):
        cy, cx, ry, rx = random.uniform((100, 150, 30, 30), (380, 490, 160, 140))
        mask[((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 < 1] = category
    return mask


def _manifest(images: int, scenes: int) -> pa.Table:
    folds = {subject: fold for fold, subjects in enumerate(STATE_FARM.folds) for subject in subjects}
    subjects, class_ids = STATE_FARM.drivers, STATE_FARM.class_ids
    rows = []
    for number in range(images):
        subject = subjects[number % len(subjects)]
        rows.append(
            {
                "img": f"img_{number}.jpg",
                "subject": subject,
                "classname": class_ids[number // len(subjects) % len(class_ids)],
                "split": STATE_FARM.part_of(subject),
                "fold": folds[subject],
                "path": f"scene_{number % scenes}.jpg",
                "bytes": 45_000,
                "width": SIZE[1],
                "height": SIZE[0],
                "sha256": f"{number:064x}",
                "status": "ok",
            }
        )
    rows.sort(key=lambda row: (str(row["subject"]), str(row["classname"]), str(row["img"])))
    return pa.Table.from_pylist(rows, schema=MANIFEST)


def _write_masks(settings: Settings, masks: list[np.ndarray]) -> None:
    encoded = [encode(mask, len(settings.dataset.categories)) for mask in masks]
    cache, table = open_cache(settings), read_manifest(settings)
    for subject in STATE_FARM.drivers:
        shard = [
            Mask(row["img"], row["sha256"][:16], SIZE, *encoded[int(row["img"][4:-4]) % len(encoded)])
            for row in table.to_pylist()
            if row["subject"] == subject
        ]
        cache.write_shard(subject, shard, {})


def _predict(settings: Settings, variant: str, fold: str, skill: float) -> None:
    table = read_manifest(settings)
    held_out = [
        row
        for row in table.select(["img", "subject", "classname", "split", "fold"]).to_pylist()
        if (row["split"] in ("dev", "test") if fold == ORIGINAL_FOLD else row["fold"] == int(fold))
    ]
    random = np.random.default_rng([*variant.encode(), *fold.encode()])
    class_ids = STATE_FARM.class_ids
    true = np.array([class_ids.index(row["classname"]) for row in held_out])
    logits = random.normal(0, 1.6, (TRAININGS, len(true), len(class_ids)))
    logits[:, np.arange(len(true)), true] += skill
    p = (np.exp(logits) / np.exp(logits).sum(2, keepdims=True)).reshape(-1, len(class_ids))
    columns: dict[str, Any] = {name: [row[name] for row in held_out] * TRAININGS for name in ("img", "subject")}
    columns |= {"true": np.tile(true, TRAININGS), REPLICATE: np.repeat(np.arange(TRAININGS), len(true))}
    columns |= dict(zip(probability_columns(class_ids), p.T.astype(np.float32), strict=True))
    write_predictions(settings, variant, fold, pa.table(columns).cast(predictions_schema(class_ids)))
    folder = settings.models / variant / fold
    folder.mkdir(parents=True)


def _explain(settings: Settings, variant: str, per_class: int = 4) -> None:
    predictions = read_predictions(settings, [variant, *partners(settings, variant)])
    parts, flips = predictions.of(variant, "oof"), flips_of(settings, predictions, variant)
    rows: list[CamRow] = []
    for i, row, kind in choose(parts, per_class, STATE_FARM.class_ids, flips):
        rows += [_cam_row(parts[i], row, kind, target) for target in ("predicted", "true")[: 1 + (kind == "confused")]]
    random = np.random.default_rng([*variant.encode()])
    means = CamMeans(STATE_FARM.drivers, (10, 10), len(STATE_FARM.class_ids), STATE_FARM.category_names)
    for subject in STATE_FARM.drivers:
        for k in range(len(STATE_FARM.class_ids)):
            means.add(subject, k, random.random((10, 10)), None)
    folder = gradcam_folder(settings, variant)
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(
        to_table(CamRow, rows, [lift_column(name) for name in STATE_FARM.category_names]), folder / ROWS_FILE
    )
    np.savez_compressed(folder / CAMS_FILE, cams=random.integers(0, 256, (len(rows), 10, 10), dtype=np.uint8))
    means.write(folder, "benchmark")


def _cam_row(part: Part, row: int, kind: str, target: str) -> CamRow:
    return CamRow(
        img=str(part.img[row]),
        subject=str(part.subject[row]),
        true=int(part.true[row]),
        predicted=int(part.predicted[row]),
        fold=part.fold,
        target=target,
        kind=kind,
        all_zero=False,
        lifts={lift_column("person"): 1.5},
    )


@click.command()
@click.option("--images", default=STATE_FARM.frames, show_default=True, help="Labelled images.")
@click.option("--keep", type=click.Path(path_type=Path, file_okay=False), help="Write into this new folder, keep it.")
def main(images: int, keep: Path | None) -> None:
    """Print seconds, pages and bytes of one build, and the bars they are held to."""
    with TemporaryDirectory() as temporary:
        started = time.monotonic()
        settings = full_root(keep or Path(temporary) / "data", images)
        drivers = len(STATE_FARM.drivers)
        click.echo(f"{images:,} images, {drivers} drivers, {VARIANTS} variants; drawn in {_since(started):.0f} s")
        started, cpu = time.monotonic(), time.process_time()
        result = build_report(settings, log=_quiet)
        seconds, cpu = _since(started), time.process_time() - cpu
        files = [path for path in result.path.parent.rglob("*") if path.is_file()]
        largest = max((path for path in files if path.suffix == ".html"), key=lambda path: path.stat().st_size)
        page = largest.stat().st_size
    click.echo(f"build         {seconds:8.1f} s wall, {cpu:.1f} s CPU, {os.cpu_count()} cores (bar {SECONDS_BAR} s)")
    click.echo(f"pages         {result.pages:8,}")
    click.echo(f"site          {result.bytes / 1e6:8.1f} MB in {len(files):,} files (bar {SITE_BUDGET / 1e6:.0f} MB)")
    click.echo(f"largest page  {page / 1e6:8.2f} MB, {largest.name} (bar {PAGE_BUDGET / 1e6:.0f} MB)")
    click.echo(f"peak memory   {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:8,.0f} MB")
    if seconds > SECONDS_BAR or result.bytes > SITE_BUDGET or page > PAGE_BUDGET:
        raise SystemExit("over the bar")


def _since(started: float) -> float:
    return time.monotonic() - started


if __name__ == "__main__":
    main()
