from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers.models.segformer.image_processing_pil_segformer import SegformerImageProcessorPil

from distracted_pipeline.masks import postprocess
from distracted_pipeline.masks.families import FAMILIES
from distracted_pipeline.masks.postprocess import confident_queries, panoptic_map, semantic_map
from distracted_pipeline.masks.segmenter import Thresholds
from distracted_pipeline_tests.masks.reference import panoptic_reference, scene

TABLE = np.array([1, 0, 5, 2, 0, 4, 6, 3], np.uint8)
"""Eight labels, two of them in no category."""


def ours(class_logits: Tensor, mask_logits: Tensor, size: tuple[int, int], maskformer: bool = False) -> np.ndarray:
    (queries,) = confident_queries(class_logits[None], mask_logits[None], Thresholds())
    return panoptic_map(queries, TABLE, size, FAMILIES["maskformer" if maskformer else "mask2former"].reading)


sizes = st.sampled_from([(48, 64), (61, 67), (64, 65), (96, 128), (123, 77), (480, 640)])


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    confident=st.integers(0, 12),
    size=sizes,
    logits=st.sampled_from([(24, 32), (24, 24), (7, 5)]),
)
def test_class_map_is_bit_identical_to_transformers(
    seed: int, confident: int, size: tuple[int, int], logits: tuple[int, int]
) -> None:
    classes, masks = scene(seed, queries=20, confident=confident, labels=8, size=logits)
    expected, _ = panoptic_reference(classes, masks, TABLE, size)
    np.testing.assert_array_equal(ours(classes, masks, size), expected)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), confident=st.integers(0, 6), size=sizes)
def test_class_map_is_bit_identical_for_maskformer(seed: int, confident: int, size: tuple[int, int]) -> None:
    classes, masks = scene(seed, queries=10, confident=confident, labels=8)
    expected, _ = panoptic_reference(classes, masks, TABLE, size, maskformer=True)
    np.testing.assert_array_equal(ours(classes, masks, size, maskformer=True), expected)


@settings(max_examples=25, deadline=None)
@given(
    levels=st.lists(st.sampled_from([-50.0, -1.0, 0.0, 1.0, 50.0]), min_size=1, max_size=5),
    labels=st.lists(st.integers(0, 7), min_size=5, max_size=5),
    size=sizes,
)
def test_exact_ties_go_to_the_first_query_as_in_transformers(
    levels: list[float], labels: list[int], size: tuple[int, int]
) -> None:
    classes = torch.full((len(levels) + 4, 9), -20.0)
    classes[:, -1] = 20
    masks = torch.zeros(len(levels) + 4, 6, 8)
    for query, (level, label) in enumerate(zip(levels, labels, strict=False)):
        classes[query, label], classes[query, -1] = 20, -20
        masks[query, :, : 4 + query % 2] = level
    expected, _ = panoptic_reference(classes, masks, TABLE, size)
    np.testing.assert_array_equal(ours(classes, masks, size), expected)


def test_where_one_axis_after_the_other_rounds_otherwise_torch_s_own_kernel_gives_the_same_map(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    classes, masks = scene(1, queries=20, confident=6, labels=8)
    expected = ours(classes, masks, (123, 177))
    monkeypatch.setattr(postprocess, "_exact_by_axes", lambda before, size: False)
    np.testing.assert_array_equal(ours(classes, masks, (123, 177)), expected)
    assert expected.any()


def test_nothing_confident_is_an_empty_mask() -> None:
    classes, masks = scene(0, queries=20, confident=0, labels=8)
    assert not ours(classes, masks, (48, 64)).any()


def test_a_query_that_others_cover_is_dropped_not_given_to_them() -> None:
    classes = torch.full((2, 9), -20.0)
    classes[0, 0] = classes[1, 2] = 20  # person and car
    masks = torch.full((2, 8, 8), -9.0)
    masks[0] = 4
    masks[0, :, 6:] = 5  # the person claims all, wins a quarter: under 80% of its own area
    masks[1, :, :6] = 9
    result = ours(classes, masks, (80, 80))
    assert set(np.unique(result)) == {0, 5}
    assert (result[:, 70:] == 0).all()


def test_fused_labels_do_not_collide() -> None:
    """https://github.com/huggingface/transformers/issues/23461: a fused label resets the segment counter."""
    person, stuff, bottle = 0, 1, 3
    classes = torch.full((4, 9), -20.0)
    masks = torch.full((4, 8, 8), -9.0)
    # Stuff, person, stuff again (which fuses into segment 1), bottle: the reference numbers it 2, as the person.
    for query, label in enumerate((stuff, person, stuff, bottle)):
        classes[query, label] = 20
        masks[query, :, 2 * query : 2 * query + 2] = 9
    reference, collided = panoptic_reference(classes, masks, TABLE, (80, 80), fuse={stuff})
    right, fine = panoptic_reference(classes, masks, TABLE, (80, 80))
    assert collided
    assert not fine
    assert (reference != right).any()  # the person has become a bottle
    result = ours(classes, masks, (80, 80))
    np.testing.assert_array_equal(result, right)
    assert result[40, 25] == TABLE[person]
    assert result[40, 75] == TABLE[bottle]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_fusing_changes_nothing_where_ids_do_not_collide(seed: int) -> None:
    classes, masks = scene(seed, queries=12, confident=5, labels=8)
    reference, collided = panoptic_reference(classes, masks, TABLE, (61, 83), fuse={1, 4})
    right, _ = panoptic_reference(classes, masks, TABLE, (61, 83))
    result = ours(classes, masks, (61, 83))
    np.testing.assert_array_equal(result, right)
    if not collided:
        np.testing.assert_array_equal(result, reference)


def test_batches_give_what_single_images_give() -> None:
    scenes = [scene(seed, queries=20, confident=seed, labels=8) for seed in (0, 1, 3, 5)]
    together = confident_queries(*(torch.stack(part) for part in zip(*scenes, strict=True)), Thresholds())
    for (classes, masks), queries in zip(scenes, together, strict=True):
        alone = ours(classes, masks, (96, 128))
        np.testing.assert_array_equal(panoptic_map(queries, TABLE, (96, 128), FAMILIES["mask2former"].reading), alone)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    labels=st.integers(1, 8),
    size=sizes,
    kind=st.sampled_from(["noise", "smooth", "ties"]),
)
def test_semantic_map_is_the_argmax_of_transformers(seed: int, labels: int, size: tuple[int, int], kind: str) -> None:
    random = torch.Generator().manual_seed(seed)
    logits = torch.randn(labels, 13, 17, generator=random) * 4
    if kind == "smooth":
        logits = logits.cumsum(1).cumsum(2) / 10
    if kind == "ties":
        logits = logits.round()
    outputs = SimpleNamespace(logits=logits[None])
    (winner,) = SegformerImageProcessorPil().post_process_semantic_segmentation(outputs, target_sizes=[size])
    np.testing.assert_array_equal(semantic_map(logits, TABLE, size), TABLE[winner.numpy()])


@pytest.mark.parametrize("count", [2, 300])
def test_many_queries_keep_their_labels(count: int) -> None:
    """One query a column: with more than 256 of them, indices no longer fit a byte."""
    classes = torch.full((count, 9), -20.0)
    masks = torch.full((count, 1, count), -30.0)
    for query in range(count):
        classes[query, query % 8] = 20
        masks[query, :, query] = 30
    expected, _ = panoptic_reference(classes, masks, TABLE, (130, 2 * count), maskformer=True)
    np.testing.assert_array_equal(ours(classes, masks, (130, 2 * count), maskformer=True), expected)
    assert len(np.unique(expected)) > 1
