"""Looks: alike survives what a camera or a save does to a frame, and no near pair across groups is missed."""

import numpy as np
from PIL import Image

from distracted_pipeline.images import likeness
from distracted_pipeline.images.likeness import BITS, as_words, close_pairs, look, nearest
from distracted_pipeline_tests.conftest import draw_frame


def bits(one: str, other: str) -> int:
    return (int(one, 16) ^ int(other, 16)).bit_count()


def picture() -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 255, (12, 16), dtype=np.uint8)
    return Image.fromarray(noise).resize((320, 240), Image.Resampling.BICUBIC)


def test_a_darker_smaller_frame_looks_the_same_and_a_mirrored_one_does_not() -> None:
    frame = picture()
    darker = frame.resize((160, 120)).point(lambda value: value * 0.6)
    assert bits(look(frame), look(darker)) <= 12
    assert bits(look(frame), look(frame.transpose(Image.Transpose.FLIP_LEFT_RIGHT))) > 80
    assert look(frame.convert("RGB")) == look(frame)


def test_close_pairs_are_those_that_every_pair_compared_finds() -> None:
    rng = np.random.default_rng(1)
    words = as_words([f"{value:064x}" for value in [0, *(1 << int(b) for b in rng.integers(0, 255, 40)), 2**256 - 1]])
    groups = rng.integers(0, 3, len(words))
    bits_apart = np.bitwise_count(words[:, None] ^ words[None]).sum(-1)
    assert bits_apart.max() == BITS
    found = {(pair.first, pair.second): pair.distance for pair in close_pairs(words, groups, most=1)}
    expected = {
        (i, j): int(bits_apart[i, j])
        for i in range(len(words))
        for j in range(i + 1, len(words))
        if bits_apart[i, j] <= 1 and groups[i] != groups[j]
    }
    assert found == expected
    assert expected


def test_blocks_of_any_size_give_the_same_nearest(monkeypatch) -> None:
    rng = np.random.default_rng(2)
    one, other = (rng.integers(0, 2**63, (n, 4)).astype(np.uint64) for n in (23, 31))
    whole = nearest(one, other)
    monkeypatch.setattr(likeness, "_TALL", 5)
    monkeypatch.setattr(likeness, "_WIDE", 7)
    for found, expected in zip(nearest(one, other), whole, strict=True):
        assert found.tolist() == expected.tolist()
    direct = np.bitwise_count(one[:, None] ^ other[None]).sum(-1)
    assert whole[1].tolist() == direct.min(1).tolist()


def test_frames_of_no_pixel_size_in_particular_have_looks() -> None:
    assert len(look(draw_frame(1, 2, 3, size=(7, 5)))) == 64
