"""A trained variant as ONNX: one file from whole frames to probabilities, for runtimes that know no PyTorch.

Belongs here: the module that resizes and grids as this package does, and its conversion, compared with PyTorch before
it is kept. The module that PyTorch and MLflow get is `export`; the page about a model is `model_card`.
"""

import copy
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distracted_pipeline.advice import install
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.features.frozen_pass import PIXELS
from distracted_pipeline.files import atomic_path
from distracted_pipeline.masks.fractions import GRID
from distracted_pipeline.serving.export import OPSET, OUTPUT, TESTED_BATCHES, Classifier
from distracted_pipeline.variants.kinds import FRACTIONS

INPUTS = {PIXELS: "frames", FRACTIONS: "masks"}
"""What the file calls its inputs, by what the network reads."""

_FREE_AXES = {"frames": {0: "batch", 2: "height", 3: "width"}, "masks": {0: "batch", 1: "rows", 2: "columns"}}
_HALF = 0.5 + 2**-11
"""What is added before a value is cut off: Pillow rounds a half up, and a half comes out a little less or more by each
runtime. Of drawn pixels 1 in 9,000 is another than Pillow's, and in ONNX Runtime 1 in 2,000 another than in PyTorch;
rounding to even made that 1 in 260 and 1 in 370."""

_TOLERANCE = 2e-3
"""What one pixel that is a level brighter can make of a probability; a real mistake makes ten times that."""

_SIZES = ((96, 128), (90, 121))
"""Heights and widths of drawn frames that both are asked about: one whose cells are whole pixels, one odd."""


class FrameClassifier(nn.Module):
    """Whole frames and their masks to probabilities; every step that `distracted predict` takes on arrays is inside.

    Reads, in the order of `inputs` and only those that the variant has: `frames`, RGB uint8 `[B, 3, H, W]` of any
    size; `masks`, uint8 `[B, h, w]` of any size, the category of each pixel (0 is none).

    Args:
        classifier: What reads resized pixels and shares of a grid.
    """

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier = classifier
        self.size = classifier.size
        self.inputs = [INPUTS[name] for name in classifier.inputs]

    def forward(self, first: Tensor, second: Tensor | None = None) -> Tensor:
        """Return probabilities `[B, class]`, in the order of the class ids."""
        given = [value for value in (first, second) if value is not None]
        read = {"frames": self._resized, "masks": self._shares}
        return self.classifier(*(read[name](value) for name, value in zip(self.inputs, given, strict=True)))

    def _resized(self, frames: Tensor) -> Tensor:
        """Return `[B, 3, h, w]` as `Preprocessing.resize` does: Pillow rounds after each of its two directions."""
        assert self.size is not None
        height, width = self.size
        across = F.interpolate(frames.float(), (frames.shape[2], width), mode="bilinear", antialias=True)
        both = F.interpolate((across + _HALF).floor(), (height, width), mode="bilinear", antialias=True)
        return (both + _HALF).floor()

    def _shares(self, masks: Tensor) -> Tensor:
        """Return the share of each id in each cell, as `masks.fractions.class_fractions` does, `[B, ids, 60, 80]`."""
        ids = torch.arange(self.classifier.mask_ids, device=masks.device)
        inside = (masks[:, None].long() == ids[None, :, None, None]).float()
        return _overlaps(masks.shape[1], GRID[0]) @ inside @ _overlaps(masks.shape[2], GRID[1]).T

    def example(self, batch: int, height: int, width: int) -> tuple[Tensor, ...]:
        """Return drawn inputs of the right shapes and types."""
        generator = torch.Generator().manual_seed(batch)
        drawn = {
            "frames": torch.randint(0, 256, (batch, 3, height, width), dtype=torch.uint8, generator=generator),
            "masks": torch.randint(
                0, self.classifier.mask_ids, (batch, height, width), dtype=torch.uint8, generator=generator
            ),
        }
        return tuple(drawn[name] for name in self.inputs)


def _overlaps(pixels: int, cells: int) -> Tensor:
    """Return the share of each cell that each pixel covers, `[cells, pixels]`, of a side of any length."""
    # In units of which a cell holds `pixels` and a pixel `cells`, so that every edge is a whole number.
    cell, pixel = torch.arange(cells)[:, None], torch.arange(pixels)[None]
    last = torch.minimum((cell + 1) * pixels, (pixel + 1) * cells)
    first = torch.maximum(cell * pixels, pixel * cells)
    return (last - first).clamp(min=0).float() / pixels


def save_onnx(classifier: Classifier, path: Path) -> None:
    """Write a variant as one ONNX file, for batches and frames of any size, and compare it with PyTorch at several.

    Raises:
        DistractedError: The extra `onnx` is not installed.
        RuntimeError: What was written computes something else.
    """
    try:
        import onnxruntime
        import onnxscript  # noqa: F401  (what torch converts with)
    except ImportError as error:
        raise DistractedError(f"writing ONNX needs the extra `onnx` ({error}). Type: {install('onnx')}") from error
    module = FrameClassifier(copy.deepcopy(classifier).to(memory_format=torch.contiguous_format)).cpu().eval()
    with _quiet():
        program = torch.onnx.export(
            module,
            module.example(3, 120, 160),  # neither one frame nor a size that any other axis has
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=module.inputs,
            output_names=[OUTPUT],
            dynamic_shapes=tuple(_FREE_AXES[name] for name in module.inputs),
        )
    assert program is not None
    with atomic_path(path) as temporary:
        program.save(temporary, external_data=False)
        session = onnxruntime.InferenceSession(temporary.read_bytes(), providers=["CPUExecutionProvider"])
        for batch in TESTED_BATCHES:
            for height, width in _SIZES:
                gap = _gap(module, session, module.example(batch, height, width))
                if not gap < _TOLERANCE:
                    raise RuntimeError(
                        f"the ONNX file differs by {gap:.2g} from the trained model for {batch} frames of "
                        f"{width} x {height}"
                    )


@torch.inference_mode()
def _gap(module: FrameClassifier, session: Any, inputs: tuple[Tensor, ...]) -> float:
    fed = {name: value.numpy() for name, value in zip(module.inputs, inputs, strict=True)}
    return float(np.abs(session.run([OUTPUT], fed)[0] - module(*inputs).numpy()).max())


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what the converter says of its own workings from the terminal; it raises where something is wrong."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
