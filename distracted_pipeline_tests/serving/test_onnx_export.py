"""The ONNX file: whole frames in, the probabilities of `distracted predict` out, at any batch and any size of frame."""

import builtins
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from distracted_pipeline.dataset import STATE_FARM
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.masks.fractions import GRID, class_fractions
from distracted_pipeline.serving.export import Classifier, classifier_of
from distracted_pipeline.serving.onnx_export import FrameClassifier, save_onnx
from distracted_pipeline.settings import Settings
from distracted_pipeline.training.checkpoint import Trained
from distracted_pipeline.variants.backbones import load_backbone
from distracted_pipeline.variants.kinds import KINDS
from distracted_pipeline.variants.networks import build_network
from distracted_pipeline_tests.variants.tiny import settings_for, variant

needs_onnx = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("onnxruntime", "onnxscript")), reason="extra `onnx`"
)


def untrained(kind: str, settings: Settings) -> Classifier:
    config = variant(kind)
    backbone = load_backbone(settings) if config.taps else None
    return classifier_of(settings, Trained(build_network(config, backbone, STATE_FARM).eval(), config, {}))


@needs_onnx
@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_file_says_of_frames_of_any_size_what_pytorch_says(kind: str, efficientnet: Path, tmp_path: Path) -> None:
    import onnxruntime

    module = untrained(kind, settings_for(efficientnet))
    save_onnx(module, tmp_path / "model.onnx")  # compares at batches of 1, 2 and 7 itself
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    whole = FrameClassifier(module)
    assert [value.name for value in session.get_inputs()] == whole.inputs
    inputs = whole.example(5, 77, 201)
    found = session.run(["probabilities"], {n: v.numpy() for n, v in zip(whole.inputs, inputs, strict=True)})[0]
    assert np.abs(found - whole(*inputs).detach().numpy()).max() < 1e-4
    assert np.allclose(found.sum(1), 1, atol=1e-5)


def test_frames_are_resized_as_training_resized_them(efficientnet: Path) -> None:
    settings = settings_for(efficientnet)
    whole = FrameClassifier(untrained("linear_probe", settings))
    drawn = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(drawn).resize((80, 60)).resize((640, 480), Image.Resampling.BICUBIC))
    expected = load_backbone(settings).preprocessing.resize(smooth)
    found = whole._resized(torch.from_numpy(smooth.transpose(2, 0, 1).copy())[None])[0].numpy()
    assert np.abs(found - expected).max() <= 1  # of 255
    assert (found != expected).mean() < 0.02


@pytest.mark.parametrize("size", [(480, 640), (97, 131), (30, 40)])
def test_masks_become_the_shares_that_training_read(size: tuple[int, int], tmp_path: Path) -> None:
    whole = FrameClassifier(untrained("masks_only", Settings(data=tmp_path)))
    mask = np.random.default_rng(1).integers(0, 4, size, dtype=np.uint8)
    expected = np.empty((len(STATE_FARM.mask_names), *GRID), np.float32)
    class_fractions(mask, np.bincount(mask.ravel(), minlength=len(expected)), expected)
    assert np.abs(whole._shares(torch.from_numpy(mask)[None])[0].numpy() - expected).max() < 1e-5


@needs_onnx
@pytest.mark.slow
def test_a_file_that_computes_something_else_is_refused_and_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnxruntime

    class Wrong:
        def __init__(self, *args: Any, **kwargs: Any) -> None: ...

        def run(self, names: list[str], fed: dict[str, np.ndarray]) -> list[np.ndarray]:
            return [np.full((len(fed["masks"]), 10), 0.5, np.float32)]

    monkeypatch.setattr(onnxruntime, "InferenceSession", Wrong)
    with pytest.raises(RuntimeError, match="differs by"):
        save_onnx(untrained("masks_only", Settings(data=tmp_path)), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_without_the_extra_the_error_says_what_to_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def absent(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "onnxruntime":
            raise ImportError("No module named 'onnxruntime'")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(DistractedError, match=r"\[onnx\]"):
        save_onnx(untrained("masks_only", Settings(data=tmp_path)), tmp_path / "model.onnx")
