"""Too little memory, for `bench_gpu`: every stage that runs a network, with a few GiB of a card's memory."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import torch

from distracted_pipeline.evaluation.predict import predict_fold
from distracted_pipeline.explanation.explain import gradcam_variant
from distracted_pipeline.features.taps import TapStore
from distracted_pipeline.masks.fill import fill_missing
from distracted_pipeline.options import RunOptions
from distracted_pipeline.serving.predict_files import predict_files
from distracted_pipeline.serving.submission import write_submission
from distracted_pipeline.settings import Settings
from distracted_pipeline.training.train import train_variant
from distracted_pipeline_tests.benchmarks.gpu_clock import Bench, Clock, Items

GIB = 3
VARIANT, FOLD = "fine_tune", "original"
LARGE = 512
"""Images at once that do not fit into that."""


@contextmanager
def little_memory(device: torch.device, gib: float) -> Iterator[None]:
    """Let this process have `gib` of a card's memory; a CPU's is not limited."""
    if device.type != "cuda":
        yield
        return
    torch.cuda.empty_cache()
    with torch.cuda.device(device):
        torch.cuda.set_per_process_memory_fraction(gib * 2**30 / torch.cuda.mem_get_info()[1])
        try:
            yield
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)


def out_of_memory(clock: Clock, bench: Bench) -> Items:
    """Return every stage, each after the one whose files it needs."""
    variants = bench.settings.data / "variants.yaml"
    variants.write_text(f"{VARIANT}: {{epochs: 1, batch_size: {LARGE}, replicates: 1}}\n{_rest()}")
    settings = replace(bench.settings, variants_file=variants, replicates=1)
    frames = settings.data / "imgs" / "test"
    stages: dict[str, Callable[[RunOptions], object]] = {
        "masks": lambda options: _masks(settings, options),
        "taps": lambda options: TapStore(settings).ensure(settings.subjects()[0], ("block1_input",), options),
        "training": lambda options: train_variant(settings, VARIANT, FOLD, options),
        "scoring": lambda options: predict_fold(settings, VARIANT, FOLD, options),
        "Grad-CAM": lambda options: gradcam_variant(settings, VARIANT, options),
        "submission": lambda options: write_submission(settings, VARIANT, options),
        "predict": lambda options: predict_files(settings, frames, VARIANT, options=options),
    }
    return {f"little memory, {name}": partial(_stage, clock, bench, name, work) for name, work in stages.items()}


def _rest() -> str:
    """Return the lines that leave the other variants out, so that none of them is looked for."""
    return "masks_fused_checkpoint: null\nembedding_checkpoint: null\n"


def _masks(settings: Settings, options: RunOptions) -> None:
    shutil.rmtree(settings.masks, ignore_errors=True)
    found = fill_missing(settings, settings.subjects()[:1], options)
    assert all(result.done and not result.failed for result in found.values()), "masks are missing"


def _stage(clock: Clock, bench: Bench, name: str, work: Callable[[RunOptions], object]) -> Iterator[str]:
    said: list[str] = []
    options = RunOptions(bench.options.device_name(), batch_size=8 if bench.tiny else LARGE, log=said.append)
    with little_memory(clock.device, GIB):
        seconds = clock.seconds(lambda: work(options))
    halvings = [line for line in said if line.startswith("out of memory with ")]
    least = (
        f", at last {halvings[-1].partition('going on with ')[2].partition(',')[0]} images at once" if halvings else ""
    )
    allowed = f"{GIB} GiB" if clock.device.type == "cuda" else "a CPU's memory is not limited"
    yield f"little memory, {name} ({allowed}): ended in {seconds:.1f} s after {len(halvings)} halvings{least}"
