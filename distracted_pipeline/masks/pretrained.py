"""Hugging Face checkpoints into segmenters, or into a sentence that says why not.

Belongs here: loading a checkpoint with its processor, the size that it is told to take, refusing what cannot be used.
How the loaded model runs is `models`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForSemanticSegmentation,
    AutoModelForUniversalSegmentation,
    AutoTokenizer,
    OneFormerProcessor,
)
from transformers.image_utils import SizeDict
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES,
)

from distracted_pipeline.advice import DOCTOR
from distracted_pipeline.dataset import Category
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.huggingface import quiet_transformers
from distracted_pipeline.masks.families import FAMILIES
from distracted_pipeline.masks.identity import model_missing
from distracted_pipeline.masks.models import ModelSegmenter
from distracted_pipeline.masks.segmenter import ORDINARY_SIZE


def load_model(
    name: str,
    revision: str | None,
    fingerprint: str,
    categories: Sequence[Category],
    device: str,
    precision: str,
    size: int | None = None,
) -> ModelSegmenter:
    """Return a universal or semantic segmentation model with its processor.

    Args:
        name: Hugging Face id or local folder.
        revision: Commit of a hub model; None for a folder.
        fingerprint: See `identity.segmenter_fingerprint`.
        categories: The data set's.
        device: As in `RunOptions`.
        precision: As in `RunOptions`.
        size: Side of square inputs, shorter side of others, in pixels; None is what the model's processor says.

    Raises:
        DistractedError: Files are missing, this kind of model does not segment, it cannot take inputs of that size, or
            its processor does to frames what cannot be undone.
    """
    where: dict[str, Any] = {} if revision is None else {"revision": revision}
    try:
        config = AutoConfig.from_pretrained(name, **where)
        kind = config.model_type
        family = FAMILIES.get(kind)
        if kind in MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES:
            loader: Any = AutoModelForSemanticSegmentation
        elif family:
            loader = AutoModelForUniversalSegmentation
        else:
            kinds = ", ".join([*FAMILIES, *MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES])
            raise DistractedError(
                f"DISTRACTED_SEGMENTER names {name}, a {kind} model; the kinds that can be used are {kinds}. "
                f"Name another one, then type: {DOCTOR}"
            )
        with quiet_transformers():
            # OneFormer's processor would fetch the class names of its training texts, which nobody needs here.
            names = {"class_info_file": None} if family and family.task else {}
            processor = AutoImageProcessor.from_pretrained(name, backend="pil", **names, **where)
            task = _task(name, where, processor, config, family.task) if family and family.task else None
            # Checkpoints name their own dtype; here the precision option decides, so weights are read as float32.
            model, loading = loader.from_pretrained(name, dtype=torch.float32, output_loading_info=True, **where)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise model_missing(name, f"{type(error).__name__}: {str(error).strip().splitlines()[0]}") from error
    if loading["missing_keys"]:
        raise DistractedError(
            f"the weights of {name} lack {len(loading['missing_keys'])} tensors, e.g. {min(loading['missing_keys'])}: "
            "they would be random. Copy the model's folder again (a hub model: delete it from the Hugging Face cache), "
            f"then type: {DOCTOR}"
        )
    padded = bool(family and family.padded)
    if padded and not processor.do_pad:
        raise DistractedError(
            f"{name} is an {kind} model for semantic segmentation: its processor does not pad images to a square, but "
            "cuts them into patches. Name one for panoptic segmentation in DISTRACTED_SEGMENTER, then type: "
            f"{DOCTOR}"
        )
    if size is not None:
        processor.size = _resized(processor, size, name, fixed=padded)
    segmenter = ModelSegmenter(model, processor, name, fingerprint, categories, device, precision, task)
    segmenter.geometry(*ORDINARY_SIZE)  # a processor that can do nothing right is refused before any frame
    return segmenter


def _task(name: str, where: dict[str, Any], processor: Any, config: Any, task: str) -> torch.Tensor:
    """Return the tokens `[1, length]` by which a model is told its task."""
    tokenizer = AutoTokenizer.from_pretrained(name, **where)
    words = OneFormerProcessor(processor, tokenizer, task_seq_length=config.task_seq_len)
    image = np.zeros((64, 64, 3), np.uint8)
    return words(images=image, task_inputs=[task], do_resize=False, return_tensors="pt")["task_inputs"]


def _resized(processor: Any, size: int, name: str, fixed: bool) -> SizeDict:
    """Return the size that a processor is to make of images: `size` for the side it says, the other in proportion."""
    now = processor.size
    sides = now and (now.shortest_edge or (now.height and now.width))
    if fixed or getattr(processor, "do_center_crop", None) or not sides:
        raise DistractedError(
            f"DISTRACTED_SEGMENTER_SIZE is {size}, but {name} takes images of its own size only ({_text(now)}). Unset "
            f"it, or name a model of another size in DISTRACTED_SEGMENTER; then type: {DOCTOR}"
        )
    if now.shortest_edge:
        longest = now.longest_edge and round(now.longest_edge * size / now.shortest_edge)
        return SizeDict(shortest_edge=size, longest_edge=longest)
    return SizeDict(height=size, width=size)


def _text(size: SizeDict) -> str:
    return ", ".join(f"{key} {value}" for key, value in dict(size or {}).items() if value)
