"""A frame of one driver that is saved again under another's name is found; the warning names both and the remedy."""

import io

import numpy as np
import pytest
from PIL import Image

from distracted_pipeline.images import neighbours
from distracted_pipeline.images.checks import check_neighbours
from distracted_pipeline.images.ingest import ingest
from distracted_pipeline.images.neighbours import find_neighbours
from distracted_pipeline.settings import Settings


def textured(seed: int) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 255, (12, 16), dtype=np.uint8)
    return Image.fromarray(noise).resize((64, 48), Image.Resampling.BICUBIC).convert("RGB")


@pytest.fixture
def textured_settings(settings: Settings) -> Settings:
    """Frames that all differ, but for the first of p012, which is the first of p002, saved more coarsely."""
    for number, path in enumerate(sorted((settings.data / "imgs").rglob("*.jpg"))):
        textured(number).save(path, quality=90)
    first, copy = (settings.data / "imgs/train/c0" / name for name in ("img_1.jpg", "img_21.jpg"))
    out = io.BytesIO()
    Image.open(first).save(out, format="JPEG", quality=40)
    copy.write_bytes(out.getvalue())
    return settings


def test_a_copy_saved_anew_under_another_driver_is_found_and_named(textured_settings: Settings) -> None:
    result = ingest(textured_settings, log=lambda line: None)
    found = find_neighbours(textured_settings, result.table)
    assert [(row["img"], row["other"]) for row in found.to_pylist()] == [("img_1.jpg", "img_21.jpg")]
    check = check_neighbours(found)
    assert (check.passed, check.severity) == (False, "WARN")
    for words in ("img_1.jpg of p002", "img_21.jpg of p012", "label_decisions.csv", "materialize"):
        assert words in check.description
    assert check.facts["closest"][0]["other_subject"] == "p012"
    assert check_neighbours(found, drawn=True).passed


def test_the_same_frames_are_compared_once(textured_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    table = ingest(textured_settings, log=lambda line: None).table
    before = find_neighbours(textured_settings, table)
    monkeypatch.setattr(neighbours, "close_pairs", lambda *args: pytest.fail("compared again"))
    assert find_neighbours(textured_settings, table).equals(before)


def test_a_data_root_without_the_other_frame_passes(textured_settings: Settings) -> None:
    textured(999).save(textured_settings.data / "imgs/train/c0/img_21.jpg")
    table = ingest(textured_settings, log=lambda line: None).table
    assert check_neighbours(find_neighbours(textured_settings, table)).passed


def test_a_damaged_list_is_made_again(textured_settings: Settings) -> None:
    table = ingest(textured_settings, log=lambda line: None).table
    before = find_neighbours(textured_settings, table)
    path = textured_settings.data / neighbours.NEIGHBOURS_NAME
    path.write_bytes(path.read_bytes()[:-20])
    assert find_neighbours(textured_settings, table).equals(before)
