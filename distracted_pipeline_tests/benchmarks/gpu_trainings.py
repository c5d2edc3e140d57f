"""Trainings of `bench_gpu`: every kind, its first epoch, what switches cost, replicates side by side.

    python -m distracted_pipeline_tests.benchmarks.gpu_trainings FOLDER CANDIDATE    # one candidate of the first epoch

cuDNN compiles each depthwise convolution once for every shape in a process, and never again: what makes the first epoch
slow can only be told apart in processes of their own.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch.nn import functional

from distracted_pipeline.compiling import Compiled
from distracted_pipeline.dataset import STATE_FARM
from distracted_pipeline.devices import autocast_dtype, determinism
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.features.taps import TapStore
from distracted_pipeline.images.manifest import labelled, read_manifest
from distracted_pipeline.memory import Pieces
from distracted_pipeline.options import RunOptions
from distracted_pipeline.settings import Settings
from distracted_pipeline.training.inputs import PIXELS, Rows
from distracted_pipeline.training.loop import SCORING_BATCH, predict_team, train_epoch
from distracted_pipeline.training.steps import Session, open_session
from distracted_pipeline.variants import depthwise
from distracted_pipeline.variants.backbones import load_backbone
from distracted_pipeline.variants.config import VariantConfig
from distracted_pipeline.variants.networks import build_network
from distracted_pipeline_tests.benchmarks.bench_replicates import drawn_rows, network
from distracted_pipeline_tests.benchmarks.bench_training import PlainRows
from distracted_pipeline_tests.benchmarks.gpu_clock import Bench, Clock, Items

ADAMW: dict[str, Any] = {"optimizer": "adamw", "top_lr": 0.001}
KINDS: dict[str, dict[str, Any]] = {
    "fine_tune": {**ADAMW, "body_lr": 0.0001},
    "lora": ADAMW,
    "batch_norm": ADAMW,
    "adapters": ADAMW,
    "top_only": ADAMW,
}
HEADS = {"embedding_only": "linear_probe", "masks_fused": "masks_fused"}
REPLICATES = 3

CANDIDATES = ("as it is", "depthwise by cuDNN", "last batch not filled up", "not channels last")


def config_of(kind: str, batch: int) -> VariantConfig:
    """Return a variant of a kind, all of them by AdamW."""
    return VariantConfig.model_validate({"name": kind, "kind": kind, "batch_size": batch, **KINDS[kind]})


def trainings(clock: Clock, bench: Bench) -> Items:
    """Return what is measured of trainings on maps and images."""
    return {
        **{kind: partial(_kind, clock, bench, kind) for kind in KINDS},
        "deterministic": partial(_deterministic, clock, bench),
        "fine_tune compiled": partial(_compiled, clock, bench),
    }


def heads(clock: Clock, bench: Bench) -> Items:
    """Return what is measured of heads on embeddings and masks, one and several side by side."""
    return {f"{name}, {REPLICATES} replicates": partial(_head, clock, bench, name) for name in HEADS}


def first_epochs(clock: Clock, bench: Bench) -> Items:
    """Return the candidates for what makes a first epoch slow."""
    return {f"first epoch, {name}": partial(_first_epoch, clock, bench, name) for name in CANDIDATES}


def _session(bench: Bench, kind: str) -> tuple[Session, Rows]:
    imgs, store = labelled(read_manifest(bench.settings))["img"].to_pylist(), TapStore(bench.settings)
    config = config_of(kind, bench.batch)
    backbone = load_backbone(bench.settings)
    net = build_network(config, backbone, bench.settings.dataset)
    raw = {tap: torch.from_numpy(values) for tap, values in store.load(config.taps, imgs).items()}
    device = torch.device(bench.options.device_name())
    rows = Rows(raw, torch.arange(len(imgs)) % 10, backbone.preprocessing).to(device)
    net.streamline()
    return open_session([net.to(device)], rows, config, [0], bench.options), rows


def _kind(clock: Clock, bench: Bench, kind: str) -> Iterator[str]:
    try:
        session, rows = _session(bench, kind)
    except DistractedError as error:  # lora without its package
        yield f"{kind}: {error}"
        return
    rates = [clock.rate(partial(train_epoch, session, rows, n + 1), len(rows)) for n in range(bench.epochs)]
    bench.rates[kind] = max(rates)
    beside = ""
    if kind == "fine_tune":
        plainly = _plain(clock, bench, rows)
        beside = f"; plain {plainly:,.0f} ({max(rates) / plainly:.2f}x)"
    elif "fine_tune" in bench.rates:
        beside = f"; {max(rates) / bench.rates['fine_tune']:.2f}x fine_tune"
    extra = len(rows) / rates[0] - len(rows) / max(rates)
    yield f"{kind}: {max(rates):,.0f} images/s after the first epoch, which takes {extra:.1f} s more{beside}"


def _plain(clock: Clock, bench: Bench, rows: Rows) -> float:
    """Return images/s of a loop by hand: transformers' network, AdamW, autocast, batches of decoded pixels."""
    from transformers import AutoModelForImageClassification

    model = AutoModelForImageClassification.from_pretrained(bench.settings.backbone).to(clock.device).eval()
    optimizer, dtype = torch.optim.AdamW(model.parameters(), lr=1e-4), autocast_dtype("auto", clock.device)

    def epoch() -> None:
        for index in torch.randperm(len(rows)).split(bench.batch):
            pixels = rows.batch(index, clock.device)[PIXELS].contiguous()
            with torch.autocast(clock.device.type, dtype, enabled=dtype is not None):
                labels = rows.labels[index.to(rows.labels.device)].to(clock.device)
                loss = functional.cross_entropy(model(pixels).logits.float(), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return max(clock.rate(epoch, len(rows)) for _ in range(bench.epochs))


def _deterministic(clock: Clock, bench: Bench) -> Iterator[str]:
    session, rows = _session(bench, "fine_tune")
    with determinism(True):
        rate = max(clock.rate(partial(train_epoch, session, rows, n + 1), len(rows)) for n in range(bench.epochs))
    beside = f", {rate / bench.rates['fine_tune']:.2f}x" if "fine_tune" in bench.rates else ""
    yield f"fine_tune, deterministic: {rate:,.0f} images/s{beside}"


def _compiled(clock: Clock, bench: Bench) -> Iterator[str]:
    session, rows = _session(bench, "fine_tune")
    (net,), said = session.team.nets, list[str]()
    assert net.trunk is not None
    before = max(clock.rate(partial(train_epoch, session, rows, n + 1), len(rows)) for n in range(2))
    session.compiled = Compiled([net.trunk], None, said.append)
    session.steady = len(rows) > session.pieces.size
    first = clock.seconds(partial(train_epoch, session, rows, 1))
    after = max(clock.rate(partial(train_epoch, session, rows, n + 2), len(rows)) for n in range(bench.epochs))
    session.compiled.undo()
    yield from (f"  {line}" for line in said)
    seconds = first - len(rows) / after
    pays = f"pays from {seconds / (1 / before - 1 / after):,.0f} images on" if after > before else "never pays"
    yield f"fine_tune, compiled: {before:,.0f} -> {after:,.0f} images/s after {seconds:.0f} s, {pays} (`auto`: never)"


def _head(clock: Clock, bench: Bench, name: str) -> Iterator[str]:
    config = VariantConfig.model_validate({"name": name, "kind": HEADS[name], "batch_size": bench.batch, **ADAMW})
    rows = drawn_rows(config, 64 if bench.tiny else 8_192).to(clock.device)
    seconds = {}
    for count in (1, REPLICATES):
        nets = [network(config, seed).to(clock.device) for seed in range(count)]
        session = open_session(nets, rows, config, list(range(count)), bench.options)
        each = [clock.seconds(partial(train_epoch, session, rows, n + 1)) for n in range(bench.epochs)]
        seconds[count] = min(each)
    bench.rates[name] = len(rows) * REPLICATES / seconds[REPLICATES]
    times = seconds[REPLICATES] / seconds[1]
    yield f"{name}: one {len(rows) / seconds[1]:,.0f} rows/s; {REPLICATES} replicates in {times:.2f}x (bar 1.6x)"


def _first_epoch(clock: Clock, bench: Bench, candidate: str) -> Iterator[str]:
    if bench.tiny:
        found = timed_epochs(bench.settings.backbone, candidate, bench.options.device_name(), bench.batch)
    else:
        command = [sys.executable, "-m", __spec__.name, bench.settings.backbone, candidate]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=max(clock.left, 1), check=False)
        except subprocess.TimeoutExpired:
            yield f"first epoch, {candidate}: not ended in time"
            return
        if done.returncode:
            yield f"first epoch, {candidate}: failed, {done.stderr.strip().splitlines()[-1]}"
            return
        found = json.loads(done.stdout.splitlines()[-1])
    first, second, later = found["seconds"]
    yield (
        f"first epoch, {candidate}: {first - later:.1f} s more than the third, the second {second - later:.1f} s; "
        f"an epoch takes {later:.2f} s; {found['shapes']} shapes"
    )


def timed_epochs(backbone: str, candidate: str, device: str = "cuda", batch: int = 32) -> dict[str, Any]:
    """Return the seconds of three short epochs of fine-tuning with their scoring, and how many shapes they had."""
    where = torch.device(device)
    config = config_of("fine_tune", batch)
    loaded = load_backbone(Settings(data=Path(backbone).parent, backbone=backbone))
    net = build_network(config, loaded, STATE_FARM)
    net.streamline()
    count, kind = 2 * batch + batch // 4, PlainRows if candidate == "not channels last" else Rows
    if kind is PlainRows:
        net.to(memory_format=torch.contiguous_format)
    pixels = torch.randint(0, 256, (count, 3, *loaded.preprocessing.size), dtype=torch.uint8)
    rows = kind({PIXELS: pixels}, torch.arange(count) % 10, loaded.preprocessing).to(where)
    session = open_session([net.to(where)], rows, config, [0], RunOptions(device, log=lambda line: None))
    session.steady = candidate != "last batch not filled up"
    pieces = Pieces(session.pieces.size if session.steady else SCORING_BATCH, print)
    shapes: set[tuple[int, ...]] = set()
    assert net.trunk is not None
    net.trunk.register_forward_pre_hook(lambda _, args: shapes.add(tuple(args[0].shape)))

    def epoch(number: int) -> float:
        started = time.perf_counter()
        train_epoch(session, rows, number)
        predict_team(session.team, rows, pieces, session.dtype, steady=session.steady)
        if where.type == "cuda":
            torch.cuda.synchronize(where)
        return time.perf_counter() - started

    usable = (lambda x: False) if candidate == "depthwise by cuDNN" else depthwise.is_usable
    with patch.object(depthwise, "is_usable", usable):
        seconds = [epoch(number) for number in (1, 2, 3)]
    return {"seconds": seconds, "shapes": len(shapes)}


if __name__ == "__main__":
    print(json.dumps(timed_epochs(*sys.argv[1:3])))
