"""Compiled networks: where that pays, the same results, and on without it where it fails."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from distracted_pipeline import compiling
from distracted_pipeline.compiling import (
    KERNELS,
    SEGMENTER_PAYS_FROM,
    TRAINING_PAYS_FROM,
    TRITON_KERNELS,
    Compiled,
    filled_up,
    keep_kernels,
    pays,
)
from distracted_pipeline.dataset import STATE_FARM
from distracted_pipeline.images.ingest import ingest
from distracted_pipeline.masks.cache import open_cache
from distracted_pipeline.masks.fill import fill_missing, fill_subject
from distracted_pipeline.masks.models import ModelSegmenter
from distracted_pipeline.memory import Pieces
from distracted_pipeline.options import RunOptions
from distracted_pipeline.settings import Settings
from distracted_pipeline.training.inputs import PIXELS, Rows
from distracted_pipeline.training.loop import fit, predict_team, train_epoch
from distracted_pipeline.training.steps import Session, open_session
from distracted_pipeline.variants.backbones import load_backbone
from distracted_pipeline.variants.networks import VariantNet, build_network
from distracted_pipeline_tests.conftest import write_kaggle_tree
from distracted_pipeline_tests.masks.tiny_models import save_tiny_semantic
from distracted_pipeline_tests.variants.tiny import SIDE, efficientnet, settings_for, variant

__all__ = ["efficientnet"]

QUIET = RunOptions("cpu", log=lambda line: None)
CONFIG = variant("fine_tune", batch_size=8)


REAL = pytest.param("inductor", marks=pytest.mark.slow)


@pytest.fixture(params=["recorded", REAL])
def seen(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[int] | None:
    """Return the images of every batch that a compiled network gets, where the compiler only writes that down."""
    monkeypatch.setenv(KERNELS, str(tmp_path / "kernels"))
    if request.param == "inductor":
        return None
    sizes: list[int] = []

    def recorded(network: nn.Module, **options: object) -> None:
        def call(*args: Any, **named: Any) -> Any:
            sizes.append(len([*args, *named.values()][0]))
            return network._call_impl(*args, **named)

        assert options == {"backend": "inductor", "dynamic": False}
        network._compiled_call_impl = call

    monkeypatch.setattr(nn.Module, "compile", recorded)
    return sizes


def test_auto_compiles_on_a_gpu_and_for_enough_images_only() -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert [pays("on", device, 1, 100) for device in (cpu, gpu)] == [True, True]
    assert [pays("off", device, 1e9, 100) for device in (cpu, gpu)] == [False, False]
    assert [pays("auto", device, 100, 100) for device in (cpu, gpu)] == [False, True]
    assert not pays("auto", gpu, 99, 100)
    assert not pays("auto", gpu, 1e9, TRAINING_PAYS_FROM)
    # The seconds it took by those that it saves of an image.
    assert pytest.approx(82 / (1 / 283 - 1 / 362), rel=0.01) == SEGMENTER_PAYS_FROM


def test_filling_up_repeats_the_last_row_and_never_cuts() -> None:
    rows = torch.arange(6).view(3, 2)
    assert filled_up(rows, 5).tolist() == [[0, 1], [2, 3], [4, 5], [4, 5], [4, 5]]
    assert filled_up(rows, 3, axis=1).tolist() == [[0, 1, 1], [2, 3, 3], [4, 5, 5]]
    assert filled_up(rows, 2) is rows


def test_a_compiler_that_fails_is_done_without_after_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(graph: torch.fx.GraphModule, inputs: list[Any]) -> Any:
        raise ValueError("no C++ compiler\nmore")

    said: list[str] = []
    monkeypatch.setattr(compiling, "BACKEND", broken)
    layer, x = nn.Linear(2, 2), torch.ones(1, 2)
    expected, compiled = layer(x), Compiled([layer], None, said.append)
    assert torch.equal(compiled.run(lambda: layer(x)), expected)
    assert not compiled
    assert torch.equal(compiled.run(lambda: layer(x)), expected)
    (line,) = said
    assert line.startswith("torch.compile failed (")
    assert "no C++ compiler" in line
    assert line.endswith("): going on without it")


def test_memory_that_runs_out_is_no_failure_of_the_compiler() -> None:
    def full() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    compiled = Compiled([nn.Linear(2, 2)], None, lambda line: pytest.fail(line))
    with pytest.raises(torch.OutOfMemoryError):
        compiled.run(full)
    assert compiled
    compiled.undo()
    assert not compiled


def test_kernels_are_kept_in_the_folder_unless_the_environment_names_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KERNELS, "elsewhere")
    monkeypatch.setenv(TRITON_KERNELS, "")
    monkeypatch.delenv(TRITON_KERNELS)
    keep_kernels(None)
    assert TRITON_KERNELS not in os.environ
    keep_kernels(tmp_path)
    assert os.environ[KERNELS] == "elsewhere"
    assert os.environ[TRITON_KERNELS] == str(tmp_path / "triton")


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="needs a C++ compiler")
def test_the_real_compiler_gives_the_same_values_and_gradients_and_keeps_its_kernels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (KERNELS, TRITON_KERNELS):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    torch.manual_seed(0)
    layer, x = nn.Sequential(nn.Linear(4, 3), nn.SiLU()), torch.randn(5, 4)
    expected = layer(x)
    expected.square().sum().backward()
    gradient = layer[0].weight.grad.clone()
    layer.zero_grad()
    compiled = Compiled([layer], tmp_path / "kernels", lambda line: pytest.fail(line))

    def step() -> Tensor:
        values = layer(x)
        values.square().sum().backward()
        return values

    assert torch.allclose(compiled.run(step), expected, atol=1e-6)
    assert torch.allclose(layer[0].weight.grad, gradient, atol=1e-5)
    compiled.undo()
    assert os.environ[KERNELS] == str(tmp_path / "kernels")
    assert any(path.is_file() for path in (tmp_path / "kernels").rglob("*"))


def images(backbone: Any, count: int) -> Rows:
    pixels = torch.randint(
        0, 256, (count, 3, SIDE, SIDE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    return Rows({PIXELS: pixels}, torch.arange(count) % 10, backbone.preprocessing)


def started(efficientnet: Path, count: int, options: RunOptions = QUIET) -> tuple[Session, Rows]:
    """Return a training of the whole network on `count` images, in batches of eight."""
    backbone = load_backbone(settings_for(efficientnet))
    net, rows = build_network(CONFIG, backbone, STATE_FARM), images(backbone, count)
    net.streamline()
    return open_session([net], rows, CONFIG, [0], options), rows


def test_a_last_batch_that_is_filled_up_teaches_the_same(efficientnet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where every shape costs, an epoch and its scoring have one; elsewhere two."""
    real, seen = VariantNet.forward, list[int]()

    def forward(self: VariantNet, batch: dict[str, Tensor], keep: Tensor | None = None) -> Tensor:
        seen.append(len(batch[PIXELS]))
        return real(self, batch, keep)

    monkeypatch.setattr(VariantNet, "forward", forward)
    found = []
    for steady in (False, True):
        seen.clear()
        session, rows = started(efficientnet, 19)
        assert not session.steady  # a CPU does not care
        session.steady = steady
        losses = train_epoch(session, rows, 1)
        scores = predict_team(session.team, rows, Pieces(8, QUIET.log), steady=steady)
        assert seen == [8, 8, 8 if steady else 3] * 2
        found.append((losses, scores, session.team.state(0)))
    (losses, scores, weights), (same_losses, same_scores, same_weights) = found
    assert same_losses == pytest.approx(losses, rel=1e-5)
    assert torch.allclose(same_scores, scores, atol=1e-4)
    for name, value in weights.items():
        assert torch.allclose(same_weights[name], value, atol=1e-5), name


def test_a_compiled_training_ends_as_one_that_is_not(efficientnet: Path, seen: list[int] | None) -> None:
    ends = []
    for choice in ("off", "on"):
        backbone = load_backbone(settings_for(efficientnet))
        net, rows = build_network(CONFIG, backbone, STATE_FARM), images(backbone, 11)
        net.streamline()
        (result,) = fit([net], rows, rows, CONFIG, [0], RunOptions("cpu", log=QUIET.log, compile=choice))
        assert net.trunk is not None
        assert net.trunk._compiled_call_impl is None
        ends.append(result)
    assert seen is None or seen == [8] * 2 * (2 + 2)  # two epochs of two batches, scored by two
    without, compiled = ends
    # A real compiler rounds otherwise, and the first steps are as long for a tiny gradient as for a large one.
    loss, weight = (0.02, 0.05) if seen is None else (1e-4, 1e-4)
    assert [line.train_loss for line in compiled.history] == pytest.approx(
        [line.train_loss for line in without.history], rel=loss
    )
    assert without.best is not None
    assert compiled.best is not None
    for name, value in without.best.items():
        assert torch.allclose(compiled.best[name], value, atol=weight), name


def test_heads_on_embeddings_and_replicates_side_by_side_are_not_compiled(efficientnet: Path) -> None:
    backbone = load_backbone(settings_for(efficientnet))
    config = variant("masks_only")
    nets = [build_network(config, None, STATE_FARM, seed) for seed in (0, 1)]
    rows = Rows({"fractions": torch.zeros(20, 7, 60, 80)}, torch.arange(20) % 10, None)
    on = RunOptions("cpu", log=QUIET.log, compile="on")
    assert not open_session(nets, rows, config, [0, 1], on).compiled
    config = variant("linear_probe", optimizer="adamw")
    net = build_network(config, backbone, STATE_FARM)
    assert not open_session(
        [net], Rows({"pooled": torch.zeros(20, net.pooled_width)}, rows.labels, None), config, [0], on
    ).compiled


@pytest.fixture(scope="module")
def semantic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_semantic(tmp_path_factory.mktemp("model") / "segformer")


def test_a_compiled_segmenter_makes_the_same_masks_from_batches_of_one_size(
    tmp_path: Path, semantic: Path, seen: list[int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    masks: list[list[np.ndarray]] = []
    real, sizes = ModelSegmenter._pass, list[tuple[int, int]]()

    def passed(self: ModelSegmenter, prepared: Sequence[Any], count: int, steady: bool = False) -> Any:
        sizes.append((len(prepared), count))
        return real(self, prepared, count, steady)

    monkeypatch.setattr(ModelSegmenter, "_pass", passed)
    for choice in ("auto", "on"):
        root = write_kaggle_tree(tmp_path / choice, drivers=("p002",), frames=1, test_frames=0)
        settings, said = Settings(data=root, segmenter=str(semantic)), list[str]()
        ingest(settings, log=said.append)
        sizes.clear()
        options = RunOptions("cpu", batch_size=4, log=said.append, compile=choice)
        result = fill_missing(settings, options=options)["p002"]
        assert result.done == 10
        cache = open_cache(settings)
        masks.append([cache.mask(img) for img in sorted(cache.imgs("p002"))])
        assert sizes == [(4, 4), (4, 4), (4, 2) if choice == "on" else (2, 2)]
        assert any(line.startswith("compiling ") for line in said) == (choice == "on")
    assert seen is None or seen == [4, 4, 4]
    for ours, expected in zip(*masks, strict=True):
        assert (ours == expected).mean() > 0.999
    assert fill_subject(settings, "p002", RunOptions("cpu", log=said.append, compile="on")).reused == 10
