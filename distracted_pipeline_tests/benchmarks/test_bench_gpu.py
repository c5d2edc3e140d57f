"""The benchmark for a GPU: it says so where there is none, and its tiny mode goes through all of it."""

import pytest
import torch
from click.testing import CliRunner

from distracted_pipeline_tests.benchmarks.bench_gpu import KINDS, main


def test_without_a_gpu_one_line_says_that_nothing_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    result = CliRunner().invoke(main)
    assert result.exit_code == 0
    assert result.output.count("\n") == 1
    assert result.output.startswith("no GPU here: nothing was measured")


def test_the_tiny_mode_measures_every_stage() -> None:
    result = CliRunner().invoke(main, ["--device", "cpu", "--tiny"])
    assert result.exit_code == 0, result.output
    for words in (
        "masks, tiny-mask2former: plain",
        "queries kept",
        "taps, pixels",
        "last_block",
        "hours of a whole",
        *KINDS,
    ):
        assert words in result.output
