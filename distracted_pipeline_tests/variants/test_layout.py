"""What `distracted variants` says: the catalogue, and an entry's parts with their parameters."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from distracted_pipeline.cli import main
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.variants.backbones import load_backbone
from distracted_pipeline.variants.config import load_catalogue
from distracted_pipeline.variants.layout import describe
from distracted_pipeline.variants.networks import build_network
from distracted_pipeline_tests.variants.tiny import settings_for


def numbers(line: str) -> tuple[int, int]:
    """The two counts of a line of the table."""
    learning, total = [word for word in line.split() if word.replace(",", "").isdigit()][-2:]
    return int(learning.replace(",", "")), int(total.replace(",", ""))


def test_parts_add_up_to_the_network_and_base_blocks_are_named(efficientnet: Path) -> None:
    settings = settings_for(efficientnet)
    for name in ("adapter_parallel", "fine_tune", "masks_fused", "masks_only", "lora"):
        lines = list(describe(settings, name))
        table = lines[next(i for i, line in enumerate(lines) if line.startswith("part ")) + 1 :]
        end = next(i for i, line in enumerate(table) if line.startswith("all "))
        parts = [numbers(line) for line in table[:end]]
        config = load_catalogue(settings)[name]
        net = build_network(config, load_backbone(settings) if config.taps else None, settings.dataset)
        assert tuple(map(sum, zip(*parts, strict=True))) == net.count() == numbers(table[end].split("(")[0])
        assert (lines[-1] == "base blocks for adapters: 0 to 4") is bool(config.taps)
    assert any(
        line.startswith("  adapter in base block 3 (2 repeats)") for line in describe(settings, "adapter_serial")
    )


def test_a_variant_that_cannot_train_here_says_why(other_families: dict[str, Path]) -> None:
    lines = list(describe(settings_for(other_families["convnext"]), "top_only"))
    assert lines[-1].startswith("cannot be trained here: kind top_only cuts into EfficientNet's blocks")
    with pytest.raises(DistractedError, match="no variant 'nope'"):
        list(describe(settings_for(other_families["convnext"]), "nope"))


def test_the_command_lists_every_variant_and_shows_one(efficientnet: Path, tmp_path: Path) -> None:
    environment = {"DISTRACTED_DATA": str(tmp_path), "DISTRACTED_BACKBONE": str(efficientnet)}
    listed = CliRunner().invoke(main, ["variants"], env=environment)
    assert listed.exit_code == 0, listed.output
    assert all(name in listed.output for name in load_catalogue(settings_for(efficientnet)))
    assert "top_only top_conv, top_bn, classifier (baseline)" in " ".join(listed.output.split())
    shown = CliRunner().invoke(main, ["variants", "show", "lora"], env=environment)
    assert shown.exit_code == 0, shown.output
    assert "options: kind lora" in shown.output
