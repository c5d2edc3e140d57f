"""Checkpoints of other versions and of other data sets: what stays current, what is stale, what is refused."""

import shutil
from dataclasses import replace

import pytest
from safetensors.torch import load_file

from distracted_pipeline.dataset import STATE_FARM
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.options import RunOptions
from distracted_pipeline.settings import Settings
from distracted_pipeline.training.checkpoint import (
    CONFIG,
    WEIGHTS,
    is_trained,
    load_trained,
    read_meta,
)
from distracted_pipeline.training.train import train_variant

QUIET = RunOptions(log=lambda line: None)


def with_classes(settings: Settings, ids: tuple[str, ...]) -> Settings:
    """The same data root, whose data set has its classes in another order."""
    names = dict(zip(STATE_FARM.class_ids, STATE_FARM.class_names, strict=True))
    other = replace(STATE_FARM, name="another", class_ids=ids, class_names=tuple(names[key] for key in ids))
    return replace(settings, dataset=other)


def test_what_a_version_that_trained_once_on_each_fold_left_is_cleared_away(own_root: Settings) -> None:
    former = own_root.models / "masks_only" / "original"
    former.mkdir(parents=True)
    for name in (CONFIG, WEIGHTS):
        (former / name).write_text("{}")
    assert not is_trained(own_root, "masks_only", "original")
    train_variant(own_root, "masks_only", "original", QUIET)
    assert is_trained(own_root, "masks_only", "original")
    assert sorted(path.name for path in former.iterdir()) == [".lock", "0", "1"]


def test_other_classes_make_a_checkpoint_stale_and_unreadable(own_root: Settings) -> None:
    folder = train_variant(own_root, "masks_only", "0", QUIET).folder / "0"
    assert read_meta(folder)["classes"] == list(STATE_FARM.class_ids)
    turned = with_classes(own_root, STATE_FARM.class_ids[::-1])
    assert not is_trained(turned, "masks_only", "0")
    with pytest.raises(
        DistractedError, match=r"trained on the classes c0, c1, .* not on those of another \(c9, c8"
    ) as raised:
        load_trained(turned, "masks_only", "0", "cpu")
    assert '--select trained_model --partition "0|masks_only"' in str(raised.value)


def test_a_start_of_other_classes_gives_its_weights_but_not_its_classifier(own_root: Settings) -> None:
    first = train_variant(own_root, "masks_only", "0", QUIET).folder / "0"
    elsewhere = own_root.data / "elsewhere"
    shutil.copytree(first, elsewhere)
    turned = with_classes(own_root, STATE_FARM.class_ids[::-1])
    assert turned.variants_file is not None
    with turned.variants_file.open("a") as handle:
        handle.write(
            f"\nsecond: {{kind: masks_only, epochs: 1, top_lr: 1.0e-9, optimizer: adamw, checkpoint: {elsewhere}}}\n"
        )
    second = load_file(train_variant(turned, "second", "0", QUIET).folder / "0" / WEIGHTS)
    one = load_file(elsewhere / WEIGHTS)
    near = {name for name in one if (one[name] - second[name]).abs().max() < 1e-5}
    assert near == {name for name in one if name.startswith("mask_head.")}
