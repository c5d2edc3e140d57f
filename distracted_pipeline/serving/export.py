"""A trained variant as one file that runs without this package: from image values to probabilities, as pt2.

Belongs here: the module that is exported, and saving it as an MLflow model. Which one deserves it is `champion`.
A pt2 archive holds a traced graph, but `torch.export.load` unpickles its weights and constants with
`weights_only=False`: a prepared one can run code. Load it only from a store that you trust. This package's own weights
are safetensors, and `onnx_export` writes a file without Python in it.
"""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from distracted_pipeline.features.frozen_pass import PIXELS
from distracted_pipeline.masks.fractions import GRID
from distracted_pipeline.settings import Settings
from distracted_pipeline.training.checkpoint import Trained
from distracted_pipeline.variants.backbones import Preprocessing, load_preprocessing
from distracted_pipeline.variants.kinds import FRACTIONS
from distracted_pipeline.variants.networks import VariantNet

TESTED_BATCHES = (1, 2, 7)

OUTPUT = "probabilities"
"""What files for other runtimes call it."""

OPSET = 18
"""Of ONNX: the first whose Resize knows antialiasing."""

_TOLERANCE = 1e-4


class Classifier(nn.Module):
    """Image values to probabilities, normalisation included.

    Reads, in the order of `inputs` and only those that the variant has: `pixels`, RGB uint8 `[B, 3, h, w]`, resized
    to the backbone's size (bilinear with antialiasing, the whole image); `fractions`, float32 `[B, ids, 60, 80]`, the
    share of each mask id (0 is none, then the categories) in each cell of a grid over the image.

    Args:
        net: The trained network.
        preprocessing: What `pixels` need; None where the variant reads none.
        mask_ids: How many mask ids the data set has.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, net: VariantNet, preprocessing: Preprocessing | None, mask_ids: int) -> None:
        super().__init__()
        self.net = net
        self.mask_ids = mask_ids
        self.inputs = net.map_inputs
        self.size = preprocessing.size if preprocessing else None
        self.order = list(preprocessing.order) if preprocessing else []
        if preprocessing is not None:
            self.register_buffer("scale", torch.tensor(preprocessing.scale)[:, None, None])
            self.register_buffer("shift", torch.tensor(preprocessing.shift)[:, None, None])

    def forward(self, first: Tensor, second: Tensor | None = None) -> Tensor:
        """Return probabilities `[B, class]`, in the order of the class ids."""
        batch = {name: value for name, value in zip(self.inputs, (first, second), strict=False) if value is not None}
        if PIXELS in batch:
            pixels = batch[PIXELS] if self.order in ([], [0, 1, 2]) else batch[PIXELS][:, self.order]
            pixels = pixels.float() * self.scale + self.shift
            batch[PIXELS] = pixels.contiguous(memory_format=torch.channels_last)
        return self.net.forward_from_images(batch).softmax(1)

    def example(self, batch: int) -> tuple[Tensor, ...]:
        """Return drawn inputs of the right shapes and types."""
        generator = torch.Generator().manual_seed(batch)
        found: list[Tensor] = []
        if self.size is not None:
            found.append(torch.randint(0, 256, (batch, 3, *self.size), dtype=torch.uint8, generator=generator))
        if FRACTIONS in self.inputs:
            shares = torch.rand(batch, self.mask_ids, *GRID, generator=generator)
            found.append(shares / shares.sum(1, keepdim=True))
        return tuple(found)


def classifier_of(settings: Settings, trained: Trained) -> Classifier:
    """Return a trained variant as the module that is exported, in eval mode, on the variant's device."""
    preprocessing = load_preprocessing(settings, trained.config.model_name) if trained.config.taps else None
    module = Classifier(trained.net, preprocessing, len(settings.dataset.mask_names)).eval().requires_grad_(False)
    return module.to(next(trained.net.parameters()).device)


def save_classifier(module: Classifier, folder: Path, metadata: dict[str, Any]) -> None:
    """Write an MLflow model whose batch may have any size, and compare it with `module` at several.

    `mlflow.pytorch.load_model(folder)` gives it back.

    Raises:
        RuntimeError: What was exported computes something else, or another batch size does not pass.
    """
    import mlflow.pytorch
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    # A copy with plain strides on the CPU: a graph is bound to the device it was traced on.
    module = copy.deepcopy(module).cpu().to(memory_format=torch.contiguous_format)
    example = module.example(2)  # a batch of 1 would be frozen into the graph
    specs: list[Any] = [
        TensorSpec(value.numpy().dtype, (-1, *value.shape[1:]), name)
        for name, value in zip(module.inputs, example, strict=True)
    ]
    returned = TensorSpec(np.dtype("float32"), (-1, module.net.classifier.out_features))
    signature = ModelSignature(Schema(specs), Schema([returned]))
    mlflow.pytorch.save_model(
        module,
        str(folder),
        signature=signature,
        input_example=example,
        pip_requirements=[f"torch=={torch.__version__.partition('+')[0]}"],
        metadata=metadata,
        serialization_format="pt2",
    )
    _keep_example(folder, {name: value.numpy() for name, value in zip(module.inputs, module.example(1), strict=True)})
    loaded = mlflow.pytorch.load_model(str(folder))
    with torch.inference_mode():
        for batch in TESTED_BATCHES:
            inputs = module.example(batch)
            gap = float((loaded(*inputs) - module(*inputs)).abs().max())
            if not gap < _TOLERANCE:
                raise RuntimeError(f"the exported model differs by {gap:.2g} from the trained one at batch {batch}")


def _keep_example(folder: Path, example: dict[str, np.ndarray]) -> None:
    """Put an example of one frame beside a saved model; MLflow keeps none of tensors by itself."""
    from mlflow.models import Model
    from mlflow.models.model import MLMODEL_FILE_NAME
    from mlflow.models.utils import _save_example

    described = Model.load(str(folder))
    _save_example(described, example, str(folder))
    described.save(str(folder / MLMODEL_FILE_NAME))
