"""Hugging Face segmentation models as segmenters.

Belongs here: devices, precision, the forward pass. Loading one is `pretrained`; what becomes of the outputs is
`postprocess`.
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import cached_property, partial
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from transformers.image_transforms import get_size_with_aspect_ratio

from distracted_pipeline.compiling import SEGMENTER_PAYS_FROM, Compiled, keep_kernels, pays
from distracted_pipeline.dataset import Category
from distracted_pipeline.devices import resolve_device, resolve_precision
from distracted_pipeline.masks.deformable import fused_attention
from distracted_pipeline.masks.families import FAMILIES, Reading
from distracted_pipeline.masks.geometry import Geometry, whole_frame
from distracted_pipeline.masks.interpolation import QuickInterpolation
from distracted_pipeline.masks.labels import category_table, label_names
from distracted_pipeline.masks.postprocess import (
    Queries,
    confident_queries,
    panoptic_map,
    semantic_map,
)
from distracted_pipeline.masks.preprocess import Preprocessor
from distracted_pipeline.masks.tensor_maps import most_sure, panoptic_maps, semantic_maps
from distracted_pipeline.memory import SMALLER_SEGMENTER, Pieces
from distracted_pipeline.options import RunOptions
from distracted_pipeline.progress import Log
from distracted_pipeline.recording import Given, Recorder

CPU_BATCH = 4
LARGEST_BATCH = 64
MEMORY_SHARE = 0.7
RECORDED_FROM = 1_024
"""Images of one process from which on the model's passes are recorded, where it isn't compiled."""

RANKS = 4
"""Maps are recorded for so many sure queries, twice as many, and so on."""

_PIXELS = "pixel_values"


class Prepared(NamedTuple):
    """One image for the model.

    Attributes:
        pixels: uint8 `[H, W, 3]` where the device resizes it, else float32 `[3, h, w]`.
        size: Height and width of the image.
    """

    pixels: torch.Tensor
    size: tuple[int, int]

    @property
    def shape(self) -> torch.Size:
        """Images of one shape can share a batch."""
        return self.pixels.shape


class ModelSegmenter:
    """A universal or semantic segmentation model; see `StagedSegmenter`.

    Attributes:
        categories_missing: Names of the categories that the model does not know.
        device: Where it runs.
        precision: `fp32`, `bf16` or `fp16` (autocast).
        on_device: Whether the device makes the class maps, and resizes and normalises where it does so exactly.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        name: str,
        fingerprint: str,
        categories: Sequence[Category],
        device: str = "auto",
        precision: str = "auto",
        task: torch.Tensor | None = None,
    ) -> None:
        self.name = name
        self.fingerprint = fingerprint
        self.device = resolve_device(device)
        self.precision = resolve_precision(precision, self.device)
        self.table, self.categories_missing = category_table(label_names(model.config.id2label), name, categories)
        self.family = FAMILIES.get(model.config.model_type)
        self.preprocess = Preprocessor(processor, self._content if self.family and self.family.padded else None)
        self.on_device = self.device.type != "cpu"
        self.input_size: Any = getattr(processor, "size", None)
        self.task = task if task is None else task.to(self.device)
        self.model = model.to(self.device).eval()
        self._compiled = Compiled([], None, print)
        self._record(False, print)

    def segment(self, images: Sequence[np.ndarray], names: Sequence[str]) -> list[np.ndarray]:
        """Return the class map of each image; images of one prepared size share a batch."""
        prepared = [self.prepare(image, name) for image, name in zip(images, names, strict=True)]
        maps: list[np.ndarray] = [np.zeros(0)] * len(prepared)
        for shape in dict.fromkeys(item.shape for item in prepared):
            members = [i for i, item in enumerate(prepared) if item.shape == shape]
            for i, raw in zip(members, self._in_pieces([prepared[i] for i in members]), strict=True):
                maps[i] = self.finish(raw, images[i].shape[:2])
        return maps

    def _in_pieces(self, prepared: Sequence[Prepared]) -> Iterator[Any]:
        pieces = Pieces(len(prepared), print, remedy=SMALLER_SEGMENTER)
        return chain.from_iterable(pieces.over(len(prepared), lambda part: self.forward(prepared[part])))

    def prepare(self, image: np.ndarray, name: str) -> Prepared:
        """Return one image for `forward`."""
        height, width = image.shape[:2]
        if self.on_device and self.preprocess.on_device(height, width, self.device):
            pixels = torch.from_numpy(image)
            # Pinned here, in a thread of its own: the driver would copy pageable memory twice, and the device wait.
            return Prepared(pixels.pin_memory() if self.device.type == "cuda" else pixels, (height, width))
        return Prepared(self.preprocess(image), (height, width))

    def prepare_picture(self, picture: Image.Image, name: str) -> Prepared:
        """Do what `prepare` does, for an upright picture in RGB."""
        if self.on_device:
            return self.prepare(np.array(picture), name)
        return Prepared(self.preprocess(picture), (picture.height, picture.width))

    @torch.inference_mode()
    def forward(self, prepared: Sequence[Prepared]) -> list[np.ndarray] | list[Queries] | list[torch.Tensor]:
        """Run a batch; return what `finish` takes.

        Returns:
            Each image's class map where the device makes it; else its confident queries, or its class logits
            `[L, h, w]`.
        """
        return self._compiled.bypass(lambda: self._pass(prepared, len(prepared)))

    @torch.inference_mode()
    def forward_steady(
        self, prepared: Sequence[Prepared], size: int
    ) -> list[np.ndarray] | list[Queries] | list[torch.Tensor]:
        """Do what `forward` does; where compiled or recorded with a batch of `size` images whatever their number."""
        if not (self._compiled or self._passes):
            return self._pass(prepared, len(prepared))
        filled = [*prepared, *[prepared[-1]] * (size - len(prepared))]
        return self._compiled.run(lambda: self._pass(filled, len(prepared), steady=True))

    def compile_for(self, images: int, options: RunOptions) -> None:
        """Compile where `options.compile` says so, or where that pays for so many images; once. Else perhaps record."""
        if self._compiled:
            return
        if self.device.type == "cuda":
            keep_kernels(options.kernels)
        if pays(options.compile, self.device, images, SEGMENTER_PAYS_FROM):
            options.log(f"compiling {self.name} for {images:,} images: the first batch takes a minute or more")
            self._compiled = Compiled([self.model], options.kernels, options.log)
        elif self.device.type == "cuda" and options.compile == "auto" and images >= RECORDED_FROM and not self._passes:
            self._record(True, options.log)

    def _pass(
        self, prepared: Sequence[Prepared], count: int, steady: bool = False
    ) -> list[np.ndarray] | list[Queries] | list[torch.Tensor]:
        """Run a batch of which only the first `count` images are wanted; `steady`: many of its size will follow."""
        # Triton launches on the current device, whatever its tensors are on.
        with torch.cuda.device(self.device) if self.device.type == "cuda" else nullcontext():
            given = {_PIXELS: self._gathered([item.pixels for item in prepared])}
            logits = self._passes.run(given, self._logits) if steady else self._logits(given)
            if self.on_device:
                return self._maps(logits, [item.size for item in prepared], steady)[:count]
        if self.family:
            classes, masks = (each[:count] for each in logits[:2])
            return confident_queries(classes, masks, self.family.reading.thresholds)
        return list(logits[0][:count].float().cpu())

    def _logits(self, given: Given) -> tuple[torch.Tensor, ...]:
        """Return the queries' class and mask logits and how many are sure at most; or a semantic model's logits."""
        pixels = given[_PIXELS]
        if pixels.dtype == torch.uint8:
            route = self.preprocess.on_device(int(pixels.shape[1]), int(pixels.shape[2]), self.device)
            assert route  # `prepare` asked
            pixels = route(pixels)
        task = {} if self.task is None else {"task_inputs": self.task.expand(len(pixels), -1)}
        # A compiler writes kernels of its own.
        quick = QuickInterpolation() if self.device.type == "cuda" and not self._compiled else nullcontext()
        with self._autocast(), fused_attention(self.model, self.device), quick:
            output = self.model(pixel_values=pixels, **task)
        if not self.family:
            return (output.logits,)
        classes, masks = output.class_queries_logits, output.masks_queries_logits
        return classes, masks, most_sure(classes, self.family.reading)

    @torch.inference_mode()
    def finish(self, raw: np.ndarray | Queries | torch.Tensor, size: tuple[int, int]) -> np.ndarray:
        """Return one image's class map, uint8 `[H, W]`; `none` where the processor hid the image from the model."""
        if isinstance(raw, np.ndarray):
            return raw
        if isinstance(raw, Queries):
            return panoptic_map(raw, self.table, size, self._reading(size), self.geometry(*size))
        return semantic_map(raw, self.table, size, self.geometry(*size))

    def geometry(self, height: int, width: int) -> Geometry:
        """Return where images of this size lie in the model's input, less the padding that its kind undoes itself.

        Raises:
            DistractedError: The processor cannot take them, or does to them what cannot be undone.
        """
        if self.family and self.family.padded:
            return whole_frame(height, width)
        return self.preprocess.geometry(height, width)

    def batch_size(self, prepared: Prepared) -> int:
        """Return the largest power of two that fits the device, judged by the memory that one more image takes."""
        if self.device.type != "cuda":
            return CPU_BATCH
        self.forward([prepared])  # so that workspaces and kernels, allocated once and kept, do not count
        # The difference between the two: autocast's copies of the weights are allocated once a batch, however large.
        one, two = (self._peak([prepared] * count) for count in (1, 2))
        free, _ = torch.cuda.mem_get_info(self.device)
        idle = torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)
        fits = 1 + int(((free + idle) * MEMORY_SHARE - one) / max(two - one, 1))
        return 1 << max(min(fits, LARGEST_BATCH).bit_length() - 1, 0)

    def in_precision(self, precision: str) -> "ModelSegmenter":
        """Return the same model in another precision. It shares the weights, which autocast never changes."""
        twin = copy.copy(self)
        twin.precision = precision
        twin._record(False, print)
        return twin

    def _record(self, wanted: bool, log: Log) -> None:
        """Record what the device does in batches of one size, or do not: every kernel launched is Python's lock won."""
        self._passes: Recorder[tuple[torch.Tensor, ...]] = Recorder(wanted, log)
        self._mapping: Recorder[torch.Tensor] = Recorder(wanted, log)

    def _reading(self, size: tuple[int, int]) -> Reading:
        """Return how the queries of an image of this size are read."""
        assert self.family
        if not self.family.padded:
            return self.family.reading
        shortest, longest = self.input_size.shortest_edge, self.input_size.longest_edge
        return replace(self.family.reading, working_size=(shortest, longest or shortest), content=self._content(*size))

    def _content(self, height: int, width: int) -> tuple[int, int]:
        """Return the size of an image in an input that is padded."""
        return get_size_with_aspect_ratio((height, width), self.input_size.shortest_edge, self.input_size.longest_edge)

    def _maps(
        self, logits: Sequence[torch.Tensor], sizes: Sequence[tuple[int, int]], steady: bool = False
    ) -> list[np.ndarray]:
        """Return the class maps, made on the device: images of one size together, and only bytes leave it."""
        maps: list[np.ndarray] = [np.zeros(0)] * len(sizes)
        for size in dict.fromkeys(sizes):
            of_size = [i for i, other in enumerate(sizes) if other == size]
            whole = len(of_size) == len(sizes)
            made = self._maps_of(logits if whole else [*(each[of_size] for each in logits[:2])], size, steady and whole)
            host = torch.empty(made.shape, dtype=made.dtype, pin_memory=self.device.type == "cuda").copy_(made)
            for i, one in zip(of_size, host.numpy(), strict=True):
                maps[i] = one
        return maps

    def _maps_of(self, logits: Sequence[torch.Tensor], size: tuple[int, int], steady: bool) -> torch.Tensor:
        """Return the class maps of images of one size, uint8 `[B, H, W]` on the device."""
        if not self.family:
            return semantic_maps(logits[0], self._device_table, size, self.geometry(*size))
        reading, geometry = self._reading(size), self.geometry(*size)

        def work(given: Given, most: int | None = None) -> torch.Tensor:
            classes, masks = given.values()
            return panoptic_maps(classes, masks, self._device_table, size, reading, geometry, most)

        given = {"classes": logits[0], "masks": logits[1]}
        if not steady:
            return work(given)
        most = min(-(-max(int(logits[2]), 1) // RANKS) * RANKS, logits[0].shape[1])
        return self._mapping.run(given, partial(work, most=most), (size, most))

    @cached_property
    def _device_table(self) -> torch.Tensor:
        return torch.from_numpy(self.table).to(self.device)

    def _gathered(self, prepared: Sequence[torch.Tensor]) -> torch.Tensor:
        if self.device.type == "cpu":
            return torch.stack(list(prepared))
        batch = torch.empty((len(prepared), *prepared[0].shape), dtype=prepared[0].dtype, device=self.device)
        torch._foreach_copy_(batch.unbind(), list(prepared), non_blocking=True)
        return batch

    def _peak(self, prepared: Sequence[Prepared]) -> int:
        """Return the bytes that a batch takes beyond what is allocated before it."""
        torch.cuda.reset_peak_memory_stats(self.device)
        before = torch.cuda.memory_allocated(self.device)
        self.forward(prepared)
        return int(torch.cuda.max_memory_allocated(self.device) - before)

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16 if self.precision == "bf16" else torch.float16)
