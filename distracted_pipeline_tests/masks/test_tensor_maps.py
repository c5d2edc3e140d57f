"""Class maps as tensors, on the CPU: those of the exact path, image by image, but for ties that rounding decides."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from distracted_pipeline.masks.families import FAMILIES, Reading
from distracted_pipeline.masks.geometry import Axis, Geometry
from distracted_pipeline.masks.postprocess import confident_queries, panoptic_map, semantic_map
from distracted_pipeline.masks.tensor_maps import panoptic_maps, semantic_maps
from distracted_pipeline_tests.masks.reference import scene
from distracted_pipeline_tests.masks.test_postprocess import TABLE

SIZES = [(48, 64), (61, 67), (123, 77), (480, 640)]
MASK2FORMER, MASKFORMER, ONEFORMER = (FAMILIES[kind].reading for kind in ("mask2former", "maskformer", "oneformer"))
EOMT = replace(FAMILIES["eomt"].reading, working_size=(96, 96), content=(70, 96))


def exact(classes: Tensor, masks: Tensor, size: tuple[int, int], reading: Reading) -> np.ndarray:
    queries = confident_queries(classes, masks, reading.thresholds)
    return np.stack([panoptic_map(image, TABLE, size, reading) for image in queries])


def as_tensors(classes: Tensor, masks: Tensor, size: tuple[int, int], reading: Reading) -> np.ndarray:
    return panoptic_maps(classes, masks, torch.from_numpy(TABLE), size, reading).numpy()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("reading", [MASK2FORMER, MASKFORMER, ONEFORMER, EOMT])
def test_a_batch_gets_the_maps_of_its_images(size: tuple[int, int], reading: Reading) -> None:
    scenes = [scene(seed, queries=20, confident=sure, labels=8) for seed, sure in enumerate((5, 0, 12, 1))]
    batch = [torch.stack(part) for part in zip(*scenes, strict=True)]
    expected, found = exact(*batch, size, reading), as_tensors(*batch, size, reading)
    assert found.dtype == np.uint8
    assert (found == expected).mean() >= 0.9999
    assert len(np.unique(expected[0])) > 2
    assert not found[1].any()


def test_no_image_with_anything_is_a_batch_of_empty_maps() -> None:
    classes, masks = scene(0, queries=20, confident=0, labels=8)
    assert not as_tensors(classes[None], masks[None], (48, 64), MASK2FORMER).any()


def test_equal_queries_and_covered_ones_are_treated_as_on_the_cpu() -> None:
    classes = torch.full((1, 5, 9), -20.0)
    classes[:, :, -1] = 20
    for query, label in ((0, 0), (2, 2), (3, 5), (4, 7)):  # query 1 is unsure
        classes[0, query, label], classes[0, query, -1] = 20, -20
    masks = torch.full((1, 5, 8, 8), -9.0)
    masks[0, 0, :, :3] = masks[0, 2, :, :3] = 5  # equal: the first has it, the second has nothing left
    masks[0, 3] = 4  # claims all and wins less than 80% of it
    masks[0, 4, :, 6:] = 9
    found = as_tensors(classes, masks, (80, 80), MASK2FORMER)
    np.testing.assert_array_equal(found, exact(classes, masks, (80, 80), MASK2FORMER))
    assert set(np.unique(found)) == {0, TABLE[0], TABLE[7]}


def test_more_than_256_queries_keep_their_labels() -> None:
    classes = torch.full((1, 300, 9), -20.0)
    masks = torch.full((1, 300, 1, 300), -30.0)
    for query in range(300):
        classes[0, query, query % 8] = 20
        masks[0, query, :, query] = 30
    np.testing.assert_array_equal(
        as_tensors(classes, masks, (65, 300), MASKFORMER), exact(classes, masks, (65, 300), MASKFORMER)
    )


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["noise", "smooth", "ties"])
def test_semantic_maps_are_those_of_the_images(size: tuple[int, int], kind: str) -> None:
    logits = torch.randn(3, 8, 13, 17, generator=torch.Generator().manual_seed(0)) * 4
    if kind == "smooth":
        logits = logits.cumsum(2).cumsum(3) / 10
    if kind == "ties":
        logits = logits.round()
    found = semantic_maps(logits, torch.from_numpy(TABLE), size).numpy()
    assert (found == np.stack([semantic_map(image, TABLE, size) for image in logits])).mean() >= 0.9999
    assert all((one != other).any() for one, other in pairwise(found))


@pytest.mark.parametrize("reading", [MASK2FORMER, ONEFORMER])
def test_padding_and_cropping_are_undone_as_on_the_cpu(reading: Reading) -> None:
    # Rows fill the upper three quarters of the input; of the columns, an eighth at either end was cropped.
    geometry = Geometry(Axis(60, 0, 60, 0.0, 0.75 / 60), Axis(80, 10, 70, -1 / 6, 4 / 3 / 80))
    classes, masks = (part[None] for part in scene(3, queries=20, confident=6, labels=8))
    queries = confident_queries(classes, masks, reading.thresholds)[0]
    expected = panoptic_map(queries, TABLE, (60, 80), reading, geometry)
    found = panoptic_maps(classes, masks, torch.from_numpy(TABLE), (60, 80), reading, geometry)[0].numpy()
    assert (found == expected).mean() >= 0.9999
    assert expected.any()
    assert not expected[:, :10].any()
    assert not expected[:, 70:].any()
    logits = torch.randn(8, 13, 17, generator=torch.Generator().manual_seed(0))
    expected = semantic_map(logits, TABLE, (60, 80), geometry)
    found = semantic_maps(logits[None], torch.from_numpy(TABLE), (60, 80), geometry)[0].numpy()
    assert (found == expected).mean() >= 0.9999
    assert not expected[:, 70:].any()
