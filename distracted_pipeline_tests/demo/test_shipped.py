"""The models that come with the package are whole, small, and of use: to the variants, and to the masks."""

import shutil
from pathlib import Path

import pytest

from distracted_pipeline.demo.mask_quality import BARS, reaches_bars
from distracted_pipeline.demo.segmenter_training import demo_scenes, measure
from distracted_pipeline.demo.shipped import CHECKSUMS, FILES, Model, shipped
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.fingerprints import file_digest
from distracted_pipeline.masks.loading import load_segmenter
from distracted_pipeline.masks.models import ModelSegmenter
from distracted_pipeline.serving.model_card import weights_licence
from distracted_pipeline.settings import Settings
from distracted_pipeline.variants.backbones import load_backbone

MIB = 2**20


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A weights folder that may be damaged."""
    shutil.copytree(shipped("backbone"), tmp_path / "backbone")
    return tmp_path


@pytest.mark.parametrize(("model", "most"), [("backbone", 3 * MIB), ("segmenter", 4 * MIB)])
def test_a_model_is_whole_small_and_described(model: Model, most: int) -> None:
    folder = shipped(model)
    assert sum((folder / name).stat().st_size for name in FILES) <= most
    card = (folder / "MODEL_CARD.md").read_text()
    assert all(file_digest(folder / name) in card for name in FILES)
    assert weights_licence(str(folder)) == "mit, by the card in its folder"


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


def test_the_segmenter_sees_all_six_categories_on_drivers_it_never_saw(tmp_path: Path) -> None:
    segmenter = load_segmenter(Settings(data=tmp_path, segmenter=str(shipped("segmenter"))), "cpu")
    assert isinstance(segmenter, ModelSegmenter)
    assert segmenter.categories_missing == []
    scenes = demo_scenes(1)
    one_of_each_class = [scenes[10 * driver + number] for number, driver in enumerate((0, 17, 3, 8, 11) * 2)]
    measured = measure(segmenter, one_of_each_class, lambda line: None)
    assert set(BARS) < set(measured["iou"])
    assert reaches_bars(measured["iou"]), measured["iou"]
    assert measured["phone_found"] == {f"c{k}": float(k in (1, 2, 3, 4)) for k in range(10)}
