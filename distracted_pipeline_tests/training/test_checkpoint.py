"""Checkpoints of other versions and of other data sets: what stays current, what is stale, what is refused."""

import json
import shutil
from dataclasses import replace

import pytest
from safetensors.torch import load_file

from distracted_pipeline.dataset import STATE_FARM
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.options import RunOptions
from distracted_pipeline.settings import Settings
from distracted_pipeline.training import checkpoint
from distracted_pipeline.training.checkpoint import (
    CONFIG,
    WEIGHTS,
    fingerprints,
    is_trained,
    load_trained,
    model_folder,
    read_meta,
)
from distracted_pipeline.training.train import train_variant
from distracted_pipeline.variants.config import variant_named

QUIET = RunOptions(log=lambda line: None)

OF_32C4417 = {
    ("linear_probe", "original"): "e5a10e893a49",
    ("linear_probe", "0"): "ca7795d85b03",
    ("masks_only", "original"): "6c24da72821d",
    ("masks_only", "0"): "59b15c49e10f",
}
"""What version 32c4417 recorded in the same data root."""


def with_classes(settings: Settings, ids: tuple[str, ...]) -> Settings:
    """The same data root, whose data set has its classes in another order."""
    names = dict(zip(STATE_FARM.class_ids, STATE_FARM.class_names, strict=True))
    other = replace(STATE_FARM, name="another", class_ids=ids, class_names=tuple(names[key] for key in ids))
    return replace(settings, dataset=other)


def test_state_farms_checkpoints_keep_the_fingerprints_of_the_version_before(
    prepared: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # These follow times, threads and the JPEG encoder, so they differ from run to run or from machine to machine.
    monkeypatch.setattr("distracted_pipeline.masks.identity.segmenter_fingerprint", lambda settings: "41b777cc2685")
    monkeypatch.setattr(checkpoint, "backbone_fingerprint", lambda settings, name: "7e61accd7061")
    monkeypatch.setattr(checkpoint, "_data_fingerprint", lambda settings: "7d86e8b09128")
    now = {
        (name, fold): fingerprints(prepared, variant_named(prepared, name), fold)["fingerprint"]
        for name, fold in OF_32C4417
    }
    assert now == OF_32C4417


def test_a_model_of_a_version_that_called_the_original_fold_seed_is_found_and_current(own_root: Settings) -> None:
    folder = train_variant(own_root, "masks_only", "original", QUIET).folder
    meta = json.loads((folder / CONFIG).read_text())
    former = folder.rename(folder.with_name("seed"))
    del meta["classes"]
    (former / CONFIG).write_text(json.dumps({**meta, "fold": "seed"}))
    assert is_trained(own_root, "masks_only", "original")
    assert model_folder(own_root, "masks_only", "original") == former
    assert read_meta(former)["fold"] == "original"
    assert load_trained(own_root, "masks_only", "original", "cpu").meta["classes"] == list(STATE_FARM.class_ids)
    assert train_variant(own_root, "masks_only", "original", QUIET).reused


def test_other_classes_make_a_checkpoint_stale_and_unreadable(own_root: Settings) -> None:
    folder = train_variant(own_root, "masks_only", "0", QUIET).folder
    assert read_meta(folder)["classes"] == list(STATE_FARM.class_ids)
    turned = with_classes(own_root, STATE_FARM.class_ids[::-1])
    config = variant_named(turned, "masks_only")
    assert "classes_fingerprint" not in fingerprints(own_root, config, "0")
    assert fingerprints(turned, config, "0")["classes_fingerprint"]
    assert not is_trained(turned, "masks_only", "0")
    with pytest.raises(
        DistractedError, match=r"trained on the classes c0, c1, .* not on those of another \(c9, c8"
    ) as raised:
        load_trained(turned, "masks_only", "0", "cpu")
    assert '--select trained_model --partition "0|masks_only"' in str(raised.value)


def test_a_start_of_other_classes_gives_its_weights_but_not_its_classifier(own_root: Settings) -> None:
    first = train_variant(own_root, "masks_only", "0", QUIET).folder
    elsewhere = own_root.data / "elsewhere"
    shutil.copytree(first, elsewhere)
    turned = with_classes(own_root, STATE_FARM.class_ids[::-1])
    assert turned.variants_file is not None
    with turned.variants_file.open("a") as handle:
        handle.write(
            f"\nsecond: {{kind: masks_only, epochs: 1, top_lr: 1.0e-9, optimizer: adamw, checkpoint: {elsewhere}}}\n"
        )
    second = load_file(train_variant(turned, "second", "0", QUIET).folder / WEIGHTS)
    one = load_file(elsewhere / WEIGHTS)
    near = {name for name in one if (one[name] - second[name]).abs().max() < 1e-5}
    assert near == {name for name in one if name.startswith("mask_head.")}
