"""Techniques, each tested for what every technique must hold: any kind that is registered is in these tests."""

import subprocess
import sys
from pathlib import Path
from pkgutil import iter_modules

import pytest
import torch

from distracted_pipeline.dataset import STATE_FARM
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.options import RunOptions
from distracted_pipeline.training.inputs import Rows
from distracted_pipeline.training.steps import open_session, step
from distracted_pipeline.variants import kinds
from distracted_pipeline.variants.backbones import load_backbone, why_unsupported
from distracted_pipeline.variants.config import VariantConfig, validated
from distracted_pipeline.variants.kinds import HEAD, KINDS, Kind, register
from distracted_pipeline.variants.networks import build_network
from distracted_pipeline_tests.variants.test_networks import batch_for, build
from distracted_pipeline_tests.variants.tiny import settings_for, variant

QUIET = RunOptions("cpu", log=lambda line: None)


def test_every_file_of_the_folder_is_a_kind_by_its_own_name() -> None:
    assert sorted(KINDS) == sorted(module.name for module in iter_modules(kinds.__path__))
    assert all(kind.name == name and kind.trains for name, kind in KINDS.items())


def test_augmented_a_kind_reads_pixels_in_the_place_of_its_tap_and_one_with_masks_refuses() -> None:
    augmented = {
        kind: variant(kind, augment=True).inputs for kind in ("linear_probe", "top_only", "adapters", "fine_tune")
    }
    assert set(augmented.values()) == {("pixels",)}
    for kind in ("masks_only", "masks_fused"):
        with pytest.raises(ValueError, match="it would shift the photograph and not its masks"):
            variant(kind, augment=True)


def test_naming_the_kinds_loads_nothing_heavy() -> None:
    code = (
        "import sys, distracted_pipeline.variants.config\n"
        "print([name for name in ('torch', 'transformers', 'peft', 'numpy') if name in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert said.stdout.strip() == "[]"


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_changes_only_what_learns_and_reads_only_the_inputs(efficientnet: Path, kind: str) -> None:
    config = variant(kind)
    net = build(config, efficientnet)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    given = batch_for(net, net.inputs, count=16)
    assert len(config.taps) <= 1
    rows = Rows(given, torch.arange(16) % 10, None)
    session = open_session([net], rows, config, [0], QUIET)
    batch = {name: values[None] for name, values in given.items()}
    losses = [float(step(session, batch, rows.labels[None])) for _ in range(2)]  # LoRA and adapters start with zeros
    moved = {name for name, tensor in net.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved == {name for name, _ in net.learning()} == config.technique.learning(net)
    assert {name for name in before if HEAD.search(name)} <= moved
    assert torch.tensor(losses).isfinite().all()
    assert losses[0] != losses[1]


@pytest.mark.parametrize("kind", KINDS)
def test_a_backbone_that_does_not_fit_is_refused_in_a_sentence_that_says_what_would(
    other_families: dict[str, Path], kind: str
) -> None:
    for family, folder in other_families.items():
        config, settings = variant(kind), settings_for(folder)
        reason = why_unsupported(settings, config)
        assert (reason is not None) == bool(KINDS[kind].families)
        try:
            net = build(config, folder)
        except DistractedError as error:
            said = str(error)
            assert f"kind {kind} " in said
            assert family in said
            assert "set DISTRACTED_BACKBONE, or the variant's `model_name`, to a" in said
            assert ". " not in said.replace(str(folder), "")
            assert reason is None or reason.replace(str(folder), "") in said.replace(str(folder), "")
        else:
            assert reason is None
            assert net.count()[0] > 0


@pytest.mark.parametrize("kind", KINDS)
def test_an_option_of_another_kind_is_refused_and_said_to_be_its_own(kind: str) -> None:
    for other in KINDS.values():
        for option in other.options:
            if option.field in {own.field for own in KINDS[kind].options}:
                continue
            value = {"adapters": [2], "optimizer": "lbfgs", "lora_rank": 3}.get(option.field, 0.5)
            with pytest.raises(DistractedError, match=rf"{option.field} is .* kinds? .*{other.name}\b.* takes?"):
                validated("x", {**variant(kind).model_dump(exclude={"name"}), option.field: value}, "here")


def test_sizes_come_from_the_data_set(efficientnet: Path) -> None:
    from dataclasses import replace

    small = replace(
        STATE_FARM,
        class_ids=STATE_FARM.class_ids[:4],
        class_names=STATE_FARM.class_names[:4],
        categories=STATE_FARM.categories[:3],
    )
    net = build_network(variant("masks_fused"), load_backbone(settings_for(efficientnet)), small)
    batch = {"pooled": torch.zeros(2, net.pooled_width), "fractions": torch.zeros(2, 4, 60, 80)}
    assert net(batch).shape == (2, 4)


def test_a_kind_of_ones_own_is_an_entrys_kind_once_it_is_registered(efficientnet: Path) -> None:
    fields = {"kind": "bias_only", "epochs": 1}
    with pytest.raises(DistractedError, match=r"'bias_only':.* Input should be 'adapters'.* or 'top_only'"):
        validated("mine", fields, "here")
    mine = Kind(
        name="bias_only",
        trains="biases of the last batch norm, classifier",
        reads=("last_block",),
        learns=r"\.top_bn\.bias$",
        families=("efficientnet",),
        because="trains its last batch norm",
    )
    register(mine)
    try:
        config = validated("mine", fields, "here")
        assert isinstance(config, VariantConfig)
        assert config.technique.trains.startswith("biases")
        learning = {name for name, _ in build(config, efficientnet).learning()}
        assert {name for name in learning if not HEAD.search(name)} == {"trunk.model.efficientnet.encoder.top_bn.bias"}
    finally:
        del KINDS["bias_only"]
