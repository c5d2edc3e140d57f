"""Adebayo et al. 2018: an explanation that survives other weights shows the image, not the network."""

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from distracted_pipeline.explanation.gradcam import cams

ALIKE = 0.4
"""Mean rank correlation above which an explanation has survived."""


class SmallNet(nn.Module):
    """Three convolutions, mean pooling, a linear layer: the contract of a variant's network."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.one, self.two = nn.Conv2d(3, 16, 3, 2, 1), nn.Conv2d(16, 32, 3, 2, 1)
        self.three, self.classifier = nn.Conv2d(32, 32, 3, 1, 1), nn.Linear(32, 10)

    def forward_with_map(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        act = nn.functional.silu
        last = act(self.three(act(self.two(act(self.one(batch["pixels"]))))))
        return self.classifier(last.mean((2, 3))), last

    def pooled_weights(self) -> Tensor:
        return self.classifier.weight.detach()


def scenes(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Frames with one textured thing that tells the class, and two that tell nothing, anywhere."""
    rng = np.random.default_rng(seed)
    textures = np.random.default_rng(99).normal(0, 1, (13, 3, 8, 8))
    frames = rng.normal(0, 0.15, (count, 3, 24, 32))
    classes = rng.integers(0, 10, count)
    for frame, k in zip(frames, classes, strict=True):
        for texture in (10 + rng.integers(0, 3), 10 + rng.integers(0, 3), k):
            top, left = rng.integers(0, 16), rng.integers(0, 24)
            frame[:, top : top + 8, left : left + 8] = textures[texture]
    return torch.from_numpy(frames.astype(np.float32)), torch.from_numpy(classes)


@pytest.fixture(scope="module")
def trained() -> SmallNet:
    net = SmallNet(seed=0)
    frames, classes = scenes(400, seed=0)
    optimiser = torch.optim.AdamW(net.parameters(), 4e-3)
    for _ in range(10):
        for rows in torch.randperm(len(frames)).split(50):
            optimiser.zero_grad()
            nn.functional.cross_entropy(net.forward_with_map({"pixels": frames[rows]})[0], classes[rows]).backward()
            optimiser.step()
    with torch.no_grad():
        right = net.forward_with_map({"pixels": frames})[0].argmax(1) == classes
    assert right.float().mean() > 0.3  # three times chance: it has learned where to look
    return net


def gradcam(net: SmallNet, frames: Tensor, classes: Tensor) -> Tensor:
    return cams(net, {"pixels": frames}, classes[:, None])[:, 0]


def edges(net: SmallNet, frames: Tensor, classes: Tensor) -> Tensor:
    """An explanation that never asks the network, at the resolution of its map."""
    steps = frames.diff(dim=2)[..., :-1].abs() + frames.diff(dim=3)[:, :, :-1].abs()
    return nn.functional.adaptive_avg_pool2d(steps.sum(1), (6, 8))


def survival(explain: Callable[[SmallNet, Tensor, Tensor], Tensor], net: SmallNet) -> list[float]:
    """Return rank correlations with the trained network's maps as layers are randomised, from the top down."""
    from scipy.stats import spearmanr

    frames, classes = scenes(48, seed=1)
    original = explain(net, frames, classes).flatten(1).numpy()
    cascade, fresh = copy.deepcopy(net), SmallNet(seed=7)
    found = []
    for layer in ("classifier", "three", "two", "one"):
        cascade.get_submodule(layer).load_state_dict(fresh.get_submodule(layer).state_dict())
        maps = explain(cascade, frames, classes).flatten(1).numpy()
        varied = [(a, b) for a, b in zip(original, maps, strict=True) if np.ptp(a) and np.ptp(b)]
        assert len(varied) > 24
        found.append(float(np.mean([spearmanr(a, b).statistic for a, b in varied])))
    return found


def test_gradcam_follows_the_weights_from_the_classifier_down(trained: SmallNet) -> None:
    assert max(survival(gradcam, trained)) < ALIKE


def test_an_edge_detector_fails_the_same_check(trained: SmallNet) -> None:
    assert min(survival(edges, trained)) > ALIKE
