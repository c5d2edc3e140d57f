"""The benchmark for a GPU: it says so where there is none, measures everything when tiny, and keeps to its time."""

from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from torch import nn
from transformers import AutoImageProcessor, Mask2FormerForUniversalSegmentation

from distracted_pipeline_tests.benchmarks.bench_gpu import SECTIONS, main, tiny_mask2former
from distracted_pipeline_tests.benchmarks.gpu_trainings import CANDIDATES, HEADS, KINDS
from distracted_pipeline_tests.conftest import draw_frame
from distracted_pipeline_tests.masks.conftest import LABELS


def test_without_a_gpu_one_line_says_that_nothing_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    result = CliRunner().invoke(main)
    assert result.exit_code == 0
    assert result.output.count("\n") == 1
    assert result.output.startswith("no GPU here: nothing was measured")


def test_the_benchmark_s_mask2former_keeps_ten_queries_of_every_image(tmp_path: Path) -> None:
    folder = tiny_mask2former(tmp_path / "model")
    model = Mask2FormerForUniversalSegmentation.from_pretrained(folder).eval()
    frames = [draw_frame(driver, driver, 1) for driver in range(3)]
    pixels = AutoImageProcessor.from_pretrained(folder, backend="pil")(frames, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        scores, labels = model(pixel_values=pixels).class_queries_logits.softmax(-1).max(-1)
    kept = ((scores > 0.5) & (labels < len(LABELS))).sum(1)
    assert kept.tolist() == [10, 10, 10]
    assert model.config.num_queries > 12


SOME = ("taps", "heads")


@pytest.mark.parametrize("sections", [SOME, pytest.param(tuple(SECTIONS), marks=pytest.mark.slow)])
def test_the_tiny_mode_measures_every_stage(monkeypatch: pytest.MonkeyPatch, sections: tuple[str, ...]) -> None:
    monkeypatch.setattr(nn.Module, "compile", lambda network, **options: None)  # the compiler takes a minute
    monkeypatch.setattr(torch.compiler, "reset", lambda: None)
    chosen = [word for name in sections for word in ("--section", name)]
    result = CliRunner().invoke(main, ["--device", "cpu", "--tiny", "--seconds", "9999", *chosen])
    assert result.exit_code == 0, result.output + str(result.exception)
    expected = {
        "masks": ("masks, tiny-mask2former: plain", "masks, tiny-segformer: plain", "the model alone, fp32",
                  "  queries kept of an image: ", "the model compiled"),
        "taps": ("taps, pixels", "taps, last_block"),
        "trainings": (*KINDS, "fine_tune, deterministic", "fine_tune, compiled"),
        "heads": tuple(HEADS),
        "first epoch": tuple(f"first epoch, {name}" for name in CANDIDATES),
        "too little memory": ("little memory, masks", "little memory, scoring", "little memory, predict"),
    }  # fmt: skip
    lines = result.stdout.splitlines()
    for words in (words for name in sections for words in expected[name]):
        assert any(line.startswith(words) for line in lines), words
    assert "left out" not in result.stdout
    assert ("not measured" in result.stdout) == (sections == SOME)
    shapes = [line.rpartition("; ")[2] for line in lines if line.startswith("first epoch, ")]
    assert shapes == (["1 shapes", "1 shapes", "3 shapes", "1 shapes"] if "first epoch" in sections else [])


def test_what_there_is_no_time_for_is_named_and_not_begun() -> None:
    result = CliRunner().invoke(main, ["--device", "cpu", "--tiny", "--seconds", "0"])
    assert result.exit_code == 0, result.output
    for name in SECTIONS:
        assert f"-- {name}" in result.output
    left_out = [line for line in result.stdout.splitlines() if line.endswith(": left out, no time")]
    assert len(left_out) == result.stdout.count("left out")
    assert len(left_out) > len(SECTIONS)
    assert "fine_tune: left out, no time" in left_out
    assert "not measured: masks" in result.output
