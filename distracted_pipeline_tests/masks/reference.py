"""Transformers' own panoptic post-processing and the plain remap, as ground truth for tests."""

from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor
from transformers.models.mask2former.image_processing_pil_mask2former import Mask2FormerImageProcessorPil
from transformers.models.maskformer.image_processing_pil_maskformer import MaskFormerImageProcessorPil


def panoptic_reference(
    class_logits: Tensor,
    mask_logits: Tensor,
    table: np.ndarray,
    size: tuple[int, int],
    fuse: set[int] | None = None,
    maskformer: bool = False,
) -> tuple[np.ndarray, bool]:
    """Return the category map by transformers, and whether two classes shared a segment id.

    Without `fuse` ids never collide, so the map is right.
    """
    processor = MaskFormerImageProcessorPil() if maskformer else Mask2FormerImageProcessorPil()
    outputs = SimpleNamespace(class_queries_logits=class_logits[None], masks_queries_logits=mask_logits[None])
    (result,) = processor.post_process_panoptic_segmentation(
        outputs, label_ids_to_fuse=fuse or set(), target_sizes=[size]
    )
    segments = result["segmentation"].numpy()
    categories = np.zeros(size, np.uint8)
    labels: dict[int, set[int]] = {}
    for segment in result["segments_info"]:
        labels.setdefault(segment["id"], set()).add(segment["label_id"])
        categories[segments == segment["id"]] = table[segment["label_id"]]
    return categories, any(len(shared) > 1 for shared in labels.values())


def scene(
    seed: int, queries: int, confident: int, labels: int, size: tuple[int, int] = (24, 32)
) -> tuple[Tensor, Tensor]:
    """Return class logits `[Q, L + 1]` and mask logits `[Q, h, w]`: blobs of sure queries among unsure ones."""
    random = torch.Generator().manual_seed(seed)
    classes = torch.randn(queries, labels + 1, generator=random)
    classes[:, -1] += 8
    masks = torch.randn(queries, *size, generator=random) * 0.3 - 6
    down, across = torch.meshgrid(torch.linspace(-1, 1, size[0]), torch.linspace(-1, 1, size[1]), indexing="ij")
    for query in torch.randperm(queries, generator=random)[:confident].tolist():
        label = int(torch.randint(0, labels, (1,), generator=random))
        classes[query, -1] -= 8
        classes[query, label] += 4 + 6 * float(torch.rand(1, generator=random))
        y, x, high, wide = (torch.rand(4, generator=random) * torch.tensor([1.6, 1.6, 0.6, 0.6])).tolist()
        blob = 8 * (1 - ((down - y + 0.8) / (high + 0.1)) ** 2 - ((across - x + 0.8) / (wide + 0.1)) ** 2)
        masks[query] = (blob + torch.randn(size, generator=random) * 0.3).clamp(-12, 9)
    return classes, masks
