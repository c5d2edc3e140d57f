"""Whether frames are of the kind that a model was trained on: a network is as sure of anything else.

Belongs here: distances between embeddings, and what they say. Predicting the frames is `predict_files`.
"""

from collections.abc import Sequence

import numpy as np
import torch

from distracted_pipeline.features.taps import TapStore
from distracted_pipeline.images.manifest import labelled, read_manifest
from distracted_pipeline.memory import Pieces
from distracted_pipeline.settings import Settings
from distracted_pipeline.variants.backbones import load_backbone

SAMPLE = 16
"""Frames that are looked at; they come in series that are alike."""

_KNOWN = 2000
_TAP = "pooled"
_BATCH = 16
_USUAL = 0.99
"""Share of the training frames that are nearer than the limit to a frame of another driver."""


def unlike_training(settings: Settings, drivers: Sequence[str], frames: Sequence[np.ndarray]) -> float | None:
    """Return the share of frames that lie further from the training frames than those of one driver from another's.

    Args:
        settings: Give backbone and cached embeddings.
        drivers: Those whom the model was trained on.
        frames: RGB uint8 `[H, W, 3]`.

    Returns:
        None where it cannot be told: fewer than two of the drivers have cached embeddings, or there are no frames.
    """
    store = TapStore(settings)
    cached = [driver for driver in drivers if not store.missing(driver, [_TAP])]
    if len(cached) < 2 or not frames:
        return None
    table = labelled(read_manifest(settings))
    owners = np.array(table["subject"].to_pylist())
    rows = np.flatnonzero(np.isin(owners, cached))
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(_KNOWN, len(rows))).astype(int))]
    names = table["img"].to_pylist()
    known = store.load([_TAP], [names[row] for row in rows])[_TAP].astype(np.float32)
    centre, spread = known.mean(0), known.std(0) + 1e-6
    known = (known - centre) / spread
    new = (_embeddings(settings, frames) - centre) / spread
    apart = _distances(known, known)
    apart[owners[rows][:, None] == owners[rows][None, :]] = np.inf
    limit = np.quantile(apart.min(1), _USUAL)
    return float((_distances(new, known).min(1) > limit).mean())


def _embeddings(settings: Settings, frames: Sequence[np.ndarray]) -> np.ndarray:
    backbone = load_backbone(settings)
    pixels = torch.from_numpy(np.stack([backbone.preprocessing.resize(frame) for frame in frames]))

    def embedded(part: slice) -> torch.Tensor:
        return backbone.trunk.taps(backbone.preprocessing.normalise(pixels[part]), [_TAP])[_TAP]

    with torch.inference_mode():
        return torch.cat(list(Pieces(_BATCH, print).over(len(pixels), embedded))).float().numpy()


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return Euclidean distances, float `[len(a), len(b)]`."""
    return torch.cdist(torch.from_numpy(a), torch.from_numpy(b)).numpy()
