"""Reduced precision: its agreement with fp32 is measured, and it never mixes with another in one cache."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from distracted_pipeline.dataset import STATE_FARM
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.masks.agreement import compare, measure, record, recorded
from distracted_pipeline.masks.cache import open_cache
from distracted_pipeline.masks.fill import fill_subject
from distracted_pipeline.masks.loading import load_segmenter
from distracted_pipeline.masks.models import ModelSegmenter
from distracted_pipeline.options import RunOptions
from distracted_pipeline.settings import Settings
from distracted_pipeline_tests.conftest import draw_frame
from distracted_pipeline_tests.masks.conftest import QUIET, quiet


def frames(count: int) -> list[np.ndarray]:
    return [np.array(draw_frame(i, i % 10, 0)) for i in range(count)]


def test_agreement_counts_pixels_and_pools_iou_over_images() -> None:
    right = [np.array([[1, 1, 0, 0]], np.uint8), np.array([[1, 5, 5, 5]], np.uint8)]
    found = [np.array([[1, 0, 0, 0]], np.uint8), np.array([[1, 5, 5, 1]], np.uint8)]
    agreement = compare(found, right, "bf16", STATE_FARM.category_names)
    assert agreement.pixels == 6 / 8
    assert agreement.iou == {
        "person": 2 / 4, "bottle": None, "cell phone": None, "cup": None, "car": 2 / 3, "chair": None
    }  # fmt: skip
    assert agreement.text() == ("bf16 against fp32 on 2 images: 75.000% of pixels agree; IoU person 0.5000, car 0.6667")


class Rounded:
    """Finds a bottle in the first pixels: in as many of ten as its precision lets it."""

    name, fingerprint = "rounded", "0123456789ab"

    def __init__(self, precision: str, found: dict[str, int]) -> None:
        self.precision = precision
        self.found = found

    def in_precision(self, precision: str) -> "Rounded":
        return Rounded(precision, self.found)

    def segment(self, images: Sequence[np.ndarray], names: Sequence[str]) -> list[np.ndarray]:
        return [np.array([[2] * self.found[self.precision] + [1] * 20], np.uint8)[:, :20] for _ in images]


@pytest.mark.parametrize(
    ("precision", "found", "better"),
    [
        ("bf16", {"bf16": 9, "fp16": 10, "fp32": 10}, ""),
        ("bf16", {"bf16": 8, "fp16": 10, "fp32": 10}, "fp16"),
        ("bf16", {"bf16": 8, "fp16": 7, "fp32": 10}, "fp32"),
        ("fp16", {"fp16": 8, "fp32": 10}, "fp32"),
    ],
)
def test_masks_that_agree_too_little_name_the_precision_to_choose(
    tmp_path: Path, precision: str, found: dict[str, int], better: str
) -> None:
    images = [np.zeros((1, 20, 3), np.uint8)] * 2
    agreement = measure(Rounded(precision, found), images, ["a", "b"], STATE_FARM.category_names)
    assert agreement.better == better
    record(tmp_path, agreement)
    assert recorded(tmp_path) == agreement
    warning = agreement.warning(tmp_path)
    if better:
        for part in ("masks of", "bottle", f"`precision: {better}`", str(tmp_path), "distracted run --config"):
            assert part in warning
    else:
        assert warning == ""


def test_fp32_twin_shares_weights_and_gives_fp32_masks(tiny_mask2former: Path, tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, segmenter=str(tiny_mask2former))
    half = load_segmenter(settings, precision="bf16")
    assert isinstance(half, ModelSegmenter)
    twin, full = half.in_precision("fp32"), load_segmenter(settings, precision="fp32")
    assert twin.model is half.model
    assert (half.precision, twin.precision) == ("bf16", "fp32")
    for ours, expected in zip(twin.segment(frames(3), list("abc")), full.segment(frames(3), list("abc")), strict=True):
        np.testing.assert_array_equal(ours, expected)
    agreement = measure(half, frames(3), list("abc"), settings.dataset.category_names)
    assert agreement.images == 3
    assert 0.5 < agreement.pixels < 1  # bf16 is close, and is not fp32


@pytest.mark.parametrize("resizes", [True, False])
def test_a_device_that_makes_the_masks_makes_those_of_the_cpu(
    tiny_mask2former: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resizes: bool
) -> None:
    segmenter = load_segmenter(Settings(data=tmp_path, segmenter=str(tiny_mask2former)), "cpu")
    assert isinstance(segmenter, ModelSegmenter)
    images = [*frames(3), np.array(draw_frame(3, 3, 0, (97, 130))), np.array(draw_frame(4, 4, 0))]
    expected = segmenter.segment(images, list("abcde"))
    segmenter.on_device = True
    if not resizes:  # as without float64: images of several sizes then share a batch
        monkeypatch.setattr(segmenter.preprocess, "on_device", lambda *_: None)
    prepared = [segmenter.prepare(image, "") for image in images[2:4]]
    assert [item.shape for item in prepared] == ([(48, 64, 3), (130, 97, 3)] if resizes else [(3, 64, 64)] * 2)
    for made in segmenter.forward(prepared[:1]):
        assert isinstance(made, np.ndarray)  # a map, no tensors of the device
        assert (made.dtype, made.shape) == (np.uint8, (48, 64))
    for ours, mask in zip(segmenter.segment(images, list("abcde")), expected, strict=True):
        assert ours.shape == mask.shape
        assert (ours == mask).mean() > 0.999


def test_agreement_is_recorded_once_beside_reduced_masks_and_not_for_fp32(ingested: Settings) -> None:
    lines: list[str] = []
    fill_subject(ingested, "p002", options=RunOptions(device="cpu", precision="bf16", log=lines.append))
    agreement = recorded(open_cache(ingested).root)
    assert agreement is not None
    assert (agreement.precision, agreement.images) == ("bf16", 10)
    assert sum("bf16 against fp32 on 10 images" in line for line in lines) == 1
    lines.clear()
    fill_subject(ingested, "p014", options=RunOptions(device="cpu", log=lines.append))
    assert not [line for line in lines if "against fp32" in line]
    for path in ingested.masks.glob("*/"):
        path.rename(ingested.data / "elsewhere")
    fill_subject(ingested, "test-000", options=QUIET)
    assert recorded(open_cache(ingested).root) is None


def test_auto_keeps_the_precision_of_the_masks_that_are_there_and_another_is_refused(ingested: Settings) -> None:
    fill_subject(ingested, "test-000", options=RunOptions(device="cpu", precision="bf16", log=quiet))
    lines: list[str] = []
    assert fill_subject(ingested, "p002", options=RunOptions(device="cpu", log=lines.append)).done == 10
    assert lines[1].endswith("on cpu, bf16")
    with pytest.raises(DistractedError, match=r"made in bf16, so none in fp32 .*precision to auto or bf16"):
        fill_subject(ingested, "p014", options=RunOptions(device="cpu", precision="fp32", log=quiet))
    assert open_cache(ingested).imgs("p014") == []
    assert (
        fill_subject(ingested, "p002", options=RunOptions(device="cpu", precision="fp32", log=quiet)).reused == 10
    )  # nothing to make, nothing to mix
