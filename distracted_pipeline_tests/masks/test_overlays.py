import io

import numpy as np
import pytest
from PIL import Image

from distracted_pipeline.dataset import STATE_FARM
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.images.manifest import of_subject, read_manifest
from distracted_pipeline.masks.cache import open_cache
from distracted_pipeline.masks.fill import fill_missing, fill_subject
from distracted_pipeline.masks.overlays import as_markdown, overlay, previews, sheet, show
from distracted_pipeline.settings import Settings
from distracted_pipeline_tests.damage import DAMAGES, damage
from distracted_pipeline_tests.masks.conftest import QUIET


def test_each_category_is_tinted_and_the_rest_left_alone() -> None:
    image = np.full((10, 70, 3), 100, np.uint8)
    mask = np.repeat(np.arange(7, dtype=np.uint8), 10)[None].repeat(10, 0)
    mask.flags.writeable = False
    picture = np.asarray(overlay(image, mask, STATE_FARM.categories)).astype(int)
    np.testing.assert_array_equal(picture[:, :10], 100)
    for i, category in enumerate(STATE_FARM.categories, start=1):
        tint = picture[5, 10 * i + 5] - 100
        assert (np.sign(tint) == np.sign(np.array(category.colour) - 100)).all()
    assert len({tuple(picture[5, 10 * i + 5]) for i in range(7)}) == 7


def test_show_draws_the_mask_of_one_image(ingested: Settings) -> None:
    with pytest.raises(DistractedError, match="no image img_1. Did you mean img_1.jpg?"):
        show(ingested, "img_1")
    with pytest.raises(DistractedError, match="no image frame. Its names are like img_1.jpg"):
        show(ingested, "frame")
    with pytest.raises(DistractedError, match=r"img_1.jpg.*--select masks"):
        show(ingested, "img_1.jpg")
    fill_missing(ingested, options=QUIET)
    assert show(ingested, "img_1.jpg").size == (64, 48)


def test_previews_are_few_small_spread_and_drawn_once(ingested: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    fill_missing(ingested, options=QUIET)
    cache, rows = open_cache(ingested), read_manifest(ingested)
    pictures = previews(ingested, cache, rows)
    assert len(pictures) == 4
    subjects = {row["img"]: row["subject"] for row in rows.to_pylist()}
    assert len({subjects[img] for img in pictures}) == 3
    for data in pictures.values():
        assert max(Image.open(io.BytesIO(data)).size) <= 240
    monkeypatch.delattr("distracted_pipeline.masks.overlays.overlay")
    assert previews(ingested, cache, rows) == pictures
    text = as_markdown(pictures, STATE_FARM.categories)
    assert text.count("data:image/jpeg;base64,") == 4
    assert "cell phone" in text
    assert len(text) < 100_000


def test_contact_sheet_shows_every_driver(ingested: Settings) -> None:
    with pytest.raises(DistractedError, match="--select masks"):
        sheet(ingested)
    fill_missing(ingested, options=QUIET)
    page = np.asarray(sheet(ingested, columns=3))
    assert page.shape == (2 * (48 + 14), 3 * 240, 3)  # four subjects of 64x48 frames, not enlarged
    assert (page[14:62, :64] < 255).any()
    assert (page[76:, :64] < 255).any()
    assert (page[62:, 240:] == 255).all()


def test_a_damaged_preview_is_drawn_again(ingested: Settings) -> None:
    fill_subject(ingested, "p002", QUIET)
    cache, rows = open_cache(ingested), of_subject(read_manifest(ingested), "p002")
    pictures = previews(ingested, cache, rows, count=1)
    (path,) = cache.root.glob("overlays/*/*.jpg")
    for how in DAMAGES:
        damage(path, how)
        assert previews(ingested, cache, rows, count=1) == pictures


def test_previews_of_nothing_are_none(ingested: Settings) -> None:
    assert previews(ingested, open_cache(ingested), read_manifest(ingested)) == {}
