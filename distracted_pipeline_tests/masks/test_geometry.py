"""Masks lie where the model saw what they show, whatever its processor did to the frame."""

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from transformers.models.mask2former.image_processing_pil_mask2former import Mask2FormerImageProcessorPil
from transformers.models.mobilenet_v2.image_processing_pil_mobilenet_v2 import MobileNetV2ImageProcessorPil
from transformers.models.segformer.image_processing_pil_segformer import SegformerImageProcessorPil

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.masks.geometry import Geometry, learn_geometry, whole_frame
from distracted_pipeline.masks.preprocess import Preprocessor

EDGES = {"shortest_edge": 96, "longest_edge": 160}
PLAIN = {
    "fixed size": Mask2FormerImageProcessorPil(size={"height": 96, "width": 128}),
    "by edges": Mask2FormerImageProcessorPil(size=EDGES),
    "divisor": Mask2FormerImageProcessorPil(size=EDGES, size_divisor=32),
    "bicubic": SegformerImageProcessorPil(size={"height": 64, "width": 96}, resample=3),
    "as it is": SegformerImageProcessorPil(do_resize=False),
}
OTHER = {
    "padded": Mask2FormerImageProcessorPil(size={"height": 96, "width": 96}, pad_size={"height": 128, "width": 200}),
    "by edges, padded": Mask2FormerImageProcessorPil(size=EDGES, pad_size={"height": 224, "width": 256}),
    "cropped": MobileNetV2ImageProcessorPil(size={"shortest_edge": 96}, crop_size={"height": 80, "width": 80}),
    "cropped beyond the frame": MobileNetV2ImageProcessorPil(
        size={"shortest_edge": 64}, crop_size={"height": 96, "width": 80}
    ),
}
PROCESSORS = [
    f"{family}ImageProcessorPil"
    for family in (
        "Beit", "DPT", "Eomt", "Mask2Former", "MaskFormer", "MobileNetV2", "MobileViT", "OneFormer", "Segformer",
    )
]  # fmt: skip
SIZES = ((120, 160), (161, 97), (300, 301), (480, 640))


def drawing(height: int, width: int) -> np.ndarray:
    """Return soft stripes in both directions: every place looks unlike its neighbours."""
    y, x = np.mgrid[:height, :width] / min(height, width)
    return np.repeat((127 + 60 * np.sin(9 * x) + 60 * np.sin(7 * y))[:, :, None], 3, 2).astype(np.uint8)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", [*PLAIN, *OTHER])
def test_a_model_s_input_is_laid_back_where_it_came_from(kind: str, size: tuple[int, int]) -> None:
    preprocess = Preprocessor(PLAIN.get(kind) or OTHER[kind])
    geometry = preprocess.geometry(*size)
    assert geometry.plain == (kind in PLAIN)
    black, white = (preprocess(np.full((*size, 3), value, np.uint8))[0].numpy() for value in (0, 255))
    image = drawing(*size)
    seen = (geometry.lay(preprocess(image))[0].numpy() - black.min()) / (white.max() - black.min()) * 255
    gap = np.abs(seen - image[geometry.seen][:, :, 0])
    assert gap.mean() < 2
    assert np.quantile(gap, 0.99) < 8  # a shift by one pixel of a 64-pixel input would be 16


def draw_options(rng: random.Random) -> dict[str, Any]:
    """Return drawn options of a processor: a size in one of its forms, often a crop, padding, a divisor, no resize."""
    edge = rng.choice((64, 96, 128))
    sizes = (
        {"height": edge, "width": 100},
        {"shortest_edge": edge},
        {"shortest_edge": edge, "longest_edge": edge + 40},
    )
    options: dict[str, Any] = {"size": rng.choice(sizes), "resample": rng.choice((0, 2, 3))}
    further: tuple[dict[str, Any], ...] = (
        {"do_center_crop": True, "crop_size": {"height": rng.choice((48, 200)), "width": rng.choice((56, 220))}},
        {"do_pad": True},
        {"pad_size": {"height": rng.choice((128, 200)), "width": rng.choice((160, 256))}},
        {"size_divisor": rng.choice((14, 32))},
        {"keep_aspect_ratio": True, "ensure_multiple_of": 14},
        {"do_split_image": True},
        {"do_resize": False},
        {"do_rescale": False, "do_normalize": False},
    )
    for some in further:
        options |= some if rng.random() < 0.25 else {}
    return options


@pytest.mark.parametrize("name", PROCESSORS)
def test_whatever_a_processor_is_told_maps_go_back_or_the_frame_is_refused(name: str) -> None:
    rng, laid = random.Random(name), 0
    for _ in range(16):
        options, (height, width) = draw_options(rng), rng.choice(((48, 64), (160, 120), (97, 131), (240, 320)))
        try:
            processor = getattr(transformers, name)(**options)
        except (TypeError, ValueError):
            continue  # its own check
        preprocess = Preprocessor(processor)
        try:
            geometry = preprocess.geometry(height, width)
        except DistractedError:
            continue
        # Red tells the row, green the column (BGR for some): what is laid back must tell its own place.
        rows, columns = np.mgrid[:height, :width]
        shares = [(rows + 0.5) / height, (columns + 0.5) / width]
        told = np.stack([255 * shares[0], 255 * shares[1], np.zeros(rows.shape)], -1).round().astype(np.uint8)
        black, white = (preprocess(np.full_like(told, value)) for value in (0, 255))
        read = torch.nan_to_num((preprocess(told) - black) / (white - black))
        read = read.flip(0) if name.startswith("MobileViT") else read
        seen = geometry.lay(read[:2]).numpy()
        inner = tuple(slice(length // 8, length - length // 8) for length in geometry.seen_size)  # filters blur ends
        for axis, length in enumerate((height, width)):
            off = np.abs(seen[axis] - shares[axis][geometry.seen])[inner].max() * length
            assert off <= max(2.2, 1.7 * length / read.shape[1 + axis]), (options, (height, width))
        laid += 1
    assert laid >= 4


@pytest.mark.parametrize("size", SIZES)
def test_padding_hides_nothing_and_a_crop_what_it_cuts_off(size: tuple[int, int]) -> None:
    height, width = size
    for kind in ("padded", "by edges, padded"):
        assert Preprocessor(OTHER[kind]).geometry(*size).seen_size == size
    short = min(size)
    inside = short * 80 / 96
    cropped = Preprocessor(OTHER["cropped"]).geometry(*size)
    assert cropped.seen_size == pytest.approx((inside, inside), abs=1 + short / 96)
    middle = [(part.start + part.stop) / 2 for part in cropped.seen]
    assert middle == pytest.approx([height / 2, width / 2], abs=0.02 * short)
    outside = cropped.on_frame(np.ones(cropped.seen_size, np.uint8))
    assert outside.shape == size
    assert outside.sum() == np.prod(cropped.seen_size)


def test_a_plain_resize_is_measured_as_one() -> None:
    """What `Preprocessor` need not measure, because it knows, would be measured right."""
    for kind, processor in PLAIN.items():

        def process(image: np.ndarray, processor=processor) -> np.ndarray:
            return processor(images=[image], return_tensors="np", input_data_format="channels_last").pixel_values[0]

        for size in ((9, 7), (1, 50), *SIZES):
            assert learn_geometry(process, *size) == whole_frame(*size), (kind, size)


@pytest.mark.parametrize(
    "bend",
    [
        lambda image: image[:, ::-1],
        lambda image: image.transpose(1, 0, 2),
        lambda image: np.concatenate([image, image], 1),
        lambda image: np.where(np.arange(image.shape[1])[:, None] % 40 > 20, image, 0),
        lambda image: image * 0,
    ],
)
def test_what_cannot_be_undone_is_refused(bend: Callable[[np.ndarray], np.ndarray]) -> None:
    with pytest.raises(DistractedError, match="more to a frame of 90x120 pixels than resize, crop and pad"):
        learn_geometry(lambda image: bend(image).transpose(2, 0, 1).astype(np.float32), 120, 90)


def test_maps_of_any_resolution_are_laid_alike() -> None:
    geometry = Preprocessor(OTHER["padded"]).geometry(120, 160)
    assert isinstance(geometry, Geometry)
    fine = torch.zeros(1, 128, 200)
    fine[:, :48, :48] = 1  # the upper left quarter of the frame
    for maps in (fine, torch.nn.functional.avg_pool2d(fine, 4)):
        laid = geometry.lay(maps)[0] > 0.5
        assert laid[:60, :80].sum() == laid.sum() == pytest.approx(60 * 80, abs=4)
