import numpy as np
import pytest
import torch
from PIL import Image
from transformers.image_processing_backends import PilBackend
from transformers.models.mask2former.image_processing_pil_mask2former import Mask2FormerImageProcessorPil
from transformers.models.mobilenet_v2.image_processing_pil_mobilenet_v2 import MobileNetV2ImageProcessorPil
from transformers.models.segformer.image_processing_pil_segformer import SegformerImageProcessorPil

from distracted_pipeline.masks.preprocess import Preprocessor

PROCESSORS: dict[str, PilBackend] = {
    "fixed size": Mask2FormerImageProcessorPil(size={"height": 96, "width": 96}),
    "shortest edge": Mask2FormerImageProcessorPil(size={"shortest_edge": 80, "longest_edge": 133}),
    "padded": Mask2FormerImageProcessorPil(size={"height": 96, "width": 96}, pad_size={"height": 128, "width": 160}),
    "centre crop": MobileNetV2ImageProcessorPil(size={"shortest_edge": 64}, crop_size={"height": 48, "width": 48}),
    "bicubic": SegformerImageProcessorPil(size={"height": 64, "width": 96}, resample=3),
    "no resize, no normalise": SegformerImageProcessorPil(do_resize=False, do_normalize=False),
}


@pytest.mark.parametrize("kind", PROCESSORS)
def test_pixels_are_bit_identical_to_the_processor_s(kind: str) -> None:
    processor = PROCESSORS[kind]
    preprocess = Preprocessor(processor)
    random = np.random.default_rng(0)
    for shape in ((48, 64), (120, 97), (48, 64), (96, 96), (200, 300)):
        image = random.integers(0, 256, (*shape, 3), dtype=np.uint8)
        expected = processor(images=[image], return_tensors="pt", input_data_format="channels_last").pixel_values[0]
        assert torch.equal(preprocess(image), expected.float())
        assert torch.equal(preprocess(Image.fromarray(image)), expected.float())


def test_grey_first_image_does_not_fool_the_choice_of_the_short_way() -> None:
    processor = PROCESSORS["centre crop"]
    preprocess = Preprocessor(processor)
    preprocess(np.full((64, 64, 3), 128, np.uint8))
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    expected = processor(images=[image], return_tensors="pt", input_data_format="channels_last").pixel_values[0]
    assert torch.equal(preprocess(image), expected)


@pytest.mark.parametrize("kind", PROCESSORS)
def test_a_device_that_resizes_and_normalises_gives_the_processor_s_bits_or_declines(kind: str) -> None:
    processor = PROCESSORS[kind]
    preprocess = Preprocessor(processor)
    random = np.random.default_rng(0)
    for shape in ((48, 64), (120, 97), (480, 640)):
        route = preprocess.on_device(*shape, torch.device("cpu"))
        assert (route is None) == (kind in ("padded", "centre crop", "bicubic"))
        if route is None:
            continue
        images = random.integers(0, 256, (2, *shape, 3), dtype=np.uint8)
        expected = processor(images=list(images), return_tensors="pt", input_data_format="channels_last").pixel_values
        assert torch.equal(route(torch.from_numpy(images)), expected.float())
