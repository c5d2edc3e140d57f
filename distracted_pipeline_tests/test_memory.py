"""Too many images for the device's memory: half as many from then on, the same results, and a sentence at the end."""

import gc
from pathlib import Path

import numpy as np
import pytest
import torch

from distracted_pipeline.dataset import STATE_FARM
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.evaluation.predict import predict_fold
from distracted_pipeline.explanation.explain import gradcam_variant
from distracted_pipeline.images.manifest import of_subject, read_manifest
from distracted_pipeline.memory import SMALLER_SEGMENTER, Pieces, is_out_of_memory
from distracted_pipeline.options import RunOptions
from distracted_pipeline.serving.predict_files import predict_files
from distracted_pipeline.serving.submission import write_submission
from distracted_pipeline.settings import Settings
from distracted_pipeline.training.inputs import PIXELS, Rows, load_rows
from distracted_pipeline.training.loop import fit, predict_logits
from distracted_pipeline.training.train import train_variant
from distracted_pipeline.variants.backbones import load_backbone
from distracted_pipeline.variants.networks import VariantNet, build_network
from distracted_pipeline.variants.trunks import EfficientNetTrunk
from distracted_pipeline_tests.memory import small_memory
from distracted_pipeline_tests.training.rooted import ingested, own_root, prepared
from distracted_pipeline_tests.variants.tiny import SIDE, efficientnet, settings_for, variant

__all__ = ["efficientnet", "ingested", "own_root", "prepared"]

QUIET = RunOptions("cpu", log=lambda line: None)


def test_pieces_that_do_not_fit_are_halved_for_good_and_nothing_is_lost_or_done_twice() -> None:
    said, done = list[str](), list[int]()

    def work(part: slice) -> int:
        if part.stop - part.start > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        done.extend(range(part.start, part.stop))
        return part.stop - part.start

    pieces = Pieces(16, said.append, note=", nothing else changes")
    assert list(pieces.over(11, work)) == [2, 2, 2, 2, 2, 1]
    assert done == list(range(11))
    assert said == [
        "out of memory with 11 images at once: going on with 5, nothing else changes",
        "out of memory with 5 images at once: going on with 2, nothing else changes",
    ]
    assert list(pieces.over(4, work)) == [2, 2]
    assert len(said) == 2


def test_one_image_that_does_not_fit_is_an_error_that_names_whose_and_what_to_do() -> None:
    def work(part: slice) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB\nmore")

    pieces = Pieces(4, lambda line: None, what="variant top_only", remedy=SMALLER_SEGMENTER)
    words = r"^variant top_only: not even one image .* \(CUDA .* 1.00 GiB\)\. .*nvidia-smi.*DISTRACTED_SEGMENTER.*cpu"
    with pytest.raises(DistractedError, match=words):
        list(pieces.over(9, work))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("x"), True),
        (MemoryError(), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 8 GB)"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("shape mismatch"), False),
    ],
)
def test_every_device_says_it_in_its_own_words(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


def test_other_errors_are_not_tried_again() -> None:
    calls: list[slice] = []
    with pytest.raises(ZeroDivisionError):
        list(Pieces(8, lambda line: None).over(8, lambda part: calls.append(part) or 1 / 0))
    assert calls == [slice(0, 8)]


def test_scoring_passes_in_halves_and_gives_the_same_logits(
    efficientnet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = load_backbone(settings_for(efficientnet))
    net = build_network(variant("fine_tune"), backbone, STATE_FARM)
    pixels = torch.randint(0, 256, (40, 3, SIDE, SIDE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    rows, said = Rows({PIXELS: pixels}, torch.zeros(40, dtype=torch.int64), backbone.preprocessing), list[str]()
    whole = predict_logits(net, rows, torch.device("cpu"), QUIET)
    sizes = small_memory(monkeypatch, VariantNet, "forward", most=12)
    parts = predict_logits(net, rows, torch.device("cpu"), RunOptions("cpu", log=said.append))
    assert sizes == [40, 20, 10, 10, 10, 10]
    assert torch.allclose(parts, whole, atol=1e-5)
    assert len(said) == 2


def test_a_convex_probe_is_solved_in_pieces_to_the_same_weights(
    efficientnet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = variant("linear_probe", optimizer="lbfgs", top_lr=1.0, top_decay=1.0)
    random, labels = torch.Generator().manual_seed(0), torch.arange(60) % 10
    nets = [build_network(config, load_backbone(settings_for(efficientnet)), STATE_FARM, seed=1) for _ in range(2)]
    rows = Rows({"pooled": torch.randn(60, nets[0].pooled_width, generator=random)}, labels, None)
    fit(nets[:1], rows, rows, config, [0], QUIET)
    sizes = small_memory(monkeypatch, VariantNet, "forward", most=20)
    fit(nets[1:], rows, rows, config, [0], QUIET)
    assert sizes[:6] == [60, 30, 15, 15, 15, 15]
    assert torch.allclose(nets[1].classifier.weight, nets[0].classifier.weight, atol=1e-9)


def test_every_stage_after_the_training_passes_in_halves_too(
    own_root: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a device that holds three images of masks at once."""
    small_memory(monkeypatch, VariantNet, "forward", most=3)
    small_memory(monkeypatch, VariantNet, "forward_from_images", most=2)
    small_memory(monkeypatch, VariantNet, "forward_with_map", most=3)
    said: dict[str, list[str]] = {}

    def options(stage: str) -> RunOptions:
        return RunOptions("cpu", log=said.setdefault(stage, []).append)

    train_variant(own_root, "masks_only", "original", options("training"))
    predict_fold(own_root, "masks_only", "original", options("prediction"))
    write_submission(own_root, "masks_only", options("submission"))
    gradcam_variant(own_root, "masks_only", options("gradcam"))
    frames = own_root.data / "imgs" / "train" / "c0"
    found = predict_files(own_root, frames, "masks_only", options=options("files"))
    assert len(found.imgs) > 3
    for stage, lines in said.items():
        assert any(line.startswith("out of memory with ") for line in lines), stage


def test_taps_of_a_body_of_its_own_pass_in_halves(own_root: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    config = variant("masks_fused")
    net = build_network(config, load_backbone(own_root), own_root.dataset)
    net.own_body = True
    imgs = of_subject(read_manifest(own_root), "p002")["img"].to_pylist()
    labels, said = np.zeros(len(imgs)), list[str]()
    whole = load_rows(own_root, config, net, imgs, labels, QUIET).raw["pooled"]
    small_memory(monkeypatch, EfficientNetTrunk, "taps", most=5)
    parts = load_rows(own_root, config, net, imgs, labels, RunOptions("cpu", log=said.append)).raw["pooled"]
    assert torch.allclose(parts, whole, atol=2e-3)
    assert [line for line in said if "going on with 5" in line]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU whose memory can be limited")
def test_on_a_gpu_with_little_memory_scoring_passes_in_halves(efficientnet: Path) -> None:
    device, said = torch.device("cuda"), list[str]()
    backbone = load_backbone(settings_for(efficientnet))
    net = build_network(variant("fine_tune"), backbone, STATE_FARM).to(device)
    pixels = torch.zeros(64, 3, 512, 512, dtype=torch.uint8)
    rows = Rows({PIXELS: pixels}, torch.zeros(64, dtype=torch.int64), backbone.preprocessing)
    gc.collect()  # what other tests left behind
    predict_logits(net, rows, device, RunOptions("cuda", batch_size=24, log=said.append))
    enough = torch.cuda.max_memory_reserved(device)
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(enough / torch.cuda.mem_get_info(device)[1])
    try:
        logits = predict_logits(net, rows, device, RunOptions("cuda", log=said.append))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert logits.shape == (64, 10)
    assert said[0].startswith("out of memory with 64 images at once: going on with 32")
    assert len(said) <= 2
