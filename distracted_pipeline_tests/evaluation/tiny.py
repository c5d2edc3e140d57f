"""A network with the contract of a variant's, in two layers."""

import torch
from torch import Tensor, nn


class TinyNet(nn.Module):
    """`linear` decides whether the closed form applies."""

    inputs = map_inputs = ("pixels",)

    def __init__(self, linear: bool = True, seed: int = 0, classes: int = 10) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.SiLU())
        self.pool: nn.Module = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Sequential() if linear else nn.Sequential(nn.Linear(8, 8), nn.Tanh())
        self.classifier = nn.Linear(8, classes)
        self.linear = linear

    def forward(self, pixels: Tensor) -> Tensor:
        return self.classifier(self.head(self.pool(self.body(pixels))))

    def forward_with_map(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        activation = self.body(batch["pixels"])
        return self.classifier(self.head(self.pool(activation))), activation

    def map_tap(self) -> str | None:
        return None

    def pooled_weights(self) -> Tensor | None:
        return self.classifier.weight.detach() if self.linear else None
