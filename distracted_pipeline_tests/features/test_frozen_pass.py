"""One pass of the backbone: memory that runs out, numbers that do not fit, images that have changed."""

import shutil

import numpy as np
import pytest
import torch

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.features.frozen_pass import PIXELS, FrozenPass, ImageChanged
from distracted_pipeline.features.taps import TapStore
from distracted_pipeline.images.manifest import of_subject, read_manifest
from distracted_pipeline.memory import Pieces
from distracted_pipeline.options import RunOptions
from distracted_pipeline.settings import Settings
from distracted_pipeline.variants.backbones import load_preprocessing
from distracted_pipeline_tests.features.test_taps import QUIET, TAPS, own_images, quiet
from distracted_pipeline_tests.memory import small_memory


def test_a_batch_that_does_not_fit_passes_in_halves_and_the_taps_are_the_same(
    own_root: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = TapStore(own_root)
    store.ensure("p002", TAPS, QUIET)
    expected = {tap: np.array(values) for tap, values in store.load(TAPS, own_images(own_root)).items()}
    shutil.rmtree(store.root)
    fresh, said = TapStore(own_root), list[str]()
    small_memory(monkeypatch, fresh._trunk, "taps", most=6)
    fresh.ensure("p002", TAPS, RunOptions("cpu", batch_size=16, log=said.append))
    for tap, values in fresh.load(TAPS, own_images(own_root)).items():
        assert np.allclose(values, expected[tap], rtol=2e-3, atol=2e-3), tap
    assert said == [
        "out of memory with 16 images at once: going on with 8",
        "out of memory with 8 images at once: going on with 4",
    ]


def test_values_beyond_fp16_are_refused_with_the_image(own_root: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    store = TapStore(own_root)
    trunk = store._trunk
    monkeypatch.setattr(trunk, "taps", lambda x, names: {"pooled": torch.full((len(x), 4), 1e6)})
    with pytest.raises(DistractedError, match=r"tap pooled of img_\d+\.jpg is not finite in fp16"):
        store.ensure("p002", ("pooled",), QUIET)


def test_pixels_need_no_backbone_and_an_image_of_other_bytes_ends_the_pass(own_root: Settings) -> None:
    rows = of_subject(read_manifest(own_root), "p002")
    store = TapStore(own_root)
    passing = FrozenPass(
        own_root.data,
        load_preprocessing(own_root),
        lambda: pytest.fail("loaded the backbone"),
        torch.device("cpu"),
        "fp32",
        Pieces(8, quiet),
    )
    pieces = [piece.values[PIXELS] for piece in passing.over(rows, [PIXELS])]
    assert [len(piece) for piece in pieces] == [8, 8, 4]
    known = torch.cat(pieces).numpy()
    victim = own_root.data / rows["path"][9].as_py()
    victim.write_bytes(victim.read_bytes() + b"!")
    with pytest.raises(ImageChanged, match=victim.name):
        list(passing.over(rows, [PIXELS]))
    assert len(list(passing.over(rows, [PIXELS], known))) == 3  # none is opened
    assert store.missing("p002", [PIXELS]) == [PIXELS]  # a pass keeps nothing
