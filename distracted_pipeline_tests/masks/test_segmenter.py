import json
import os
import shutil
import struct
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.masks.identity import masks_are_given, segmenter_fingerprint
from distracted_pipeline.masks.loading import load_segmenter
from distracted_pipeline.masks.segmenter import StagedSegmenter, TakesPictures
from distracted_pipeline.settings import Settings
from distracted_pipeline_tests.conftest import draw_frame
from distracted_pipeline_tests.damage import damage
from distracted_pipeline_tests.masks.conftest import save_tiny_mask2former


def frames(count: int = 4, size: tuple[int, int] = (64, 48)) -> list[np.ndarray]:
    return [np.asarray(draw_frame(i, i % 10, 0, size)) for i in range(count)]


def test_hub_model_that_is_not_there_names_model_setting_and_files(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path)
    for ask in (segmenter_fingerprint, load_segmenter):
        with pytest.raises(DistractedError) as error:
            ask(settings)
        message = str(error.value)
        for part in (
            "facebook/mask2former-swin-base-coco-panoptic",
            "DISTRACTED_SEGMENTER",
            "config.json, model.safetensors, preprocessor_config.json",
            "distracted doctor",
        ):
            assert part in message
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["no such/model name", "../escape", "missing-folder"])
def test_names_that_are_no_model_get_the_same_answer(tmp_path: Path, name: str) -> None:
    with pytest.raises(DistractedError, match="DISTRACTED_SEGMENTER"):
        load_segmenter(Settings(data=tmp_path, segmenter=name))


def test_a_processor_may_come_in_a_processor_config_and_counts(tiny_mask2former: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_mask2former, tmp_path / "model")
    settings = Settings(data=tmp_path, segmenter=str(folder))
    facts = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").unlink()
    prints = []
    for side in (64, 96):
        changed = {"image_processor": facts | {"size": {"height": side, "width": side}}}
        (folder / "processor_config.json").write_text(json.dumps(changed))
        prints.append(segmenter_fingerprint(settings))
        segmenter = load_segmenter(settings, "cpu")
        assert isinstance(segmenter, StagedSegmenter)
        prepared = segmenter.prepare(frames(1)[0], "a")
        assert prepared.shape == (3, side, side)
        assert isinstance(segmenter, TakesPictures)
        assert segmenter.prepare_picture(Image.fromarray(frames(1)[0]), "a").pixels.equal(prepared.pixels)
    assert prints[0] != prints[1]


@pytest.mark.parametrize("file", ["config.json", "preprocessor_config.json", "model.safetensors"])
def test_incomplete_folder_says_what_it_lacks(tiny_mask2former: Path, tmp_path: Path, file: str) -> None:
    folder = shutil.copytree(tiny_mask2former, tmp_path / "model")
    (folder / file).unlink()
    with pytest.raises(DistractedError, match=f"lacks {file}"):
        load_segmenter(Settings(data=tmp_path, segmenter=str(folder)))


def test_weights_that_do_not_fit_are_refused_not_left_random(tiny_mask2former: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(tiny_mask2former, tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    weights.pop("class_predictor.weight")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(DistractedError, match=r"lack 1 tensors.*class_predictor.weight"):
        load_segmenter(Settings(data=tmp_path, segmenter=str(folder)))


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "preprocessor_config.json"])
@pytest.mark.parametrize("how", ["emptied", "truncated"])
def test_a_model_whose_files_are_damaged_is_refused_in_a_sentence(
    name: str, how: str, tiny_mask2former: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_mask2former, tmp_path / "model")
    damage(folder / name, how)
    with pytest.raises(DistractedError, match=rf"no segmentation model {folder} .*DISTRACTED_SEGMENTER"):
        load_segmenter(Settings(data=tmp_path, segmenter=str(folder)))


def test_classifier_is_not_a_segmenter(tiny_mask2former: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_mask2former, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({"model_type": "resnet", "id2label": config["id2label"]}))
    with pytest.raises(DistractedError, match="a resnet model"):
        load_segmenter(Settings(data=tmp_path, segmenter=str(folder)))


def test_model_without_any_of_the_categories_is_refused(tmp_path: Path) -> None:
    folder = save_tiny_mask2former(tmp_path / "model", labels=("wall", "sky"))
    with pytest.raises(DistractedError, match="none of person"):
        load_segmenter(Settings(data=tmp_path, segmenter=str(folder)))


def test_device_that_is_not_there_is_an_error(tiny_mask2former: Path, tmp_path: Path) -> None:
    for device in ("cuda:99", "abacus"):
        with pytest.raises(DistractedError, match=device):
            load_segmenter(Settings(data=tmp_path, segmenter=str(tiny_mask2former)), device=device)


def test_bf16_finds_nearly_the_same_masks(tiny_mask2former: Path, tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, segmenter=str(tiny_mask2former))
    names = ["a", "b", "c", "d"]
    full = load_segmenter(settings, precision="fp32").segment(frames(), names)
    half = load_segmenter(settings, precision="bf16").segment(frames(), names)
    assert np.mean([(a == b).mean() for a, b in zip(full, half, strict=True)]) > 0.7


def test_fingerprint_follows_weights_and_processor_but_not_the_folder_s_name(
    tiny_mask2former: Path, tmp_path: Path
) -> None:
    def fingerprint(folder: Path) -> str:
        return segmenter_fingerprint(Settings(data=tmp_path, segmenter=str(folder)))

    copy = shutil.copytree(tiny_mask2former, tmp_path / "copy")
    original = fingerprint(tiny_mask2former)
    assert fingerprint(copy) == original
    processor = json.loads((copy / "preprocessor_config.json").read_text())
    (copy / "preprocessor_config.json").write_text(json.dumps(processor | {"size": {"height": 96, "width": 96}}))
    assert fingerprint(copy) != original
    other = save_tiny_mask2former(tmp_path / "other", seed=1)
    assert fingerprint(other) not in (original, fingerprint(copy))
    weights = bytearray((other / "model.safetensors").read_bytes())
    before = fingerprint(other)
    weights[-1] ^= 1
    (other / "model.safetensors").write_bytes(weights)
    os.utime(other / "model.safetensors", ns=(1, 1))
    assert fingerprint(other) != before


def test_fingerprint_needs_neither_torch_nor_transformers(tiny_mask2former: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from distracted_pipeline.settings import Settings;"
        "from distracted_pipeline.masks.identity import segmenter_fingerprint;"
        f"print(segmenter_fingerprint(Settings(data=Path({str(tmp_path)!r}), segmenter={str(tiny_mask2former)!r})));"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert answer == segmenter_fingerprint(Settings(data=tmp_path, segmenter=str(tiny_mask2former)))


def given_folder(settings: Settings, maps: dict[str, np.ndarray]) -> Settings:
    folder = settings.data / "maps"
    folder.mkdir(parents=True)
    for name, mask in maps.items():
        if name.endswith(".png"):
            Image.fromarray(mask).save(folder / name)
        else:
            with (folder / name).open("wb") as handle:
                np.savez_compressed(handle, mask)
    return replace(settings, segmenter="folder:maps")


def test_maps_from_a_folder_are_found_as_png_and_as_npz(tmp_path: Path) -> None:
    mask = np.arange(48 * 64, dtype=np.uint8).reshape(48, 64) % 7
    settings = given_folder(Settings(data=tmp_path), {"a.png": mask, "b.jpg.npz": mask, "c.npz": mask.astype(np.int64)})
    assert masks_are_given(settings)
    segmenter = load_segmenter(settings)
    for found in segmenter.segment(frames(3), ["a.jpg", "b.jpg", "c.jpg"]):
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, mask)


def test_a_map_with_the_whole_name_comes_before_one_with_the_stem(tmp_path: Path) -> None:
    one, other = np.full((48, 64), 1, np.uint8), np.full((48, 64), 2, np.uint8)
    settings = given_folder(
        Settings(data=tmp_path), {"x.png": one, "x.jpeg.npz": other, "y.npz": one, "y.jpeg.png": other}
    )
    found = load_segmenter(settings).segment(frames(4), ["x.jpg", "x.jpeg", "y.jpg", "y.jpeg"])
    assert [mask[0, 0] for mask in found] == [1, 2, 1, 2]


def grey_png(ids: np.ndarray, bits: int) -> bytes:
    """Return a grey PNG of any bit depth, which Pillow reads but does not write."""
    rows = np.unpackbits(ids.astype(">u2").view(np.uint8).reshape(*ids.shape, 2), axis=2)[:, :, 16 - bits :]
    packed = np.packbits(rows.reshape(len(ids), -1), axis=1)
    data = zlib.compress(np.insert(packed, 0, 0, axis=1).tobytes())
    header = struct.pack(">IIBBBBB", ids.shape[1], ids.shape[0], bits, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_ids_of_a_png_are_the_numbers_in_it_whatever_its_bits(tmp_path: Path, bits: int) -> None:
    ids = np.random.default_rng(0).integers(0, min(2**bits, 7), (48, 64))
    settings = given_folder(Settings(data=tmp_path), {})
    (tmp_path / "maps" / "a.png").write_bytes(grey_png(ids, bits))
    np.testing.assert_array_equal(load_segmenter(settings).segment(frames(1), ["a.jpg"])[0], ids)
    if bits == 16:
        (tmp_path / "maps" / "a.png").write_bytes(grey_png(ids + 256, bits))
        with pytest.raises(DistractedError, match="holds the id 2[56]"):
            load_segmenter(settings).segment(frames(1), ["a.jpg"])


@pytest.mark.parametrize(
    ("mask", "reason"),
    [
        (np.zeros((48, 64), bool), "booleans.*was lost"),
        (np.full((48, 64), 7, np.uint8), "holds the id 7"),
        (np.full((48, 64), -1, np.int8), "holds the id -1"),
        (np.zeros((48, 65), np.uint8), "65x48.*64x48"),
        (np.zeros((48, 64, 3), np.uint8), "instead of a matrix"),
        (np.zeros((48, 64), np.float32), "float32"),
    ],
)
def test_maps_that_cannot_be_right_are_refused_with_the_reason(tmp_path: Path, mask: np.ndarray, reason: str) -> None:
    segmenter = load_segmenter(given_folder(Settings(data=tmp_path), {"a.jpg.npz": mask}))
    with pytest.raises(DistractedError, match=reason):
        segmenter.segment(frames(1), ["a.jpg"])


def test_damaged_and_missing_maps_are_refused_by_name(tmp_path: Path) -> None:
    settings = given_folder(Settings(data=tmp_path), {"a.png": np.zeros((48, 64, 3), np.uint8)})
    (tmp_path / "maps" / "b.jpg.npz").write_bytes(b"PK\x03\x04 no zip")
    (tmp_path / "maps" / "c.png").write_bytes(b"<html>")
    segmenter = load_segmenter(settings)
    for name, reason in (("a", "mode RGB"), ("b", r"b.jpg.npz cannot"), ("c", r"c.png cannot"), ("d", "no d.png")):
        with pytest.raises(DistractedError, match=reason):
            segmenter.segment(frames(1), [f"{name}.jpg"])


def test_a_changed_folder_of_maps_has_another_fingerprint(tmp_path: Path) -> None:
    settings = given_folder(Settings(data=tmp_path), {"a.png": np.zeros((4, 4), np.uint8)})
    before = segmenter_fingerprint(settings)
    assert segmenter_fingerprint(settings) == before
    os.utime(tmp_path / "maps" / "a.png", ns=(1, 1))
    assert segmenter_fingerprint(settings) == before
    Image.fromarray(np.ones((4, 4), np.uint8)).save(tmp_path / "maps" / "a.png")
    assert segmenter_fingerprint(settings) != before


def test_absent_folder_of_maps_says_what_belongs_there(tmp_path: Path) -> None:
    with pytest.raises(DistractedError, match=r"no folder .*nowhere.*img_1.png"):
        segmenter_fingerprint(Settings(data=tmp_path, segmenter="folder:nowhere"))
