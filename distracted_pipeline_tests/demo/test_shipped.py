"""The model that comes with the package is whole, small, and of use to the variants."""

import shutil
from pathlib import Path

import pytest

from distracted_pipeline.demo.shipped import CHECKSUMS, FILES, sha256, shipped
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.settings import Settings
from distracted_pipeline.variants.backbones import load_backbone

MIB = 2**20


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A weights folder that may be damaged."""
    shutil.copytree(shipped("backbone"), tmp_path / "backbone")
    return tmp_path


def test_the_backbone_is_whole_small_and_described() -> None:
    folder = shipped("backbone")
    assert sum((folder / name).stat().st_size for name in FILES) <= 3 * MIB
    card = (folder / "MODEL_CARD.md").read_text()
    assert all(sha256(folder / name) in card for name in FILES)


def test_a_changed_byte_is_noticed_and_the_remedy_named(copied: Path) -> None:
    path = copied / "backbone" / "model.safetensors"
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(DistractedError, match=r"model\.safetensors has SHA-256 .*demo\.pretrain backbone"):
        shipped("backbone", copied)


@pytest.mark.parametrize("name", [*FILES, CHECKSUMS])
def test_a_missing_file_is_noticed(copied: Path, name: str) -> None:
    (copied / "backbone" / name).unlink()
    with pytest.raises(DistractedError, match=f"{name} is missing"):
        shipped("backbone", copied)


def test_a_file_without_a_checksum_is_not_trusted(copied: Path) -> None:
    path = copied / "backbone" / CHECKSUMS
    path.write_text("".join(line for line in path.read_text().splitlines(keepends=True) if "config.json" not in line))
    with pytest.raises(DistractedError, match=rf"config\.json is not listed in {CHECKSUMS}"):
        shipped("backbone", copied)


def test_backbone_serves_the_variants(tmp_path: Path) -> None:
    backbone = load_backbone(Settings(data=tmp_path, backbone=str(shipped("backbone"))))
    assert backbone.preprocessing.size == (96, 96)
    assert backbone.trunk.family == "efficientnet"
    assert backbone.trunk.pools_by_mean()
