"""Masks and taps of `bench_gpu`: end to end beside the plain way, and the model alone."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation, AutoModelForUniversalSegmentation

from distracted_pipeline.compiling import SEGMENTER_PAYS_FROM, Compiled
from distracted_pipeline.features.taps import TapStore
from distracted_pipeline.images.decode import ImageReader
from distracted_pipeline.images.manifest import labelled, of_subject, read_manifest
from distracted_pipeline.masks.fill import fill_missing
from distracted_pipeline.masks.loading import load_segmenter
from distracted_pipeline.masks.models import LARGEST_BATCH, ModelSegmenter
from distracted_pipeline.recording import Given, Recorder
from distracted_pipeline.settings import Settings
from distracted_pipeline_tests.benchmarks.gpu_clock import Bench, Clock, Items

TAPS = (("pixels",), ("pooled",), ("last_block", "block3_input"))


def masks(clock: Clock, bench: Bench) -> Items:
    """Return what is measured of masks."""
    settings = bench.settings
    return {
        "masks, Mask2Former": partial(_universal, clock, bench),
        "masks, DeepLab": partial(_end_to_end, clock, bench, replace(settings, segmenter=bench.deeplab), "deeplab"),
        "the model alone": partial(_model_alone, clock, bench),
        "the model compiled": partial(_compiled, clock, bench),
    }


def taps(clock: Clock, bench: Bench) -> Items:
    """Return what is measured of features: pixels from JPEGs, then other taps from the pixels."""
    store = TapStore(bench.settings)
    return {f"taps, {' + '.join(names)}": partial(_taps, clock, bench, store, names) for names in TAPS}


def _taps(clock: Clock, bench: Bench, store: TapStore, names: tuple[str, ...]) -> Iterator[str]:
    _ = store._trunk  # loaded before the clock starts

    def fill(subjects: Sequence[str]) -> float:
        return clock.seconds(lambda: [store.ensure(subject, names, bench.options) for subject in subjects])

    first, *others = bench.settings.subjects()
    images = read_manifest(bench.settings)
    rows = of_subject(images, first).num_rows
    beginning, seconds = fill([first]), fill(others)
    rate = bench.rates[f"taps {names[0]}"] = (images.num_rows - rows) / seconds
    yield (
        f"taps, {' + '.join(names)}: {rate:,.0f} images/s after the first driver, "
        f"who takes {beginning - rows / rate:.1f} s more"
    )


def _universal(clock: Clock, bench: Bench) -> Iterator[str]:
    kept: list[int] = []
    yield from _end_to_end(clock, bench, bench.settings, "masks", kept)
    yield f"  queries kept of an image: {sum(kept) / len(kept):.1f}"


def _end_to_end(
    clock: Clock, bench: Bench, settings: Settings, stage: str, kept: list[int] | None = None
) -> Iterator[str]:
    """Yield lines on making masks: transformers' model and post-processing in a loop, then ours."""
    paths = labelled(read_manifest(settings))["path"].to_pylist()
    processor = AutoImageProcessor.from_pretrained(settings.segmenter, backend="pil")
    loader: Any = AutoModelForSemanticSegmentation if kept is None else AutoModelForUniversalSegmentation
    model = loader.from_pretrained(settings.segmenter).to(clock.device).eval()

    @torch.inference_mode()
    def plain(some: list[str]) -> None:
        with ImageReader(settings.data) as reader:
            for path in some:
                image = reader.rgb(path)
                output = model(**processor(images=image, return_tensors="pt").to(clock.device))
                if kept is None:
                    processor.post_process_semantic_segmentation(output, target_sizes=[image.shape[:2]])
                else:
                    processor.post_process_panoptic_segmentation(output, target_sizes=[image.shape[:2]])
                    scores, labels = output.class_queries_logits[0].float().softmax(-1).max(-1)
                    none = output.class_queries_logits.shape[-1] - 1
                    kept.append(int(((scores > 0.5) & (labels != none)).sum()))

    plain(paths[:1])
    few = paths[: max(1, len(paths) // 24)]
    plainly = clock.rate(lambda: plain(few), len(few))
    model.cpu()
    results: list[Any] = []
    images = read_manifest(settings).num_rows
    seconds = clock.seconds(lambda: results.append(fill_missing(settings, options=bench.options)))
    found = results[0].values()
    done = sum(each.done for each in found)
    assert done == images, "masks are missing"
    first, *others = found
    ours = bench.rates[stage] = sum(each.done for each in others) / sum(each.seconds for each in others)
    waited = 1 - sum(each.model_seconds for each in found) / sum(each.seconds for each in found)
    name = Path(settings.segmenter).name
    yield (
        f"masks, {name}: plain {plainly:,.1f}, ours {ours:,.1f} images/s ({ours / plainly:.1f}x) after the first "
        f"driver, who takes {first.seconds - first.done / ours:.1f} s more; {images:,} in {seconds:.1f} s"
    )
    cpu = {stage: sum(each.cpu.get(stage, 0.0) for each in found) for stage in next(iter(found)).cpu}
    each_stage = ", ".join(f"{stage} {1e3 * seconds / done:.2f}" for stage, seconds in cpu.items())
    yield f"  device without a batch {waited:.0%} of the time; CPU ms an image: {each_stage}"


def _loaded(bench: Bench) -> tuple[ModelSegmenter, torch.Tensor]:
    """Return the universal segmenter and a batch for its model, as large as its pipeline takes on a GPU."""
    segmenter = load_segmenter(bench.settings, bench.options.device_name())
    assert isinstance(segmenter, ModelSegmenter)
    side = segmenter.input_size.height
    count = bench.batch if segmenter.device.type == "cpu" else LARGEST_BATCH
    return segmenter, torch.randn(count, 3, side, side, device=segmenter.device)


def _model_rate(clock: Clock, pixels: torch.Tensor, passed: Callable[[Given], object]) -> float:
    """Return images/s of a pass of the model."""

    @torch.inference_mode()
    def batches(count: int) -> None:
        for _ in range(count):
            passed({"pixel_values": pixels})

    batches(2)
    count = 2 if clock.device.type == "cpu" else 10
    return clock.rate(lambda: batches(count), count * len(pixels))


def _model_alone(clock: Clock, bench: Bench) -> Iterator[str]:
    segmenter, pixels = _loaded(bench)
    for precision in dict.fromkeys(("fp32", segmenter.precision)):
        twin = segmenter.in_precision(precision)

        def loop(given: Given, twin: ModelSegmenter = twin) -> object:
            with twin._autocast():
                return twin.model(**given)

        before, launched = _model_rate(clock, pixels, loop), _model_rate(clock, pixels, twin._logits)
        line = f"the model alone, {precision}, batches of {len(pixels)}: {before:,.1f} images/s"
        line += f"; with our attention and interpolation {launched:,.1f} ({launched / before:.2f}x)"
        if clock.device.type == "cuda":
            recorder: Recorder[tuple[torch.Tensor, ...]] = Recorder(True, print)
            recorded = _model_rate(clock, pixels, partial(recorder.run, work=twin._logits))
            line += f"; recorded {recorded:,.1f}"
        yield line


def _compiled(clock: Clock, bench: Bench) -> Iterator[str]:
    segmenter, pixels = _loaded(bench)
    said: list[str] = []
    before = _model_rate(clock, pixels, segmenter._logits)
    compiled = segmenter._compiled = Compiled([segmenter.model], None, said.append)
    seconds = clock.seconds(lambda: compiled.run(lambda: _model_rate(clock, pixels, segmenter._logits)))
    after = compiled.run(lambda: _model_rate(clock, pixels, segmenter._logits))
    compiled.undo()
    yield from (f"  {line}" for line in said)
    pays = f"pays from {seconds / (1 / before - 1 / after):,.0f} images on" if after > before else "never pays"
    yield (
        f"the model compiled: {before:,.1f} -> {after:,.1f} images/s after {seconds:.0f} s, {pays} "
        f"(`auto` takes {SEGMENTER_PAYS_FROM:,})"
    )
