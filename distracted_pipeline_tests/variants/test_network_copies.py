"""Copies of a network: the same answers, nothing shared."""

import torch
from torch import nn

from distracted_pipeline.variants.network_copies import Original


class Tied(nn.Module):
    """Two layers with one weight, a buffer, and a frozen part."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 3, 3).to(memory_format=torch.channels_last)
        self.second = nn.Conv2d(3, 3, 3)
        self.second.weight = self.first.weight
        self.norm = nn.BatchNorm2d(3).requires_grad_(False).eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.second(self.first(x)))


def test_a_copy_answers_alike_and_keeps_what_is_tied_frozen_and_laid_out() -> None:
    network = Tied()
    copy = Original(network).copy()
    x = torch.randn(2, 3, 9, 9)
    assert torch.equal(copy(x), network(x))
    assert copy.first.weight is copy.second.weight
    assert copy.first.weight.is_contiguous(memory_format=torch.channels_last)
    assert [p.requires_grad for p in copy.parameters()] == [p.requires_grad for p in network.parameters()]
    assert not copy.norm.training


def test_what_is_done_to_a_copy_is_done_to_no_other() -> None:
    original = Original(Tied())
    changed = original.copy().train()
    with torch.no_grad():
        changed.first.weight.zero_()
        changed(torch.randn(2, 3, 9, 9))  # moves the statistics of the normalisation
    other = original.copy()
    assert other.first.weight.abs().sum() > 0
    assert torch.equal(other.norm.running_mean, torch.zeros(3))
