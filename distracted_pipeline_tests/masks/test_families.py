"""Every kind of universal model finds what transformers finds with it, by its own processor, at any size."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    AutoImageProcessor,
    AutoModelForSemanticSegmentation,
    AutoModelForUniversalSegmentation,
    AutoTokenizer,
    OneFormerProcessor,
)
from transformers.image_transforms import get_size_with_aspect_ratio
from transformers.models.eomt.image_processing_pil_eomt import EomtImageProcessorPil
from transformers.models.oneformer.image_processing_pil_oneformer import OneFormerImageProcessorPil

from distracted_pipeline.dataset import STATE_FARM
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.masks.families import FAMILIES, Reading
from distracted_pipeline.masks.identity import segmenter_fingerprint, segmenter_identity
from distracted_pipeline.masks.labels import category_table
from distracted_pipeline.masks.loading import load_segmenter
from distracted_pipeline.masks.models import ModelSegmenter
from distracted_pipeline.masks.postprocess import confident_queries, panoptic_map
from distracted_pipeline.settings import Settings
from distracted_pipeline_tests.conftest import draw_frame
from distracted_pipeline_tests.masks.conftest import LABELS
from distracted_pipeline_tests.masks.reference import scene
from distracted_pipeline_tests.masks.tiny_models import KINDS, make_sure, save_tiny, save_tiny_semantic
from distracted_pipeline_tests.stand_in import StandIn

ON_A_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
TABLE, _ = category_table(dict(enumerate(LABELS)), "", STATE_FARM.categories)
SIZES = [(61, 90), (97, 130), (130, 97), (64, 64), (301, 77)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return the folder of a kind's tiny model, saved when it is first asked for."""
    return cache(lambda kind: save_tiny(kind, tmp_path_factory.mktemp(kind)))


def frames(*sizes: tuple[int, int]) -> list[np.ndarray]:
    return [np.array(draw_frame(i, i % 10, 0, (width, height))) for i, (height, width) in enumerate(sizes)]


def load(folder: Path, device: str = "cpu", **options: Any) -> ModelSegmenter:
    segmenter = load_segmenter(Settings(data=folder, segmenter=str(folder), **options), device, "fp32")
    assert isinstance(segmenter, ModelSegmenter)
    return segmenter


def processor_of(folder: Path) -> Any:
    return AutoImageProcessor.from_pretrained(folder, backend="pil", class_info_file=None)


def categories_of(result: dict[str, Any], size: tuple[int, int]) -> np.ndarray:
    found = np.zeros(size, np.uint8)
    for segment in result["segments_info"]:
        found[result["segmentation"].numpy() == segment["id"]] = TABLE[segment["label_id"]]
    return found


def by_transformers(folder: Path, image: np.ndarray) -> tuple[torch.Tensor, np.ndarray]:
    """Return the pixels that a model is fed, and its map, as transformers alone makes them."""
    model = AutoModelForUniversalSegmentation.from_pretrained(folder).eval()
    make_sure(model)
    processor = processor_of(folder)
    inputs: Any = processor(images=[image], return_tensors="pt")
    if model.config.model_type == "oneformer":
        words = OneFormerProcessor(processor, AutoTokenizer.from_pretrained(folder), task_seq_length=30)
        inputs = words(images=[image], task_inputs=["panoptic"], return_tensors="pt")
    with torch.no_grad():
        outputs = model(**{key: value for key, value in inputs.items() if key != "patch_offsets"})
    (result,) = processor.post_process_panoptic_segmentation(outputs, target_sizes=[image.shape[:2]])
    return inputs["pixel_values"][0], categories_of(result, image.shape[:2])


@pytest.mark.parametrize("kind", KINDS)
def test_masks_are_those_of_transformers(folders: Any, kind: str) -> None:
    folder, images = folders(kind), frames((97, 130), (61, 90), (130, 97))
    segmenter = load(folder)
    make_sure(segmenter.model)
    together = segmenter.segment(images, ["", "", ""])
    for image, in_batch in zip(images, together, strict=True):
        pixels, expected = by_transformers(folder, image)
        assert torch.equal(segmenter.prepare(image, "").pixels, pixels)
        assert len(np.unique(expected)) > 2
        np.testing.assert_array_equal(segmenter.segment([image], [""])[0], expected)
        assert (in_batch == expected).mean() > 0.999  # the last bit of a convolution depends on the batch


@pytest.mark.parametrize("kind", KINDS)
def test_a_device_makes_the_masks_of_the_cpu(folders: Any, kind: str) -> None:
    images = frames((97, 130), (97, 130), (61, 90))
    segmenter = load(folders(kind))
    make_sure(segmenter.model)
    expected = segmenter.segment(images, ["", "", ""])
    segmenter.on_device = True
    assert segmenter.prepare(images[0], "").pixels.dtype == torch.uint8  # resized, and padded, there
    for ours, mask in zip(segmenter.segment(images, ["", "", ""]), expected, strict=True):
        assert (ours == mask).mean() > 0.9995


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=ON_A_GPU)])
@pytest.mark.parametrize("kind", KINDS)
def test_recorded_batches_give_the_same_masks(folders: Any, kind: str, device: str) -> None:
    images = frames((97, 130), (97, 130), (97, 130))
    segmenter = load(folders(kind), device=device)
    make_sure(segmenter.model)
    segmenter.on_device = True
    prepared = [segmenter.prepare(image, "") for image in images]
    expected = segmenter.forward(prepared)
    segmenter._record(True, pytest.fail)
    stand_in = StandIn(torch.float32, torch.float32, torch.int64), StandIn(torch.uint8)
    if device == "cpu":
        segmenter._passes._capture, segmenter._mapping._capture = stand_in
    for count in (3, 2, 3):  # the second batch is filled up
        masks = segmenter.forward_steady(prepared[:count], 3)
        assert len(masks) == count
        for ours, mask in zip(masks, expected, strict=False):
            assert (ours == mask).mean() > 0.9995
    assert segmenter._passes._recordings
    assert segmenter._mapping._recordings
    assert [each.replayed for each in stand_in] == ([3, 3] if device == "cpu" else [0, 0])


def test_a_semantic_model_s_masks_are_those_of_transformers_on_the_cpu_and_on_a_device(tmp_path: Path) -> None:
    folder, images = save_tiny_semantic(tmp_path / "model"), frames((97, 130), (97, 130), (61, 90))
    segmenter = load(folder)
    model, processor = AutoModelForSemanticSegmentation.from_pretrained(folder).eval(), processor_of(folder)
    make_sure(segmenter.model)
    make_sure(model)
    expected = []
    for image in images:
        with torch.no_grad():
            outputs = model(**processor(images=[image], return_tensors="pt"))
        (winner,) = processor.post_process_semantic_segmentation(outputs, target_sizes=[image.shape[:2]])
        expected.append(TABLE[winner.numpy()])
        np.testing.assert_array_equal(segmenter.segment([image], [""])[0], expected[-1])
    assert len(np.unique(np.concatenate([mask.ravel() for mask in expected]))) > 2
    segmenter.on_device = True
    for ours, mask in zip(segmenter.segment(images, ["", "", ""]), expected, strict=True):
        assert (ours == mask).mean() > 0.999


def read(kind: str, size: tuple[int, int]) -> Reading:
    reading = FAMILIES[kind].reading
    if not FAMILIES[kind].padded:
        return reading
    return replace(reading, working_size=(96, 96), content=get_size_with_aspect_ratio(size, 96, 96))


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(["oneformer", "eomt"]),
    seed=st.integers(0, 10_000),
    confident=st.integers(0, 9),
    size=st.sampled_from(SIZES),
    logits=st.sampled_from([(24, 24), (25, 33), (7, 9)]),
)
def test_maps_are_bit_identical_to_each_kind_s_own_post_processing(
    kind: str, seed: int, confident: int, size: tuple[int, int], logits: tuple[int, int]
) -> None:
    classes, masks = scene(seed, queries=14, confident=confident, labels=len(LABELS), size=logits)
    outputs = SimpleNamespace(class_queries_logits=classes[None], masks_queries_logits=masks[None])
    if kind == "oneformer":
        processor: Any = OneFormerImageProcessorPil()
    else:
        processor = EomtImageProcessorPil(size={"shortest_edge": 96, "longest_edge": 96}, do_pad=True)
    (result,) = processor.post_process_panoptic_segmentation(outputs, target_sizes=[size])
    reading = read(kind, size)
    (queries,) = confident_queries(classes[None], masks[None], reading.thresholds)
    np.testing.assert_array_equal(panoptic_map(queries, TABLE, size, reading), categories_of(result, size))


def test_eomt_for_semantic_segmentation_is_refused(folders: Any, tmp_path: Path) -> None:
    folder = save_tiny("eomt", tmp_path / "model")
    EomtImageProcessorPil(size={"shortest_edge": 96, "longest_edge": None}, do_split_image=True).save_pretrained(folder)
    with pytest.raises(DistractedError, match=r"semantic segmentation.*patches.*DISTRACTED_SEGMENTER"):
        load(folder)


def test_the_fingerprint_holds_the_thresholds_of_the_kind_and_how_it_is_told_its_task(folders: Any) -> None:
    def settings_of(kind: str) -> Settings:
        return Settings(data=folders(kind), segmenter=str(folders(kind)))

    assert segmenter_identity(settings_of("eomt"))["thresholds"]["score"] == 0.8
    assert segmenter_identity(settings_of("oneformer"))["thresholds"]["score"] == 0.5
    before = segmenter_fingerprint(settings_of("oneformer"))
    words = folders("oneformer") / "tokenizer.json"
    text = words.read_text()
    words.write_text(text + " ")
    assert segmenter_fingerprint(settings_of("oneformer")) != before
    words.write_text(text)


@pytest.mark.parametrize(
    ("kind", "fed"), [("mask2former", (128, 128)), ("maskformer", (128, 128)), ("oneformer", (128, 170))]
)
def test_a_model_is_fed_more_pixels_where_a_setting_says_so(folders: Any, kind: str, fed: tuple[int, int]) -> None:
    folder = folders(kind)
    plain = Settings(data=folder, segmenter=str(folder))
    large = replace(plain, segmenter_size=128)
    segmenter = load(folder, segmenter_size=128)
    (image,) = frames((96, 128))
    assert segmenter.prepare(image, "").shape == (3, *fed)
    assert segmenter.segment([image], [""])[0].shape == (96, 128)
    assert segmenter.fingerprint == segmenter_fingerprint(large) != segmenter_fingerprint(plain)
    assert "size" not in segmenter_identity(plain)


def test_a_model_of_one_size_refuses_another(folders: Any) -> None:
    with pytest.raises(
        DistractedError, match=r"DISTRACTED_SEGMENTER_SIZE is 128.*longest_edge 96.*DISTRACTED_SEGMENTER"
    ):
        load(folders("eomt"), segmenter_size=128)
